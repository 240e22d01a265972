"""How many of a model's first layers stand for all of them."""

from typing import Any

import pytest

from job.agreement.cut import cut, keeps

SLIDING, FULL = "sliding_attention", "full_attention"
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "all alike": ({"num_hidden_layers": 32}, 4),
    "fewer than that": ({"num_hidden_layers": 2}, 2),
    "one of six attends to all": ({"num_hidden_layers": 12, "layer_types": [*[SLIDING] * 5, FULL] * 2}, 6),
    "a number says which": ({"num_hidden_layers": 36, "no_rope_layer_interval": 8}, 9),
    "the first ones have no experts": ({"num_hidden_layers": 61, "first_k_dense_replace": 3}, 4),
    "GPT-2's name for it": ({"n_layer": 12}, 4),
}


@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_layer_is_among_them(case: str) -> None:
    config, kept = CASES[case]
    found = cut(config)
    assert found and found[1] == kept
    assert all(len(value) == kept for value in found[0].values() if isinstance(value, list))


def test_of_a_model_with_eyes_the_language_model_is_cut() -> None:
    found = cut({"text_config": {"num_hidden_layers": 9}, "vision_config": {"num_hidden_layers": 27}})
    assert found == ({"text_config": {"num_hidden_layers": 4}, "vision_config": {"num_hidden_layers": 27}}, 4)
    keep = keeps(4)
    assert keep("model.vision_tower.layers.20.weight") and keep("model.language_model.layers.3.mlp.weight")
    assert not keep("model.language_model.layers.4.mlp.weight") and keep("lm_head.weight")


def test_layers_that_only_predict_further_are_left_out() -> None:
    found = cut({"num_hidden_layers": 8, "num_nextn_predict_layers": 1})
    assert found and found[0]["num_nextn_predict_layers"] == 0 and not keeps(4)("model.layers.8.eh_proj.weight")


@pytest.mark.parametrize("config", [{"hidden_size": 64}, {"num_hidden_layers": 8, "num_kv_shared_layers": 4}])
def test_a_model_that_has_no_first_layers_of_its_own_is_not_cut(config: dict[str, Any]) -> None:
    assert cut(config) is None
