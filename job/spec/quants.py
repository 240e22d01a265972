"""The quantization types of the bundled llama.cpp, by the names that `llama-quantize` takes.

Source: `QUANT_OPTIONS` in llama.cpp's tools/quantize/quantize.cpp and the refusal of types without
an importance matrix in src/llama-quant.cpp. A test compares this table with the built program's help.
"""

UNQUANTIZED = ("f32", "f16", "bf16")

QUANTIZED = (
    "q1_0", "q2_0", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0",
    "q2_k", "q2_k_s", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k",
    "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq2_m", "iq3_xxs", "iq3_xs", "iq3_s", "iq3_m",
    "iq4_nl", "iq4_xs", "tq1_0", "tq2_0", "mxfp4_moe",
)  # fmt: skip

ALIASES = {"q3_k": "q3_k_m", "q4_k": "q4_k_m", "q5_k": "q5_k_m"}

NEEDS_IMATRIX = frozenset({"iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq2_m", "iq3_xxs", "iq3_xs", "q2_k_s"})

HELPED_BY_IMATRIX = frozenset(QUANTIZED) - {"q8_0", "mxfp4_moe", "tq1_0", "tq2_0", "q1_0", "q2_0"}
"""Types whose quantization weights its errors by an importance matrix (`quantize_*` in ggml-quants.c)."""

EVERY_TYPE = (*UNQUANTIZED, *QUANTIZED)
