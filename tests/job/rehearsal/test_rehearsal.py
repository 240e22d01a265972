"""What a model cannot do is known before its weights are fetched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from job.errors import JobError
from job.predict.config import seen_here
from tests.export_reference import make_adapter
from tests.hub_server import Hub
from tests.job.rehearsal.rehearsing import LORA, rehearse, spec_of
from tests.job.rehearsal.tokenizers import more_tokens
from tests.s3_server import Bucket
from tests.tiny_families import make_family, make_gemma_3_with_eyes
from tests.tiny_models import make_llama

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("base") / "model", shards=2)


@pytest.fixture
def model(base: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_the_weights_of_a_repository_are_not_needed(base: Path, hub: Hub, s3: Bucket, tmp_path: Path) -> None:
    for path in base.iterdir():
        s3.client.put_object(Bucket=s3.bucket, Key=f"model/{path.name}", Body=path.read_bytes())
    hub.add("someone/model", {path.name: path.read_bytes() for path in base.iterdir()})
    expected = rehearse(spec_of(str(base)), tmp_path / "folder")
    assert (expected.architecture, expected.changed) == ("LlamaForCausalLM", 4)
    for number, place in enumerate(("someone/model", f"s3://{s3.bucket}/model")):
        folder = tmp_path / str(number)
        assert rehearse(spec_of(place), folder) == expected
        shards = list((folder / "model").glob("*.safetensors"))
        taken = sum(path.stat().st_blocks * 512 for path in shards)
        assert taken < 100_000 < sum(path.stat().st_size for path in shards) and len(shards) == 2
    assert not [one for one in hub.requests if one.path.endswith(".safetensors") and one.sent > 100_000]


def without(*ends: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for path in folder.glob("*.safetensors"):
            kept = {name: weight for name, weight in load_file(path).items() if not name.endswith(ends)}
            save_file(kept, path, metadata={"format": "pt"})

    return spoil


def with_config(**fields: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return spoil


@pytest.mark.parametrize("family", ["Gemma", "Gemma 3", "Phi-3"])
def test_a_sentencepiece_tokenizer_without_its_model_is_named(family: str, tmp_path: Path) -> None:
    model = make_family(tmp_path / "model", family)
    (model / "tokenizer.model").unlink()
    with pytest.raises(JobError, match=r"needs its tokenizer\.model") as caught:
        rehearse(spec_of(str(model), lora={"target_modules": "all-linear"}), tmp_path / "work")
    assert caught.value.code == 64


FAULTS: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "no output layer, and not tied": (without("lm_head.weight"), 82, "is not whole: its files lack lm_head.weight"),
    "a layer less": (without("layers.1.mlp.up_proj.weight"), 82, "lack model.layers.1.mlp.up_proj.weight"),
    "more layers in the config": (with_config(num_hidden_layers=3), 82, "is not whole: its files lack model.layers.2"),
    "another width in the config": (with_config(intermediate_size=640), 82, "and its config.json asks for"),
    "sizes that no model has": (with_config(num_attention_heads=0), 64, "transformers cannot load"),
    "more tokens than rows": (more_tokens, 82, "its tokenizer has more ids: '<one-more>' (1536)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_base_that_is_not_whole_is_refused(fault: str, model: Path, tmp_path: Path) -> None:
    spoil, code, said = FAULTS[fault]
    spoil(model)
    with pytest.raises(JobError) as caught:
        rehearse(spec_of(str(model)), tmp_path / "work")
    assert caught.value.code == code and said in caught.value.message


def test_a_tied_model_needs_no_output_layer(tmp_path: Path) -> None:
    tied = make_llama(tmp_path / "tied", tied=True)
    assert rehearse(spec_of(str(tied)), tmp_path / "work").changed == 4


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "down_proj", "lm_head"], ["embed_tokens"]])
def test_each_tensor_that_training_would_change_is_found_in_the_export(
    targets: Any, base: Path, tmp_path: Path
) -> None:
    changed = {"all-linear": 14, 3: 5, 1: 1}[targets if isinstance(targets, str) else len(targets)]
    assert (
        rehearse(
            spec_of(str(base), lora={"target_modules": targets}, training={"trainer": "transformers"}),
            tmp_path / "work",
        ).changed
        == changed
    )


@pytest.mark.parametrize(
    ("lora", "changed"), [({"use_dora": True}, 4), ({"use_rslora": True}, 4), ({"modules_to_save": ["lm_head"]}, 5)]
)
def test_every_kind_of_adapter_can_be_rehearsed(lora: dict[str, Any], changed: int, base: Path, tmp_path: Path) -> None:
    assert rehearse(spec_of(str(base), lora=LORA | lora), tmp_path / "work").changed == changed


def test_targets_that_the_model_does_not_have_are_named_with_those_it_has(base: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"lora\.target_modules: qkv_proj not in .*") as caught:
        rehearse(spec_of(str(base), lora={"target_modules": ["qkv_proj"]}), tmp_path / "work")
    assert caught.value.code == 64 and "q_proj" in (caught.value.hint or "")


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], "all-linear"])
def test_of_a_model_with_eyes_the_language_model_alone_is_adapted(targets: Any, tmp_path: Path) -> None:
    model = make_gemma_3_with_eyes(tmp_path / "model")
    done = rehearse(spec_of(str(model), lora={"target_modules": targets}), tmp_path / "work")
    assert done.changed == (14 if targets == "all-linear" else 4)
    trained = json.loads((tmp_path / "work" / "trained" / "adapter_config.json").read_text())
    assert "language_model" in trained["exclude_modules"]


def gpt_2(folder: Path) -> Path:
    from transformers import GPT2Config

    from tests.tiny_models import save

    return save(folder, GPT2Config(vocab_size=1536, n_embd=64, n_layer=2, n_head=4, n_positions=256))


def mixtral(folder: Path) -> Path:
    from transformers import MixtralConfig

    from tests.tiny_models import save

    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    return save(folder, MixtralConfig(vocab_size=1536, num_key_value_heads=2, num_local_experts=2, **sizes))


def ernie(folder: Path) -> Path:
    """With experts of another size than llama.cpp works out for the shared one."""
    from transformers import Ernie4_5_MoeConfig

    from tests.tiny_models import save

    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    experts = {"moe_num_experts": 2, "moe_k": 1, "moe_intermediate_size": 32, "moe_num_shared_experts": 1}
    return save(folder, Ernie4_5_MoeConfig(vocab_size=1536, num_key_value_heads=2, bos_token_id=1, **sizes, **experts))


@pytest.mark.parametrize(
    ("make", "sections", "said"),
    [
        (gpt_2, {"lora": {"target_modules": ["c_attn"]}}, "load.bits: 4 cannot be merged"),
        (mixtral, {"lora": {"target_modules": ["w1", "w2", "w3"]}}, "lora.target_modules: w1, w2, w3 not in"),
        (mixtral, {"load": {"bits": 8}}, "load.bits: 8 does not quantize the experts"),
        (mixtral, {"export": {"merge_base": "quantized"}}, "export.merge_base: quantized is not there"),
        (ernie, {}, "llama.cpp cannot load what its converter makes of"),
    ],
)
def test_what_ends_in_no_file_after_training_is_refused_before_it(
    make: Callable[[Path], Path], sections: dict[str, Any], said: str, tmp_path: Path
) -> None:
    model = make(tmp_path / "model")
    with pytest.raises(JobError) as caught:
        rehearse(spec_of(str(model), **sections), tmp_path / "work")
    assert caught.value.code == 64 and said in caught.value.message


@pytest.mark.parametrize("dropout", [0, 0.1])
def test_all_linear_leaves_experts_alone_and_says_so(
    dropout: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = {"target_modules": "all-linear", "dropout": dropout}
    assert rehearse(spec_of(str(mixtral(tmp_path / "model")), lora=lora), tmp_path / "work").changed == 8
    assert "experts, 73,728 parameters, get no adapters" in capsys.readouterr().out


AUTO = {"Llama 3": (["q_proj", "v_proj"], 4), "Phi-3": (["qkv_proj"], 2)}


@pytest.mark.parametrize("family", AUTO)
def test_auto_takes_the_layers_of_attention_and_says_which(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets, changed = AUTO[family]
    model = make_family(tmp_path / "model", family)
    assert rehearse(spec_of(str(model), lora={}), tmp_path / "work").changed == changed
    said = [line for line in capsys.readouterr().out.splitlines() if "lora.target_modules" in line]
    assert len(said) == 1 and str(targets) in said[0]


def test_an_adapter_of_another_model_is_refused(base: Path, hub: Hub, tmp_path: Path) -> None:
    other = make_llama(tmp_path / "other", layers=3)
    adapter = make_adapter(other, tmp_path / "adapter")
    hub.add("me/adapter", {path.name: path.read_bytes() for path in adapter.iterdir()})
    with pytest.raises(JobError, match="tensors that the base model does not have") as caught:
        rehearse(spec_of(str(base), more={"adapter": "me/adapter"}), tmp_path / "work")
    assert caught.value.code == 82


def test_a_family_without_formulas_is_counted_as_its_class_makes_it(tmp_path: Path) -> None:
    folder = mixtral(tmp_path / "model")
    found = rehearse(spec_of(str(folder)), tmp_path / "work").sizes
    assert found and found.how == "counted from the model without weights"
    seen = seen_here(spec_of(str(folder))).model
    assert seen and (found.parameters, found.experts, found.active) == (
        seen.parameters, seen.expert_parameters, seen.active_parameters - seen.linear_parameters,
    )  # fmt: skip
    assert rehearse(spec_of(str(make_llama(tmp_path / "llama"))), tmp_path / "other").sizes is None
