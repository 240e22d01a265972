"""A config.json by anybody: what cannot be read is the model's fault, by name, and never a bug of the job."""

from pathlib import Path

import pytest

from job.errors import DataInvalid
from job.predict.config import anatomy_here, config_of
from job.spec import JobSpec


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
