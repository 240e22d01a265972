"""What cannot succeed ends at once, and says why."""

from tests.e2e.place import Place


def test_a_wrong_spec_fails_at_once_without_a_retry(place: Place) -> None:
    job, said = place.launch(place.spec(dataset={"text": "no-such-column"}), follow=True)
    assert said.code == 65, said.err + place.state()
    assert "no-such-column" in said.err
    assert place.condition(job) == "Failed"
    assert len(place.pods()) == 1


def test_an_option_that_only_the_pod_sees_fails_at_once_too(place: Place) -> None:
    _, said = place.launch(place.spec(), "--env", "FINETUNE__TRAINING__LEARNING_RATE=-1", follow=True)
    assert said.code == 64, said.err + place.state()
    assert "training.learning_rate" in said.err
    assert len(place.pods()) == 1


def test_a_card_that_the_node_only_claims_fails_at_once_before_anything_is_fetched(place: Place) -> None:
    _, said = place.launch(place.spec(), "--env", "FINETUNE_GPU=required", follow=True)
    assert said.code == 78, said.err + place.state()
    assert "this container has no GPU" in said.err and "--runtime-class nvidia" in said.err
    (pod,) = place.pods()
    assert "fetch" not in [event.get("stage") for event in place.log(pod.metadata.name)]


def test_two_jobs_of_one_run_id_do_not_double_it(place: Place) -> None:
    spec = place.spec(run={"id": "one-run"}, training={"max_steps": 150, "save_steps": 10, "max_length": 96})
    first, _ = place.launch(spec, "--name", "first")
    place.until_step(place.running(), 10)
    beside = ["--name", "second", "--toleration", "nvidia.com/gpu"]  # the one card is taken
    second, said = place.launch(spec, *beside, gpu="none", follow=True)
    assert said.code == 0, said.err + place.state()  # tried again, it finds the work of the first
    assert 84 in [one.status.container_statuses[0].state.terminated.exit_code for one in place.pods("Failed")]
    assert place.condition(second) == place.ended(first) == "Complete", place.state()
    ends = [one for one in place.events("one-run") if one["event"] == "stage.end" and one.get("stage") == "train"]
    assert len(ends) == 1
