"""Runs to disturb, each with a place of its own, and the losses of one that nobody disturbs."""

import json
from pathlib import Path

import pytest

from tests.faults.runs import Run, spec_of
from tests.hub_server import Hub
from tests.once import made_once
from tests.s3_server import Bucket


@pytest.fixture(scope="session")
def losses(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, quotes: Path) -> list[float]:
    def make(root: Path) -> None:
        run = Run(spec_of(root, tiny_model, quotes), root)
        run.completes()
        manifest = run.manifest()
        assert manifest
        losses = [one["loss"] for one in manifest.stages["train"].metrics["losses"]]
        (root / "losses.json").write_text(json.dumps(losses))

    found: list[float] = json.loads((made_once(tmp_path_factory, "undisturbed", make) / "losses.json").read_text())
    return found


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path, quotes: Path, losses: list[float]) -> Run:
    """Store and files lie in folders."""
    return Run(spec_of(tmp_path, tiny_model, quotes), tmp_path, losses)


@pytest.fixture
def s3_run(run: Run, s3: Bucket) -> Run:
    run.into_s3(s3)
    return run


@pytest.fixture
def hub_run(run: Run, hub: Hub) -> Run:
    run.onto_the_hub(hub)
    return run
