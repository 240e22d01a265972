"""What training computes in, by family and GPU."""

from typing import Any

import pytest

from job.architectures import table
from job.spec import JobSpec
from job.spec.precision import FLOAT16_FITS, FLOAT16_OVERFLOWS, families_of, precision_of

T4, A100 = (7, 5), (8, 0)


def chosen(family: str, capability: Any, **sections: Any) -> Any:
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}, **sections})
    return precision_of(spec, [family], capability)


@pytest.mark.parametrize(
    ("family", "capability", "compute", "frozen"),
    [
        ("llama", None, "float32", "float32"),
        ("llama", A100, "bfloat16", "bfloat16"),
        ("llama", T4, "float16", "float16"),
        ("mistral", T4, "float16", "float16"),
        ("qwen3", A100, "bfloat16", "bfloat16"),
        ("qwen3", T4, "float16", "float32"),
        ("gemma3_text", A100, "bfloat16", "bfloat16"),
        ("gemma3_text", T4, "float32", "float32"),
        ("gpt_oss", (7, 0), "float32", "float32"),
        ("gpt_oss", None, "float32", "float32"),
    ],
)
def test_frozen_weights_stay_in_16_bits_where_no_family_overflows(
    family: str, capability: Any, compute: str, frozen: str
) -> None:
    found = chosen(family, capability)
    assert (found.compute, found.frozen) == (compute, frozen)
    assert found.fp16 == (compute == "float16") and found.bf16 == (compute == "bfloat16")
    assert bool(found.overflows) == (capability is not None and compute == "float32")


@pytest.mark.parametrize("frozen", ["float32", "compute"])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("capability", [T4, A100, None])
def test_what_the_spec_says_is_used(frozen: str, family: str, capability: Any) -> None:
    found = chosen(family, capability, load={"frozen_dtype": frozen})
    assert found.frozen == ("float32" if frozen == "float32" else found.compute)


@pytest.mark.parametrize("asked", [{"training": {"fp16": True}}, {"load": {"compute_dtype": "float16"}}])
@pytest.mark.parametrize("capability", [T4, A100])
def test_float16_that_is_asked_for_is_used_and_its_danger_told(asked: Any, capability: Any) -> None:
    found = chosen("gemma3_text", capability, **asked)
    assert found.in_float16 and found.overflows == "gemma3_text"
    assert "the loss may become NaN" in found.told
    assert not chosen("llama", capability, **asked).overflows


def test_a_language_model_inside_another_model_counts() -> None:
    assert families_of({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}) == {
        "gemma3",
        "gemma3_text",
    }
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}})
    assert precision_of(spec, families_of({"model_type": "x", "text_config": {"model_type": "gpt_oss"}}), T4).overflows
    assert precision_of(spec, ["llava", "llama"], T4).frozen == "float32"
    assert precision_of(spec, [], T4).frozen == "float32"


def test_each_family_is_one_that_transformers_loads_and_in_one_list() -> None:
    assert not FLOAT16_OVERFLOWS.keys() & FLOAT16_FITS.keys()
    assert (FLOAT16_OVERFLOWS.keys() | FLOAT16_FITS.keys()) <= table()["loads"].keys()
    assert all(FLOAT16_OVERFLOWS.values()) and all(FLOAT16_FITS.values())


@pytest.mark.parametrize(("bits", "frozen"), [(16, "float32"), (32, "compute")])
def test_a_dtype_that_no_weight_could_have_is_refused(bits: int, frozen: str) -> None:
    with pytest.raises(ValueError, match=f"with load.bits {bits} all weights are in"):
        chosen("llama", None, load={"bits": bits, "frozen_dtype": frozen})
