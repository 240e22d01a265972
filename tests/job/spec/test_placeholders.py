"""The placeholders of the examples: replaced, they are valid specs; left, they are named."""

from pathlib import Path
from typing import Any

import pytest

from job.errors import SpecInvalid
from job.spec.load import load
from tests import ROOT
from tests.job.spec.refusals import BASE
from tests.placeholders import filled


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_a_valid_spec_once_its_placeholders_are_replaced(path: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.yaml"
    whole.write_text(filled(path.read_text()))
    assert load(whole, {}).model.id


def test_a_placeholder_that_is_left_is_named_with_its_place(write: Any) -> None:
    for text in ("publish: {s3: 's3://YOUR-BUCKET/models'}\n", "publish: {hub: {repo_id: YOUR-NAME/x}}\n"):
        with pytest.raises(SpecInvalid, match=r"has 1 fault:\n  publish\.\S+: .*YOUR-[A-Z]+ is a placeholder"):
            load(write(BASE + text), {})
    with pytest.raises(SpecInvalid, match=r"run\.store .*YOUR-BUCKET is a placeholder"):
        load(write(BASE), {"FINETUNE__RUN__STORE": "s3://YOUR-BUCKET/runs"})


def test_a_prompt_may_contain_what_looks_like_a_placeholder(write: Any) -> None:
    assert load(write(BASE + "chat: {system: 'Sign as YOUR-NAME.'}\n"), {}).chat.system == "Sign as YOUR-NAME."
