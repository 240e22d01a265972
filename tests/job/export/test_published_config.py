"""A config that transformers 5 has read is given back to the converter as the converter knows it."""

from typing import Any

import pytest

from job.export.published_config import as_published


def test_the_layers_of_granite_4_have_the_names_of_its_files() -> None:
    config = {"layer_types": ["linear_attention", "full_attention", "mamba", "attention"]}
    kinds = as_published("GraniteMoeHybridForCausalLM", config)["layer_types"]
    assert [n for n, kind in enumerate(kinds) if kind == "attention"] == [1, 3]


@pytest.mark.parametrize(
    ("kinds", "pattern", "kept"),
    [
        (["linear_attention", "mlp", "full_attention", "mlp"], "M-*-", {"n_groups"}),
        (["mamba", "moe", "attention"], "ME*", {"n_groups", "n_group", "num_experts_per_tok", "moe_latent_size"}),
    ],
)
def test_a_nemotron_h_has_a_pattern_and_sizes_of_experts_only_if_it_has_experts(
    kinds: list[str], pattern: str, kept: set[str]
) -> None:
    sizes: dict[str, Any] = {"n_groups": 8, "n_group": 1, "num_experts_per_tok": 2, "moe_latent_size": None}
    config = as_published("NemotronHForCausalLM", sizes | {"layers_block_type": kinds})
    assert config.keys() - {"layers_block_type", "hybrid_override_pattern"} == kept
    assert config["hybrid_override_pattern"] == pattern


def test_pythia_rotates_a_part() -> None:
    rope = {"rope_parameters": {"partial_rotary_factor": 0.25}}
    assert as_published("GPTNeoXForCausalLM", rope)["rotary_pct"] == 0.25
    assert as_published("GPTNeoXForCausalLM", rope | {"rotary_pct": 1.0})["rotary_pct"] == 1.0


def test_any_other_config_stays_as_it_is() -> None:
    config = {"layer_types": ["full_attention"]}
    assert as_published("LlamaForCausalLM", config) is config
