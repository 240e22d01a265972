"""Which adapters are trained: on which modules, and from which one a training may start."""

from pathlib import Path
from typing import Any

import pytest

from job.errors import SpecInvalid
from job.train.model import load_base, with_adapter
from job.train.stage import Adapted
from tests.export_reference import make_adapter
from tests.job.train.trainers import ON_THE_CPU, spec_of, trained

pytestmark = pytest.mark.slow


def test_unknown_modules_are_named_with_those_that_exist(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match=r"query_key_value(.|\n)*k_proj, o_proj, q_proj"):
        spec = spec_of(tiny_model, lora={"target_modules": ["query_key_value"]})
        trained(spec, data, tmp_path)


def test_an_adapter_that_the_trainer_would_not_train_is_refused(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    head = {"lora": {"target_modules": ["q_proj", "lm_head"]}}
    with pytest.raises(SpecInvalid, match=r"cannot train an adapter on the output layer"):
        trained(spec_of(tiny_model, **head), data, tmp_path)
    other = spec_of(tiny_model, training={"trainer": "transformers"}, **head)
    assert trained(other, data, tmp_path).losses


@pytest.mark.parametrize(
    ("lora", "refused"),
    [
        ({"r": 4, "target_modules": ["v_proj", "k_proj"]}, ""),
        ({"r": 8}, ""),  # the default, as if it were left out
        ({"r": 16}, r"lora\.r: 16, but the adapter me/adapter has 4"),
        ({"dropout": 0.5}, r"lora\.dropout"),
        ({"target_modules": "all-linear"}, r"lora\.target_modules: .*o_proj"),
        ({"use_dora": True}, r"lora\.use_dora"),
    ],
    ids=str,
)
def test_an_adapter_to_start_from_keeps_its_settings_and_others_are_refused(
    tiny_model: Path, tmp_path: Path, lora: dict[str, Any], refused: str
) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "adapter", r=4, target_modules=["k_proj", "v_proj"])
    spec = spec_of(tiny_model, lora=lora)
    spec = spec.model_copy(update={"model": spec.model.model_copy(update={"adapter": "me/adapter"})})
    base = load_base(spec, tiny_model, ON_THE_CPU)
    if refused:
        with pytest.raises(SpecInvalid, match=refused):
            with_adapter(spec, base, adapter)
    else:
        kept = with_adapter(spec, base, adapter).peft_config["default"]
        said = {"r": 4, "alpha": 16, "dropout": 0.0, "targets": ["k_proj", "v_proj"]}
        assert Adapted.of(kept).model_dump() == said, "what the card says"
