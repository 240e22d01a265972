"""The environment that `pip install .` makes, and a model, once for all tests of this folder."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.once import made_once
from tests.tiny_models import make_llama

SOURCES = ("job", "k8s", "push", "requirements", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="session")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin/ of an environment into which pip installed the checkout, with the versions of the lock file."""
    return made_once(tmp_path_factory, "installed", _install) / "venv" / "bin"


def _install(folder: Path) -> None:
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, checkout)
    locked = re.findall(r"^[a-z0-9.-]+==[^ ]+", (ROOT / "requirements" / "launcher.txt").read_text(), flags=re.M)
    (folder / "constraints.txt").write_text("\n".join(locked))
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=120)
    pip = [str(folder / "venv" / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(folder / "constraints.txt"), str(checkout)], check=True, timeout=500)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as a reader would have it on disk."""
    folder = tmp_path_factory.mktemp("models") / "model"
    make_llama(folder)
    return folder
