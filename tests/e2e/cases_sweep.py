"""A sweep on a node with one card."""

from itertools import pairwise

from tests.e2e.place import Place


def test_a_sweep_of_four_on_one_card_runs_one_after_the_other(place: Place) -> None:
    job, _ = place.launch(place.spec(), "--sweep", "training.learning_rate=1e-4,2e-4,3e-4,4e-4", "--parallel", "2")
    assert place.ended(job, 1200) == "Complete", place.state()
    ended = [pod.status.container_statuses[0].state.terminated for pod in place.pods("Succeeded")]
    assert len(ended) == 4
    spans = sorted((one.started_at, one.finished_at) for one in ended)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert place("status", job).code == 0
