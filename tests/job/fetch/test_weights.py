"""The files of a repository that are its weights are fetched and counted once."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.errors import NotFound
from job.fetch import sources
from job.fetch import stage as fetch_stage
from job.spec import JobSpec
from tests.hub_server import Hub
from tests.job.fetch.models import GOOD, safetensors
from tests.s3_server import Bucket

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = json.dumps({"weight_map": {"t0": ONE, "t1": TWO}}).encode()
WEIGHTS = GOOD["model.safetensors"]
SHARDED = {"config.json": GOOD["config.json"], "model.safetensors.index.json": INDEX, ONE: WEIGHTS, TWO: WEIGHTS}
OTHERS = {
    "consolidated.safetensors": safetensors((0, 999)),
    "model.fp16.safetensors": safetensors((0, 999)),
    "onnx/model.safetensors": safetensors((0, 999)),
}


def put(place: str, files: dict[str, bytes], hub: Hub, s3: Bucket, folder: Path) -> str:
    """Puts the files there, and returns the model's id."""
    if place == "hub":
        hub.add("someone/model", files)
        return "someone/model"
    for name, data in files.items():
        s3.client.put_object(Bucket=s3.bucket, Key=f"model/{name}", Body=data)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return f"s3://{s3.bucket}/model" if place == "s3" else str(folder)


def spec_of(model: str, **more: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": model} | more, "training": None})


@pytest.mark.parametrize("place", ["hub", "s3", "folder"])
@pytest.mark.parametrize("files", [SHARDED, GOOD], ids=["sharded", "whole"])
def test_weights_that_lie_there_twice_are_fetched_counted_and_loaded_once(
    place: str, files: dict[str, bytes], hub: Hub, s3: Bucket, tmp_path: Path
) -> None:
    spec = spec_of(put(place, files | OTHERS, hub, s3, tmp_path / "model"))
    pinned = sources.resolve(spec)
    weights = {name: data for name, data in files.items() if name != "config.json"}
    assert sources.model_bytes(spec, pinned) == sum(map(len, weights.values()))
    result = fetch_stage.run(spec, fetch_stage.Inputs(sources=pinned), tmp_path / "work")
    assert {path.name for path in result.model.glob("*.safetensors*")} == set(weights)
    assert not list((tmp_path / "work" / "model").rglob("consolidated*")) and not hub.asked("consolidated")


@pytest.mark.parametrize("place", ["hub", "s3", "folder"])
def test_a_shard_that_is_nowhere_is_named_before_anything_is_fetched(
    place: str, hub: Hub, s3: Bucket, tmp_path: Path
) -> None:
    files = {name: data for name, data in SHARDED.items() if name != TWO}
    spec = spec_of(put(place, files, hub, s3, tmp_path / "model"))
    with pytest.raises(NotFound, match=f"is not whole: .* names {TWO}, and nobody has put it there"):
        sources.resolve(spec)
    assert not hub.asked(ONE)


def test_other_weights_beside_an_adapter_are_not_its_own(hub: Hub, tmp_path: Path) -> None:
    config = json.dumps({"peft_type": "LORA"}).encode()
    hub.add("me/adapter", {"adapter_config.json": config, "adapter_model.safetensors": WEIGHTS, **SHARDED})
    hub.add("someone/model", GOOD)
    spec = spec_of("someone/model", adapter="me/adapter")
    result = fetch_stage.run(spec, fetch_stage.Inputs(sources=sources.resolve(spec)), tmp_path / "work")
    assert result.adapter and [path.name for path in result.adapter.glob("*.safetensors*")] == [
        "adapter_model.safetensors"
    ]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"peft_type": "LOHA"}, "PEFT type LOHA"),
        ({"peft_type": "LORA", "use_qalora": True}, "QALoRA"),
        ({"peft_type": "LORA", "use_something_new": True}, "sets use_something_new, which this job does not know"),
    ],
)
def test_an_adapter_that_cannot_be_merged_is_refused_before_anything_is_fetched(
    hub: Hub, config: dict[str, Any], said: str
) -> None:
    hub.add("someone/model", GOOD)
    hub.add("me/adapter", {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": WEIGHTS})
    with pytest.raises(Exception, match=said) as caught:
        sources.resolve(spec_of("someone/model", adapter="me/adapter"))
    assert getattr(caught.value, "code", None) == 64
    assert not hub.asked("safetensors")
