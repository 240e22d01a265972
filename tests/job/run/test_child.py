"""The child's side of a stage: which modules it knows."""

import importlib

import pytest

from job.run import child


@pytest.mark.slow
@pytest.mark.parametrize("name", child.STAGES)
def test_a_stage_module_has_the_name_that_the_child_knows_it_by(name: str) -> None:
    module = importlib.import_module(child.STAGES[name])
    assert name == module.NAME
    assert callable(module.run) and {"Inputs", "Result"} <= vars(module).keys()
