"""What several tests of fetching share: a model in a folder."""

from pathlib import Path

import pytest

from tests.job.fetch.fetches import MODEL


@pytest.fixture
def local_model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in MODEL.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder
