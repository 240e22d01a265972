"""A model that a run would refuse is not sent, and one of any family is placed by what its tensors need."""

from pathlib import Path
from typing import Any

import pytest

from job.architectures import check_known
from job.errors import JobError
from job.rehearsal.hollow import write_hollow_tensors
from k8s.ask import Asked, ask, spec_from
from k8s.errors import GpuUnavailable, SettingsInvalid
from k8s.placement.wish import Wish, cards_of
from k8s.prepare import prepare
from tests.job.predict.mixture import MOE, moe_tensors
from tests.job.rehearsal.tokenizers import more_tokens
from tests.tiny_models import make_llama, write_json

SHAPES: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (1000, 64)} | {
    f"model.layers.0.self_attn.{name}.weight": (64, 64) for name in ("q_proj", "k_proj", "v_proj")
}
GRANITE = {"model_type": "granite", "architectures": ["GraniteForCausalLM"], "num_attention_heads": 4}


def model(folder: Path, config: dict[str, Any], shapes: dict[str, tuple[int, ...]] | None = SHAPES) -> Path:
    folder.mkdir()
    write_json(folder / "config.json", config)
    if shapes:
        write_hollow_tensors(folder / "model.safetensors", shapes)
    return folder


def asked(
    model: Path | str,
    gpu: str = "t4",
    *sets: str,
    models: tuple[Path, ...] = (),
    rehearses: bool = False,
    **resources: int,
) -> Asked:
    """`models`: those of a sweep, which take the place of the spec's."""

    def wish(needs: int | None) -> Wish:
        return Wish.of(gpu, needs=needs, platform="gke")

    spec = model.parent / "spec.yaml"
    spec.write_text(f"model: {{id: {model}}}")
    read = spec_from(spec, None, "./rows.jsonl", list(sets))
    sweeps = [f"model.id={','.join(map(str, models))}"] if models else []
    return ask(wish, read, sweeps=sweeps, image="i", pull_policy="Never", resources=resources, rehearses=rehearses)


