"""A config.json by anybody: what cannot be read is the model's fault, by name, and never a bug of the job."""

from pathlib import Path

import pytest

from job.errors import DataInvalid
from job.predict.config import anatomy_here, config_of, seen_here
from job.rehearsal.hollow import write_hollow_tensors
from job.spec import JobSpec
from tests.hub_server import Hub
from tests.s3_server import Bucket
from tests.tiny_models import write_json


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": str(tmp_path)}, "training": None})


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b'{"a":' * 100_000, b"[" * 100_000, b"\xff\xfe{}"],
    ids=["empty", "cut off", "a list", "null", "deep objects", "deep lists", "not UTF-8"],
)  # fmt: skip
def test_one_that_is_not_a_json_object_is_refused(spec: JobSpec, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(DataInvalid, match=r"config\.json is not"):
        config_of(spec, "")
    assert anatomy_here(spec)[0] is None


def test_the_headers_tell_the_sizes_of_a_family_without_formulas_wherever_the_model_is(
    hub: Hub, s3: Bucket, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write_json(folder / "config.json", {"model_type": "new", "num_attention_heads": 4})
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (1000, 64), "model.norm.weight": (64,)}
    for layer in range(2):
        shapes |= {f"model.layers.{layer}.self_attn.{name}.weight": (64, 64) for name in ("q_proj", "v_proj")}
    shards = {"a.safetensors": dict(list(shapes.items())[:3]), "b.safetensors": dict(list(shapes.items())[3:])}
    for name, some in shards.items():
        write_hollow_tensors(folder / name, some)
    index = {"weight_map": {name: file for file, some in shards.items() for name in some}}
    write_json(folder / "model.safetensors.index.json", index)
    for path in folder.iterdir():
        s3.client.put_object(Bucket=s3.bucket, Key=f"model/{path.name}", Body=path.read_bytes())
    hub.add("someone/model", folder)
    places = (str(folder), "someone/model", f"s3://{s3.bucket}/model")
    seen = [seen_here(JobSpec.model_validate({"model": {"id": place}, "training": None})) for place in places]
    assert seen[0].model and seen[0].model.parameters == 1000 * 64 + 64 + 4 * 64 * 64
    assert [one.model for one in seen] == [seen[0].model] * 3
    assert "of the type new, which no formulas are known of" in seen[1].why


def test_a_family_without_formulas_and_without_headers_is_not_known(tmp_path: Path, hub: Hub) -> None:
    hub.add("someone/model", {"config.json": b'{"model_type": "new"}'})
    seen = seen_here(JobSpec.model_validate({"model": {"id": "someone/model"}, "training": None}))
    assert (seen.config, seen.model) == ({"model_type": "new"}, None)
    assert "someone/model has no model.safetensors" in seen.why
