"""Families that cannot go through a run end before their weights are fetched, with a message that says why."""

from pathlib import Path
from typing import Any

import pytest

from job.errors import JobError
from tests.families.configs import REFUSED, make_refused
from tests.job.rehearsal.rehearsing import rehearse, spec_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_cannot_be_trained_and_converted_is_refused(family: str, tmp_path: Path) -> None:
    refused = REFUSED[family]
    sections: dict[str, Any] = {"lora": {"target_modules": "auto"}} | refused.sections
    with pytest.raises(JobError) as caught:
        rehearse(spec_of(str(make_refused(family, tmp_path / "model")), **sections), tmp_path / "work")
    assert caught.value.code == 64 and refused.said in caught.value.message
    assert refused.hint in (caught.value.hint or "")