REFUSED = {
    "no class": ({"model_type": "brandnew"}, (), 64, "which transformers"),
    "no converter": ({"model_type": "opt", "architectures": ["OPTForCausalLM"]}, (), 64, "does not know the archit"),
    "computed otherwise": (
        {"model_type": "phimoe", "architectures": ["PhiMoEForCausalLM"]},
        (),
        64,
        "transformers by SparseMixer",
    ),
    "its own code": ({"model_type": "brandnew", "auto_map": {}}, (), 82, "has auto_map"),
    "quantized": (GRANITE | {"quantization_config": {"quant_method": "fp8"}}, (), 65, "quantized already (fp8)"),
    "no such targets": (
        GRANITE,
        ('lora.target_modules=["c_attn", "q_proj"]',),
        64,
        "c_attn not in",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_the_job_refuses_is_refused_before_a_cluster_is_asked(case: str, tmp_path: Path) -> None:
    config, sets, code, words = REFUSED[case]
    with pytest.raises(JobError) as caught:
        asked(model(tmp_path / "m", config), "t4", *sets)
    assert caught.value.code == code and words in caught.value.message and caught.value.hint


GEMMA_3N = {"model_type": "gemma3n", "architectures": ["Gemma3nForConditionalGeneration"]}


@pytest.mark.parametrize(
    "changed",
    [{"num_hidden_layers": 32}, {"altup_active_idx": 1}, {"activation_sparsity_pattern": [0.0] * 35}],
    ids=lambda fields: next(iter(fields)),
)
def test_a_gemma_3n_of_other_numbers_than_llama_cpp_takes_is_refused(changed: dict[str, Any]) -> None:
    text = {"model_type": "gemma3n_text", "num_hidden_layers": 35, "num_kv_shared_layers": 15, "altup_active_idx": 0}
    text["activation_sparsity_pattern"] = [0.95] * 10 + [0.0] * 25
    for published in (text, text | {"num_hidden_layers": 30, "num_kv_shared_layers": 10}):
        published |= {"activation_sparsity_pattern": [0.95] * 10 + [0.0] * (published["num_hidden_layers"] - 10)}
        check_known(GEMMA_3N | {"text_config": published}, "a/b", trained=True)
    with pytest.raises(JobError, match=r"another (num_kv|altup|activation)") as caught:
        check_known(GEMMA_3N | {"text_config": text | changed}, "a/b", trained=True)
    assert caught.value.code == 64


def test_the_message_says_what_would_work(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", GRANITE)
    with pytest.raises(JobError) as caught:
        asked(folder, "t4", 'lora.target_modules=["c_attn"]')
    assert "Its linear layers are down_proj, gate_proj, k_proj" in caught.value.hint
    opt = model(tmp_path / "opt", {"model_type": "opt", "architectures": ["OPTForCausalLM"]})
    with pytest.raises(JobError) as caught:
        asked(opt)
    assert "an image with a newer llama.cpp" in caught.value.hint


def test_targets_that_only_the_files_or_only_the_class_have_are_left_to_the_job(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", GRANITE, SHAPES | {"model.layers.0.self_attn.qkv.weight": (64, 64)})
    for name in ("qkv", "down_proj", "lm_head"):
        asked(folder, "t4", f'lora.target_modules=["{name}"]')


def test_attention_that_auto_does_not_know_is_refused_with_the_layers_that_are_there(tmp_path: Path) -> None:
    config = {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}
    shapes: dict[str, tuple[int, ...]] = {
        "backbone.embeddings.weight": (1000, 64), "backbone.layers.0.mixer.in_proj.weight": (256, 64),
    }  # fmt: skip
    with pytest.raises(JobError, match="auto knows no layers of attention") as caught:
        asked(model(tmp_path / "m", config, shapes))
    assert "in_proj" in caught.value.hint


def test_auto_places_a_family_without_formulas_by_all_its_experts(tmp_path: Path) -> None:
    folder = moe(tmp_path / "m")
    for bits, least, card in ((4, 17e9, "l4"), (16, 61e9, "a100-80")):
        found = asked(folder, "auto", f"load.bits={bits}")
        assert found.vram and least < found.vram and cards_of(found.wish)[0] == card
    (note,) = found.notes
    assert "of the type qwen3_moe" in note and "counted from the headers of its files" in note


def moe(folder: Path) -> Path:
    return model(folder, MOE, {name: one.shape for name, one in moe_tensors().items()})


def test_a_sweep_over_models_is_placed_by_what_each_of_them_needs(tmp_path: Path) -> None:
    small, large = model(tmp_path / "small", GRANITE), moe(tmp_path / "large")
    alone = {path: asked(path, "auto") for path in (small, large)}
    assert cards_of(alone[small].wish)[0] == "t4"
    for models in ((small, large), (large, small)):
        found = asked(small, "auto", models=models)
        assert found.vram == alone[large].vram and cards_of(found.wish)[0] == "l4"
        assert [one and one.parameters for one in found.models] == [
            one and one.parameters for path in models for one in alone[path].models
        ]
        sizes = [prepare(None, one).settings.resources for one in (found, alone[large])]
        assert (sizes[0].memory, sizes[0].disk) == (sizes[1].memory, sizes[1].disk)
    with pytest.raises(GpuUnavailable):
        prepare(None, asked(small, "t4", models=(small, large)))


def test_a_model_of_a_sweep_of_which_nothing_is_known_is_named(tmp_path: Path) -> None:
    small, large, unknown = model(tmp_path / "small", GRANITE), moe(tmp_path / "large"), tmp_path / "nothing"
    with pytest.raises(SettingsInvalid, match=f"no GPU can be chosen: no prediction for {unknown}"):
        asked(small, "auto", models=(small, unknown))
    assert asked(unknown, "auto", models=(small,)).vram, "no run is of the model that the sweep replaces"
    found = asked(small, "l4", models=(unknown, large))
    assert found.vram == asked(large, "l4").vram, "of the others it is known what they need"
    assert any(f"no prediction for {unknown}" in note for note in found.notes)


def test_a_model_of_a_sweep_that_the_job_refuses_is_refused(tmp_path: Path) -> None:
    refused = model(tmp_path / "refused", {"model_type": "brandnew"})
    with pytest.raises(JobError, match="which transformers"):
        asked(model(tmp_path / "small", GRANITE), models=(tmp_path / "small", refused))


def test_fields_that_nothing_would_read_are_noted(tmp_path: Path) -> None:
    found = asked(model(tmp_path / "m", GRANITE), "t4", "load.bits=8", "load.quant_type=fp4")
    assert "load.quant_type is not used: it is for 4 bits, and load.bits is 8" in found.notes


def test_auto_asks_for_a_card_and_sizes_if_nothing_is_known(tmp_path: Path) -> None:
    for place in (tmp_path / "nothing", model(tmp_path / "m", GRANITE, None)):
        with pytest.raises(SettingsInvalid, match="no GPU can be chosen: no prediction for") as caught:
            asked(place, "auto")
        assert all(flag in caught.value.hint for flag in ("--gpu", "--memory (10 GiB", "--disk (40 GiB"))
        with pytest.raises(SettingsInvalid) as caught:
            asked(place, "auto", memory=1 << 36, disk=1 << 36)
        assert "--gpu" in caught.value.hint and "--memory" not in caught.value.hint


def test_a_named_card_is_sent_with_a_word_on_what_is_not_predicted(tmp_path: Path) -> None:
    found = asked(tmp_path / "nothing", "t4")
    assert found.vram is None
    assert "check --memory (10 GiB by default) and --disk (40 GiB by default)" in found.notes[0]


@pytest.mark.slow
def test_where_the_jobs_extra_is_installed_the_whole_way_is_rehearsed(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "model")
    assert asked(folder, "auto", rehearses=True).notes == ()
    more_tokens(folder)
    with pytest.raises(JobError, match="its tokenizer has more ids") as caught:
        asked(folder, "auto", rehearses=True)
    assert caught.value.code == 82
