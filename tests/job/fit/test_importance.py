"""What the importance matrix says of groups: from a real one of llama-imatrix, against what the model computes."""

import struct
from pathlib import Path
from typing import Any

import pytest

from bench.imatrix import SPEC
from job.fit.budget import model_of
from job.fit.groups import Group, groups_of
from job.fit.importance import weights_of
from job.llama_cpp import quantize
from job.llama_cpp.imatrix import make_imatrix
from tests.export_reference import exported
from tests.tiny_models import training_text

pytestmark = pytest.mark.slow
CONTEXT = 64


@pytest.fixture(scope="module", params=["f16", "bf16", "f32"])
def files(
    request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The unquantized file and its matrix."""
    folder = tmp_path_factory.mktemp("importance")
    gguf = exported(tiny_model, None, folder, export={"dtype": request.param}).gguf
    (folder / "text.txt").write_text(training_text()[:3000])
    return gguf, make_imatrix(gguf, folder / "text.txt", folder / "imatrix.gguf", context=CONTEXT)


def groups_in(gguf: Path) -> list[Group]:
    return groups_of(model_of(gguf, "f16", has_matrix=False, kinds=("q8_0",)).tensors, whole="f16", has_matrix=True)


def shares(model: Path) -> dict[str, float]:
    """The share of the stream that each half of a layer adds, in transformers, on the text of the matrix: the squares
    of each column that goes into the tensor that writes, times the tensor's squared weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    llama: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(model)(training_text()[:3000], add_special_tokens=False)["input_ids"]
    added: dict[str, float] = {}

    def follow(name: str, linear: Any) -> None:
        def hear(_: Any, given: Any) -> None:
            squares = given[0].reshape(-1, linear.in_features).square().mean(0)
            added[name] = float((linear.weight.square() @ squares).sum())

        linear.register_forward_pre_hook(hear)

    for number, layer in enumerate(llama.model.layers):
        follow(f"attn {number}", layer.self_attn.o_proj)
        follow(f"ffn {number}", layer.mlp.down_proj)
    with torch.no_grad():
        count = len(ids) // CONTEXT * CONTEXT
        llama(torch.tensor(ids[:count]).reshape(-1, CONTEXT))
        stream = float(llama.model.embed_tokens.weight.square().sum(1).mean())
    found = {}
    for name in sorted(added, key=lambda one: (one.split()[1], one)):
        stream += added[name]
        found[name] = added[name] / stream
    return found


def test_a_group_weighs_what_its_half_of_the_layer_adds_to_the_stream(
    files: tuple[Path, Path], tiny_model: Path
) -> None:
    found, expected = weights_of(groups_in(files[0]), *files), shares(tiny_model)
    assert set(found) == {
        f"{kind} {layer}"
        for layer in range(2)
        for kind in ("attn_qk", "attn_v", "attn_output", "ffn_gate_up", "ffn_down")
    }
    for layer in range(2):
        attention, feed_forward = expected[f"attn {layer}"], expected[f"ffn {layer}"]
        assert found[f"attn_output {layer}"] == found[f"attn_v {layer}"] == pytest.approx(attention, rel=0.1)
        assert found[f"attn_qk {layer}"] == pytest.approx(2 * attention, rel=0.1), "two tensors"
        assert found[f"ffn_down {layer}"] == pytest.approx(feed_forward, rel=0.1)
        assert found[f"ffn_gate_up {layer}"] == pytest.approx(2 * feed_forward, rel=0.1)


def test_a_matrix_that_does_not_say_it_gives_no_weights(files: tuple[Path, Path], tmp_path: Path) -> None:
    """In llama.cpp's earlier format, or of a family that writes into the stream with tensors of other kinds."""
    gguf, matrix = files
    name = b"blk.0.attn_q.weight"
    (tmp_path / "imatrix.dat").write_bytes(struct.pack("<ii", 1, len(name)) + name)
    assert weights_of(groups_in(gguf), gguf, tmp_path / "imatrix.dat") == {}
    other = [
        group.model_copy(
            update={
                "tensors": [
                    one.model_copy(update={"name": one.name.replace("ffn_down", "ffn_other")}) for one in group.tensors
                ]
            }
        )
        for group in groups_in(gguf)
    ]
    assert weights_of(other, gguf, matrix) == {}


def test_tensors_that_are_quantized_already_give_no_weights(files: tuple[Path, Path], tmp_path: Path) -> None:
    gguf, matrix = files
    made = quantize.run(SPEC, quantize.Inputs(gguf=gguf, type="q8_0"), tmp_path).files[0]
    assert weights_of(groups_in(gguf), made, matrix) == {}
