"""A rehearsal is repeated for whatever could end it in another way, and for nothing else."""

from pathlib import Path
from typing import Any

import pytest

from job.artifacts import digest_of
from job.fetch.sources import Sources
from job.pipeline.known import Known
from job.pipeline.rehearse import depends_on
from job.spec import JobSpec

pytestmark = pytest.mark.slow  # asks the bundled llama.cpp for its version


def key_of(commit: str = "commit", **sections: Any) -> str:
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}, **sections})
    return digest_of(depends_on(Known(spec, Sources(model=commit))))


@pytest.mark.parametrize(
    "sections",
    [
        {"commit": "another"},
        {"load": {"bits": 16}},
        {"lora": {"target_modules": "all-linear"}},
        {"training": {"trainer": "transformers"}},
        {"training": None},
        {"export": {"dtype": "f32"}},
        {"chat": {"template": "{{ messages }}"}},
    ],
    ids=str,
)
def test_it_is_repeated_for_what_could_end_it(sections: dict[str, Any]) -> None:
    assert key_of(**sections) != key_of()


def test_it_is_repeated_for_another_model_in_the_same_folder(tmp_path: Path) -> None:
    def key() -> str:
        return key_of("as the run began", model={"id": str(tmp_path)})

    (tmp_path / "config.json").write_text("{}")
    before = key()
    (tmp_path / "config.json").write_text('{"vocab_size": 2}')
    assert key() != before


@pytest.mark.parametrize(
    "sections", [{"export": {"types": ["q8_0"]}}, {"training": {"max_steps": 3}}, {"run": {"seed": 1}}], ids=str
)
def test_it_is_not_repeated_for_what_could_not(sections: dict[str, Any]) -> None:
    assert key_of(**sections) == key_of()
