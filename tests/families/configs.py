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
IDS = {
    copy_tokenizer: {"vocab_size": VOCAB_SIZE, "bos_token_id": 1, "eos_token_id": 2},
    _without_prefix: {"vocab_size": VOCAB_SIZE, "bos_token_id": 1, "eos_token_id": 2},
    _LLAMA3: {"vocab_size": 128256, "bos_token_id": 128000, "eos_token_id": 128001},
    _QWEN: {"vocab_size": 151936, "bos_token_id": 151643, "eos_token_id": 151645},
}


class Family(NamedTuple):
    """`published`: fields of config.json as its models have them, which transformers 5 writes otherwise; `vision`: of
    a class for text and pictures, whose language model is meant."""

    model_type: str
    tokenizer: Any = copy_tokenizer
    fields: Fields = {}
    published: Fields = {}
    vision: Fields = {}


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
HEAD: Fields = {"head_dim": 32}
UNWINDOWED: Fields = {"sliding_window": None}
HYBRID: Fields = {"layer_types": ["conv", "full_attention"] * 2}
GEMMA: Fields = HEAD | {"query_pre_attn_scalar": 32}

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
    "Phi-2": Family("phi", _LLAMA3, {"num_key_value_heads": 4, "intermediate_size": 256}),
    "Phi-3": Family("phi3", fields={"original_max_position_embeddings": 2048}),
    "Granite": Family("granite"),
    "Granite, experts": Family("granitemoe", fields=LOCAL),
    "SmolLM 3": Family("smollm3", _LLAMA3),
    "OLMo 2": Family("olmo2", _LLAMA3),
    "OLMo 3": Family("olmo3", _LLAMA3),
    "OLMoE": Family("olmoe", _LLAMA3, {"num_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 4}),
    "StableLM": Family("stablelm", _LLAMA3),
    "Seed-OSS": Family("seed_oss", _LLAMA3, HEAD),
    "Apertus": Family("apertus", _LLAMA3),
    "ERNIE 4.5": Family("ernie4_5", fields=HEAD),
    "Nemotron": Family("nemotron"),
    "MiniCPM 3": Family("minicpm3", fields={"num_key_value_heads": 4}),
    "LFM2": Family("lfm2", _LLAMA3, HYBRID),
    "LFM2, experts": Family("lfm2_moe", _LLAMA3, HYBRID | EXPERTS | {"num_dense_layers": 1}),
    "Falcon": Family("falcon", _LLAMA3, {"multi_query": True, "num_kv_heads": 1, "new_decoder_architecture": False}),
    "Falcon-H1": Family("falcon_h1", _LLAMA3, HEAD | MAMBA | {"mamba_d_ssm": 128}, published=HEAD),
    "EXAONE 4": Family("exaone4", _LLAMA3, UNWINDOWED | {"layer_types": ["full_attention"] * 4}),
    "StarCoder 2": Family("starcoder2", _LLAMA3, UNWINDOWED),
    "Hunyuan": Family("hunyuan_v1_dense", _LLAMA3, HEAD),
    "Command R": Family("cohere", _LLAMA3),
    "Arcee": Family("arcee", _LLAMA3),
}  # fmt: skip
"""By the names that people know."""


def config_of(family: Family) -> Any:
    import transformers

    fields = SIZES | IDS[family.tokenizer] | family.fields
    parts = {"text_config": fields, "vision_config": family.vision} if family.vision else fields
    return transformers.AutoConfig.for_model(family.model_type, **parts)


def make(name: str, folder: Path) -> Path:
    import torch
    import transformers

    family = FAMILIES[name]
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
    write_json(path, json.loads(path.read_text()) | family.published)
    return folder
