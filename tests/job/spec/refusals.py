"""A spec that is refused, and what it says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from job.errors import SpecInvalid
from job.spec.load import load
from job.spec.overlay import Assignment

BASE = "model: {id: owner/name}\ndataset: {id: owner/rows}\n"

ENV = "FINETUNE__"


def refused(path: Path | None, environ: Mapping[str, str] | None = None, given: Sequence[Assignment] = ()) -> str:
    with pytest.raises(SpecInvalid) as caught:
        load(path, environ or {}, given)
    assert caught.value.code == 64
    return str(caught.value)
