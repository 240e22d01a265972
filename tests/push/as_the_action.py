"""Runs a module with nothing but what action.yml installs: any other package is not there.

`python -m tests.push.as_the_action push plan …`
"""

import re
import runpy
import sys
from importlib.abc import MetaPathFinder
from importlib.metadata import packages_distributions
from typing import Any

from tests import ROOT

INSTALLED = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements" / "launcher.txt").read_text(), flags=re.M))


class OnlyInstalled(MetaPathFinder):
    """Finds nothing of other distributions."""

    def __init__(self) -> None:
        self._of = {
            name: {re.sub(r"[-_.]+", "-", one).lower() for one in distributions}
            for name, distributions in packages_distributions().items()
        }

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        owners = self._of.get(name.partition(".")[0])
        if owners and not owners & (INSTALLED | {"finetune-run"}):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    sys.meta_path.insert(0, OnlyInstalled())
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
