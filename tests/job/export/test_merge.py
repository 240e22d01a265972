"""The merge's arithmetic against PEFT's own layers, for what no tiny Llama has; and how it divides its work."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from job.errors import QualityRejected
from job.export import merge
from job.export.merge import LowRank, Requantized, Rows
from job.export.merge_plan import plan
from job.export.merged_folder import write_merged
from job.export.model_view import make_view
from job.export.peft_adapter import PeftAdapter
from tests.export_reference import load, make_adapter, with_adapter
from tests.tiny_models import VOCAB_SIZE, copy_tokenizer, make_llama

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("config", [{}, {"use_dora": True}, {"use_rslora": True}], ids=["LoRA", "DoRA", "rsLoRA"])
def test_weights_stored_the_other_way_round_are_merged_as_peft_does(config: dict[str, Any], tmp_path: Path) -> None:
    """GPT-2's linear layers are (in, out): fan_in_fan_out. PEFT sums DoRA's norm over the other layout of the same
    numbers, so the last bits can differ."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCAB_SIZE, "n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 128}
    base = tmp_path / "base"
    GPT2LMHeadModel(GPT2Config(**sizes)).save_pretrained(base)
    copy_tokenizer(base)
    settings = {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True} | config
    adapter = make_adapter(base, tmp_path / "adapter", **settings)
    assert_merged_as_by_peft(base, adapter, tmp_path, rtol=2e-6 if config.get("use_dora") else 0)


def test_dora_on_an_embedding_is_merged_as_peft_does(tmp_path: Path) -> None:
    """To the last bits, as above."""
    base = make_llama(tmp_path / "base", dtype="float32")
    adapter = make_adapter(base, tmp_path / "adapter", target_modules=["embed_tokens"], use_dora=True)
    assert_merged_as_by_peft(base, adapter, tmp_path, rtol=2e-6)


def assert_merged_as_by_peft(base: Path, adapter: Path, folder: Path, rtol: float) -> None:
    expected = with_adapter(base, adapter).merge_and_unload().state_dict()
    view = make_view(folder / "view", base, None, None)
    tied = bool(load(base).config.tie_word_embeddings)
    write_merged(view, folder / "out", lambda shapes: plan(PeftAdapter(adapter), shapes, tied=tied))
    got = load(folder / "out").state_dict()
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(got[name], tensor, rtol=rtol, atol=0), name
    before = load_file(base / "model.safetensors")
    assert any(not torch.equal(before[name], tensor) for name, tensor in got.items() if name in before)


@pytest.mark.parametrize("rank", [1, 8, 64])
@pytest.mark.parametrize("shape", [(1000, 576), (777, 1536), (64, 4096), (63, 4096), (129, 8192)])
def test_merging_in_blocks_gives_the_same_bits_as_merging_at_once(
    rank: int, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(rank)
    weight = (torch.randn(shape) * 0.02).bfloat16()
    a, b, magnitude = torch.randn(rank, shape[1]), torch.randn(shape[0], rank) * 0.01, torch.rand(shape[0])
    for dora in (None, lambda: magnitude):
        change = LowRank(lambda: a, lambda: b, tuple(a.shape), tuple(b.shape), 2.0, dora)
        monkeypatch.setattr(merge, "BLOCK", 1 << 40)
        whole = change.applied(weight, torch.bfloat16)
        monkeypatch.setattr(merge, "BLOCK", 1 << 17)
        assert torch.equal(change.applied(weight, torch.bfloat16), whole)
        assert not torch.equal(whole, weight)


@pytest.mark.parametrize("rows, width", [(0, 8), (1, 8), (63, 1 << 19), (64, 8), (127, 1 << 19), (200, 1 << 19)])
def test_blocks_cover_every_row_once_and_none_is_short(rows: int, width: int) -> None:
    blocks = list(merge._blocks(rows, width))
    assert [row for block in blocks for row in range(block.start, block.stop)] == list(range(rows))
    assert all(block.stop - block.start >= min(64, rows) for block in blocks)


def test_eight_bit_weights_stand_for_what_bitsandbytes_computes_with() -> None:
    import bitsandbytes as bnb

    torch.manual_seed(0)
    weight = torch.randn(96, 64) * 0.05
    layer = bnb.nn.Linear8bitLt(64, 96, bias=False, has_fp16_weights=False, threshold=0.0)
    layer.weight = bnb.nn.Int8Params(weight.half(), requires_grad=False, has_fp16_weights=False)
    layer = layer.to("cpu")
    stands_for = layer.weight.data.float() * (weight.half().float().abs().amax(dim=1) / 127)[:, None]
    got = Requantized(8).applied(weight, torch.float32)
    assert layer.weight.data.dtype == torch.int8
    assert torch.allclose(got, stands_for, rtol=0, atol=1e-6)
    assert 0 < (got - weight).abs().max() < 0.002


def test_infinite_values_are_named_with_their_tensor() -> None:
    rows = Rows((1,), lambda: torch.full((1, 4), torch.inf))
    with pytest.raises(QualityRejected, match="embed_tokens: merging the adapter gives NaN or infinite"):
        merge.apply("embed_tokens", torch.zeros(3, 4), [rows])
