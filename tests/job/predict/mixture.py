"""A mixture of experts as its files have it: Qwen3-30B-A3B's sizes."""

from job.safetensors_files import Tensor

MOE = {
    "model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 2048, "head_dim": 128,
    "num_attention_heads": 32, "num_key_value_heads": 4, "num_experts": 128, "num_experts_per_tok": 8,
    "num_hidden_layers": 48, "moe_intermediate_size": 768, "vocab_size": 151_936, "tie_word_embeddings": False,
}  # fmt: skip
"""Qwen3-30B-A3B."""


def moe_tensors() -> dict[str, Tensor]:
    """As its files have them: a matrix for each expert."""
    width, words = 2048, 151_936
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens": (words, width), "lm_head": (words, width)}
    for layer in range(48):
        inside: dict[str, tuple[int, ...]] = {
            "self_attn.q_proj": (4096, width), "self_attn.k_proj": (512, width), "self_attn.v_proj": (512, width),
            "self_attn.o_proj": (width, 4096), "self_attn.q_norm": (128,), "self_attn.k_norm": (128,),
            "input_layernorm": (width,), "post_attention_layernorm": (width,), "mlp.gate": (128, width),
        }  # fmt: skip
        for number in range(128):
            inside |= dict.fromkeys((f"mlp.experts.{number}.gate_proj", f"mlp.experts.{number}.up_proj"), (768, width))
            inside[f"mlp.experts.{number}.down_proj"] = (width, 768)
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in inside.items()}
    return {f"{name}.weight": Tensor("BF16", shape) for name, shape in shapes.items()}
