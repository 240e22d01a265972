"""`python -m tests.run_forked PROGRAM run SPEC`: the job itself, with another program for its stages' interpreter.

`python -m tests.run_forked PROGRAM SCRIPT …`: a script with it.

`FINETUNE_TEST_CONSTANTS`: other values for constants, as JSON, {"job.hub.calls:STALL_S": 1}; a test does not wait two
minutes for a stall.
"""

import importlib
import json
import os
import runpy
import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    sys.executable = sys.argv.pop(1)
    for name, value in json.loads(os.environ.get("FINETUNE_TEST_CONSTANTS", "{}")).items():
        module, _, constant = name.partition(":")
        replaced = getattr(importlib.import_module(module), constant)
        for one in [found for name, found in sys.modules.items() if name.split(".")[0] == "job"]:
            if vars(one).get(constant) is replaced:  # a fork has imported what takes it from there, too
                setattr(one, constant, value)
    if sys.argv[1].endswith(".py"):
        del sys.argv[0]
        sys.path.insert(0, str(Path(sys.argv[0]).parent))
        runpy.run_path(sys.argv[0], run_name="__main__")
        sys.exit()
    from job.__main__ import main as run

    run()


main()
