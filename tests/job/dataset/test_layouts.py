"""Every layout that a spec can name is known to all who read rows."""

from typing import get_args

from job.dataset.layouts import _FINDERS, EXPECTED, Format
from job.dataset.normalize import _TURNS
from job.spec.sections import Dataset


def test_every_layout_of_the_spec_has_columns_a_finder_and_a_way_to_become_rows() -> None:
    named = set(get_args(Dataset.model_fields["format"].annotation)) - {"auto"}
    assert named == set(get_args(Format)) == set(EXPECTED) == set(_FINDERS)
    assert named - {"text"} == set(_TURNS)  # plain text is not a conversation
