"""What a budget leaves for tensors, and which types of llama.cpp a mix is compared with."""

import pytest

from job.errors import SpecInvalid
from job.fit.budget import PRESETS, Model, compared, room
from job.fit.groups import LADDER
from job.fit.search import ERRORS
from job.fit.tensors import BLOCKS, Tensor, layout_in
from job.spec.fit import Fit
from tests.job.llama_cpp.gguf_package import gguf_module

TENSOR = Tensor(name="blk.0.ffn_up.weight", columns=256, elements=256 * 400_000)
PRESET_SIZES = {
    "iq2_xxs": 30_000_000,
    "q3_k_m": 50_000_000,
    "q4_0": 58_000_000,
    "q4_k_s": 59_000_000,
    "q4_k_m": 62_000_000,
}
MODEL = Model(
    whole="f16", size=206_000_000, cache=1000, tensors=[TENSOR], fixed=400, elements=TENSOR.elements + 100,
    presets=PRESET_SIZES,
)  # fmt: skip

SAID = """\
[   1/   4] token_embd.weight    - [   256,   1536,      1,      1], type =    f16, size =     0.75 MiB ->     0.21 MiB (q4_K)
[   2/   4] blk.0.attn_norm.weight - [   256,      1,      1,      1], type =    f32, size =    0.001 MiB
[   3/   4] blk.0.attn_q.weight  - [   256,    256,      1,      1], type =    f16, size =     0.13 MiB ->     0.04 MiB (q4_K)
[   4/   4] blk.0.ffn_down_exps.weight - [   512,    256,      8,      1], type =    f16, size =     2.00 MiB ->     0.82 MiB (q6_K)
"""  # noqa: E501 - as llama-quantize writes it


def test_what_llama_quantize_would_make_is_read_to_the_byte() -> None:
    found = layout_in(SAID)
    assert [tensor.name for tensor in found.tensors] == [
        "token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_down_exps.weight",
    ]  # fmt: skip
    assert found.fixed == 256 * 4
    assert found.elements == 256 * 1536 + 256 + 256 * 256 + 512 * 256 * 8
    assert found.after == (256 * 1536 + 256 * 256) // 256 * 144 + 512 * 256 * 8 // 256 * 210 + 1024


def test_blocks_are_as_large_as_llama_cpp_says() -> None:
    gguf = gguf_module()
    sizes = {kind.name.lower(): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert {kind: sizes[kind] for kind in BLOCKS} == BLOCKS


def test_every_type_that_is_tried_has_a_size_and_an_error_and_larger_ones_do_not_have_larger_errors() -> None:
    assert set(LADDER) <= BLOCKS.keys() & ERRORS.keys()
    wide = [kind for kind in LADDER if BLOCKS[kind][0] == 256 and kind not in ("q2_k", "q3_k")]
    errors = [ERRORS[kind] for kind in wide]
    assert errors == sorted(errors, reverse=True)


def test_a_budget_in_bytes_leaves_room_for_everything_that_is_not_a_tensor() -> None:
    left = room(Fit(fit="60M"), MODEL)
    beside = MODEL.size - MODEL.tensor_bytes
    assert 60_000_000 - beside - 10_000 < left <= 60_000_000 - beside
    assert room(Fit(fit="60M", context=2000), MODEL) == left - 2_000_000


def test_a_budget_in_bits_is_of_the_weights() -> None:
    assert room(Fit(fit="4.5bpw"), MODEL) == int(MODEL.elements * 4.5 / 8)


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        (Fit(fit="20M"), "20M is too little: the smallest file, iq2_xxs, takes 31.2M"),
        (Fit(fit="40M", context=20_000), "iq2_xxs, takes 51.2M with 20,000 tokens of context"),
        (Fit(fit="300M"), "300M is more than the unquantized file, which takes 206.0M"),
        (Fit(fit="2bpw"), "iq2_xxs, takes 2.34bpw"),
        (Fit(fit="16bpw"), "16bpw is more than the unquantized file, which takes 16.00bpw"),
    ],
)
def test_what_no_file_can_be_is_refused_with_what_could_be(fit: Fit, said: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        room(fit, MODEL)
    assert said in caught.value.message and caught.value.code == 64


def test_a_mix_is_compared_with_the_types_just_below_the_budget_and_with_three_at_least() -> None:
    assert compared(MODEL, 62_000_000) == ["q4_k_m", "q4_k_s", "q4_0"]
    assert compared(MODEL, 61_999_999) == ["q4_k_s", "q4_0", "q3_k_m"]
    assert compared(MODEL, 30_000_001) == ["iq2_xxs"]


def test_types_for_special_models_are_not_compared_with() -> None:
    assert not {"mxfp4_moe", "tq1_0", "q1_0", "q2_0", "iq1_s"} & set(PRESETS) and "q4_k_m" in PRESETS
