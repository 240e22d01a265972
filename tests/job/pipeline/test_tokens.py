"""A tokenizer that does not end is a fault of the data, not of this job."""

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from job.errors import DataInvalid
from job.fetch.sources import Sources
from job.pipeline.files import Files
from job.pipeline.known import Known
from job.run.records import StageRecord
from job.run.supervise import ChildKilled
from job.spec import JobSpec


@pytest.mark.parametrize(
    ("number", "raised"),
    [(signal.SIGXCPU, DataInvalid), (signal.SIGABRT, DataInvalid), (signal.SIGKILL, ChildKilled)],
)
def test_a_tokenizer_that_took_too_much_is_told_as_such(number: int, raised: type[Exception], tmp_path: Any) -> None:
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}})

    def child(*_: Any) -> Any:
        raise ChildKilled("tokens", number, for_memory=False)

    run: Any = SimpleNamespace(spec=spec, work=tmp_path, record=lambda *_: None, child=child)
    known = Known(spec, Sources.model_construct(text=None))
    known.records["fetch"] = StageRecord(stage="fetch", key="k", artifacts=[], metrics={"model_digest": "m"})
    files = Files(run, known)
    files.__dict__["model"] = SimpleNamespace(model=tmp_path)
    with pytest.raises(raised, match="tokens was killed by signal"):
        files.tokens  # noqa: B018
