"""Small random models of many families, each by the class that transformers has for it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from tests.tiny_families import _LLAMA3, _QWEN, _without_prefix
from tests.tiny_models import CHAT_TEMPLATE, VOCAB_SIZE, copy_tokenizer, save, write_json

Fields = dict[str, Any]
SIZES: Fields = {
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64,
    "intermediate_size": 128, "max_position_embeddings": 2048, "initializer_range": 0.05, "pad_token_id": None,
}  # fmt: skip


def _glm(folder: Path, chat_template: str | None = CHAT_TEMPLATE) -> None:
    """With the special tokens of GLM, which the converter looks for."""
    from transformers import AutoTokenizer

    _LLAMA3(folder, chat_template)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["[gMASK]", "<|endoftext|>", "<|user|>", "<|observation|>"]}
    )
    tokenizer.save_pretrained(folder)


IDS = {
    copy_tokenizer: {"vocab_size": VOCAB_SIZE, "bos_token_id": 1, "eos_token_id": 2},
    _without_prefix: {"vocab_size": VOCAB_SIZE, "bos_token_id": 1, "eos_token_id": 2},
    _LLAMA3: {"vocab_size": 128256, "bos_token_id": 128000, "eos_token_id": 128001},
    _QWEN: {"vocab_size": 151936, "bos_token_id": 151643, "eos_token_id": 151645},
    _glm: {"vocab_size": 128264, "bos_token_id": 128256, "eos_token_id": 128257},
}


class Family(NamedTuple):
    """`published`: fields of config.json as its models have them, which transformers 5 writes otherwise, and `absent`:
    those that they do not have; `transposed`: ends of the names of tensors that are transposed in their files;
    `vision`: of a class for text and pictures, whose language model is meant; `bits`: `load.bits`; `trainer`:
    `training.trainer`."""

    model_type: str
    tokenizer: Any = copy_tokenizer
    fields: Fields = {}
    published: Fields = {}
    vision: Fields = {}
    absent: tuple[str, ...] = ()
    transposed: tuple[str, ...] = ()
    bits: int = 4
    trainer: str = "trl"


EXPERTS: Fields = {
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "norm_topk_prob": True,
}  # fmt: skip
LOCAL: Fields = {"num_local_experts": 4, "num_experts_per_tok": 2}
MAMBA: Fields = {
    "mamba_n_heads": 4, "mamba_d_head": 32, "mamba_d_state": 32, "mamba_n_groups": 1, "mamba_chunk_size": 64,
}  # fmt: skip
YARN: Fields = {
    "rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 512, "beta_fast": 32.0,
    "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
}  # fmt: skip
PIXTRAL: Fields = {
    "model_type": "pixtral", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
}  # fmt: skip
QWEN_EYES: Fields = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
QWEN_3_EYES: Fields = QWEN_EYES | {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
QWEN_3_ROPE: Fields = {
    "rope_type": "default", "rope_theta": 5e6, "mrope_section": [6, 5, 5], "mrope_interleaved": True,
}  # fmt: skip
LLAMA_EYES: Fields = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128, "image_size": 28,
    "vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32,
}  # fmt: skip
ROUTED: Fields = {
    "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 48,
    "first_k_dense_replace": 1,
}  # fmt: skip
LATENT: Fields = {
    "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16, "num_key_value_heads": 4,
}  # fmt: skip
HEAD: Fields = {"head_dim": 32}
UNWINDOWED: Fields = {"sliding_window": None}
HYBRID: Fields = {"layer_types": ["conv", "full_attention"] * 2}
MAMBA_AND_ATTENTION: Fields = {"layer_types": ["mamba", "attention"] * 2, "position_embedding_type": "nope"}
NEMOTRON_MAMBA: Fields = {
    "head_dim": 16, "mamba_num_heads": 4, "mamba_head_dim": 32, "n_groups": 2, "ssm_state_size": 32, "chunk_size": 64,
}  # fmt: skip
DELTA: Fields = {
    "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
}  # fmt: skip
MAMBA_2: Fields = {"num_heads": 4, "head_dim": 32, "n_groups": 1, "state_size": 32, "chunk_size": 64}
GEMMA: Fields = HEAD | {"query_pre_attn_scalar": 32}
GEMMA_4: Fields = {
    "head_dim": 32, "global_head_dim": 64, "hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": VOCAB_SIZE,
    "layer_types": ["sliding_attention", "full_attention"] * 2, "final_logit_softcapping": 30.0,
}  # fmt: skip

FAMILIES = {
    "Llama": Family("llama"),
    "Mistral": Family("mistral", fields=HEAD | UNWINDOWED),
    "Mixtral": Family("mixtral", fields=LOCAL | UNWINDOWED),
    "Mistral Small 3": Family("mistral3", fields=HEAD | UNWINDOWED | {"model_type": "mistral"}, vision=PIXTRAL),
    "Ministral 3": Family(
        "mistral3",
        fields=HEAD | UNWINDOWED | {"model_type": "ministral3", "rope_parameters": YARN},
        vision=PIXTRAL,
    ),
    "Ministral 3, text alone": Family("ministral3", fields=HEAD | UNWINDOWED | {"rope_parameters": YARN}),
    "Qwen 2.5": Family("qwen2", _QWEN),
    "Qwen 3": Family("qwen3", _QWEN, HEAD),
    "Qwen 3, experts": Family("qwen3_moe", _QWEN, HEAD | EXPERTS),
    "Qwen 2, experts": Family(
        "qwen2_moe",
        _QWEN,
        EXPERTS | {"norm_topk_prob": False, "shared_expert_intermediate_size": 64, "decoder_sparse_step": 1},
    ),
    "Qwen 2.5 VL": Family(
        "qwen2_5_vl",
        _QWEN,
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}},
        vision=QWEN_EYES,
    ),
    "Qwen 3 VL": Family("qwen3_vl", _QWEN, HEAD | {"rope_parameters": QWEN_3_ROPE}, vision=QWEN_3_EYES),
    "gpt-oss": Family(
        "gpt_oss", _LLAMA3, HEAD | LOCAL | {"layer_types": ["sliding_attention", "full_attention"] * 2}
    ),
    "Gemma": Family("gemma", _without_prefix, HEAD),
    "Gemma 2": Family("gemma2", _without_prefix, GEMMA),
    "Gemma 3": Family("gemma3_text", _without_prefix, GEMMA),
    "Gemma 4": Family("gemma4_text", _without_prefix, GEMMA_4),
    "Phi-2": Family("phi", _LLAMA3, {"num_key_value_heads": 4, "intermediate_size": 256}),
    "Phi-3": Family("phi3", fields={"original_max_position_embeddings": 2048}),
    "Granite": Family("granite"),
    "Granite, experts": Family("granitemoe", fields=LOCAL),
    "Granite 4, hybrid": Family(
        "granitemoehybrid",
        _LLAMA3,
        MAMBA | LOCAL | MAMBA_AND_ATTENTION | {"shared_intermediate_size": 96},
        published=MAMBA_AND_ATTENTION,
    ),
    "SmolLM 3": Family("smollm3", _LLAMA3),
    "OLMo 2": Family("olmo2", _LLAMA3),
    "OLMo 3": Family("olmo3", _LLAMA3),
    "OLMoE": Family("olmoe", _LLAMA3, {"num_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 4}),
    "StableLM": Family("stablelm", _LLAMA3),
    "Seed-OSS": Family("seed_oss", _LLAMA3, HEAD),
    "Apertus": Family("apertus", _LLAMA3),
    "ERNIE 4.5": Family("ernie4_5", fields=HEAD),
    "ERNIE 4.5, experts": Family(
        "ernie4_5_moe",
        fields={"head_dim": 16, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 32}
        | {"moe_num_shared_experts": 2},
    ),
    "Pythia": Family("gpt_neox", _LLAMA3, published={"rotary_pct": 0.25, "use_parallel_residual": True}),
    "Nemotron": Family("nemotron"),
    "Nemotron-H": Family(
        "nemotron_h",
        _LLAMA3,
        NEMOTRON_MAMBA | {"hybrid_override_pattern": "M-*-"},
        published={"hybrid_override_pattern": "M-*-", "num_hidden_layers": 4},
        absent=("num_experts_per_tok", "layers_block_type"),
    ),
    "Nemotron 3": Family(
        "nemotron_h",
        _LLAMA3,
        NEMOTRON_MAMBA
        | {"hybrid_override_pattern": "ME*E", "n_routed_experts": 4, "num_experts_per_tok": 2}
        | {"moe_intermediate_size": 48, "moe_shared_expert_intermediate_size": 96},
        published={"hybrid_override_pattern": "ME*E", "num_hidden_layers": 4},
        absent=("layers_block_type",),
    ),
    "MiniCPM 3": Family("minicpm3", fields={"num_key_value_heads": 4}),
    "LFM2": Family("lfm2", _LLAMA3, HYBRID),
    "LFM2, experts": Family("lfm2_moe", _LLAMA3, HYBRID | EXPERTS | {"num_dense_layers": 1}),
    "Falcon": Family("falcon", _LLAMA3, {"multi_query": True, "num_kv_heads": 1, "new_decoder_architecture": False}),
    "Falcon-H1": Family("falcon_h1", _LLAMA3, HEAD | MAMBA | {"mamba_d_ssm": 128}, published=HEAD),
    "EXAONE 4": Family("exaone4", _LLAMA3, UNWINDOWED | {"layer_types": ["full_attention"] * 4}),
    "StarCoder 2": Family("starcoder2", _LLAMA3, UNWINDOWED),
    "Hunyuan": Family("hunyuan_v1_dense", _LLAMA3, HEAD),
    "Command R": Family("cohere", _LLAMA3),
    "Command A": Family("cohere2", _LLAMA3, {"sliding_window": 512}, published={"rotary_pct": 1.0}),
    "GPT-2": Family("gpt2", _LLAMA3, published={"n_ctx": 2048}, bits=16),
    "Arcee": Family("arcee", _LLAMA3),
    "Llama 4": Family(
        "llama4",
        _LLAMA3,
        LOCAL | {"head_dim": 16, "intermediate_size_mlp": 128, "num_experts_per_tok": 1, "attention_chunk_size": 512},
        vision=LLAMA_EYES,
        trainer="transformers",
    ),
    "DeepSeek V2 Lite": Family(
        "deepseek_v2", _LLAMA3, ROUTED | LATENT | {"q_lora_rank": None, "num_hidden_layers": 27}
    ),
    "DeepSeek V3": Family(
        "deepseek_v3",
        _LLAMA3,
        ROUTED | LATENT
        | {"q_lora_rank": 32, "n_routed_experts": 8, "n_group": 2, "topk_group": 1, "num_mtp_layers": 0},
        published={"scoring_func": "sigmoid"},
    ),
    "GLM-4": Family("glm4", _glm, HEAD),
    "GLM-4.5": Family("glm4_moe", _glm, HEAD | ROUTED | {"num_mtp_layers": 0}),
    "dots.llm1": Family(
        "dots1",
        _LLAMA3,
        HEAD | UNWINDOWED | ROUTED
        | {"num_key_value_heads": 4, "norm_topk_prob": True, "layer_types": ["full_attention"] * 4},
        published={"scoring_func": "sigmoid"},
    ),
    "Qwen 3.5": Family("qwen3_5", _QWEN, HEAD | DELTA, vision=QWEN_3_EYES),
    "Qwen 3 VL, experts": Family(
        "qwen3_vl_moe",
        _QWEN,
        HEAD | EXPERTS | {"rope_parameters": QWEN_3_ROPE},
        vision=QWEN_3_EYES,
        transposed=("experts.gate_up_proj", "experts.down_proj"),
    ),
    "Qwen 3 Next": Family(
        "qwen3_next",
        _QWEN,
        HEAD | EXPERTS | DELTA | {"shared_expert_intermediate_size": 64},
        published={"full_attention_interval": 4},
    ),
}  # fmt: skip
"""By the names that people know."""


class Refused(NamedTuple):
    """`said`, `hint`: words of the message and of what to do next; `sections`: of the spec."""

    family: Family
    said: str
    hint: str = ""
    sections: Fields = {}


REFUSED = {
    "OPT": Refused(Family("opt", _LLAMA3), "converter does not know the architecture OPTForCausalLM", "It knows"),
    "Phi-3.5, experts": Refused(
        Family("phimoe", _LLAMA3, LOCAL, published={"architectures": ["PhiMoEForCausalLM"]}),
        "llama.cpp computes something else",
        "a model of another family",
    ),
    "Phi-3.5, experts, saved by transformers": Refused(
        Family("phimoe", _LLAMA3, LOCAL),
        "converter does not know the architecture PhimoeForCausalLM",
        "PhiMoEForCausalLM",
    ),
    "Ministral": Refused(
        Family("ministral", _LLAMA3, HEAD),
        "converter does not know the architecture MinistralForCausalLM",
        "Ministral3ForCausalLM",
    ),
    "BitNet": Refused(Family("bitnet", _LLAMA3), "llama.cpp's converter"),
    "GPT-2 in 4 bits": Refused(
        Family("gpt2", _LLAMA3, published={"n_ctx": 2048}), "load.bits: 4 cannot be merged", "Set load.bits: 16"
    ),
    "Mixtral in 8 bits": Refused(
        Family("mixtral", fields=LOCAL | UNWINDOWED),
        "load.bits: 8 does not quantize the experts",
        "Set load.bits: 4",
        {"load": {"bits": 8}},
    ),
    "Llama 4 by TRL": Refused(
        Family(
            "llama4",
            _LLAMA3,
            LOCAL | {"head_dim": 16, "intermediate_size_mlp": 128, "num_experts_per_tok": 1},
            vision=LLAMA_EYES,
        ),
        "training.trainer: trl cannot train",
        "training.trainer: transformers",
    ),
    "Mamba": Refused(
        Family("mamba", _LLAMA3, {"state_size": 16}),
        "auto knows no layers of attention",
        "in_proj",
        {"load": {"bits": 16}},
    ),
    "Mamba in 4 bits": Refused(
        Family("mamba", _LLAMA3, {"state_size": 16}),
        "load.bits: 4 does not train",
        "Set load.bits: 16",
        {"lora": {"target_modules": ["in_proj"]}},
    ),
    "Mamba 2": Refused(Family("mamba2", _LLAMA3, MAMBA_2), "auto knows no layers of attention", "in_proj"),
}
"""Families that end before the fetch."""


def config_of(family: Family) -> Any:
    import transformers

    fields = SIZES | IDS[family.tokenizer] | family.fields
    parts = {"text_config": fields, "vision_config": family.vision} if family.vision else fields
    return transformers.AutoConfig.for_model(family.model_type, **parts)


def make(name: str, folder: Path) -> Path:
    return _made(FAMILIES[name], folder)


def make_refused(name: str, folder: Path) -> Path:
    return _made(REFUSED[name].family, folder)


def _made(family: Family, folder: Path) -> Path:
    import torch
    import transformers

    config = config_of(family)
    if not family.vision:
        save(folder, config, tokenizer=family.tokenizer)
    else:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = transformers.AutoModelForImageTextToText.from_config(config)
        model.to(torch.bfloat16).save_pretrained(folder)
        family.tokenizer(folder, chat_template=CHAT_TEMPLATE)
    path = folder / "config.json"
    fields = {name: value for name, value in json.loads(path.read_text()).items() if name not in family.absent}
    write_json(path, fields | family.published)
    if family.transposed:
        _transpose(folder / "model.safetensors", family.transposed)
    return folder


def _transpose(path: Path, ends: tuple[str, ...]) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    changed = {name: weight.transpose(1, 2).contiguous() for name, weight in weights.items() if name.endswith(ends)}
    save_file(weights | changed, path, metadata={"format": "pt"})
