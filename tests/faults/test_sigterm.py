"""A run that is told to stop says whether it has saved, publishes nothing half, and the next attempt completes it."""

from pathlib import Path

import pytest

from tests.faults.runs import Run, once, stop
from tests.hub_server import Hub
from tests.s3_proxy import Proxy
from tests.s3_server import Bucket

pytestmark = pytest.mark.slow

SAVED, UNSAVED = 75, 76


def test_while_a_model_is_being_downloaded(run: Run, hub: Hub, tiny_model: Path) -> None:
    hub.add("a/model", tiny_model)
    run.spec["model"]["id"] = "a/model"
    slow = hub.fail("GET /cdn/", times=1, delay_s=20)
    stopped = run.attempt(when=lambda: hub.asked("GET /cdn/"), do=stop)
    assert stopped.code in (SAVED, UNSAVED), stopped.output[-3000:]  # a rehearsal that came first is saved
    run.check_after()
    assert slow.times == 0
    run.lose_node()
    run.completes()


@pytest.mark.parametrize("stage", ["tokens", "export", "quantize", "evaluate"])
def test_while_a_stage_works(run: Run, stage: str) -> None:
    stopped = run.ends(SAVED, once(stop, "stage.start", stage=stage))
    assert stopped.events[-1]["event"] == "run.failed"
    run.lose_node()
    again = run.completes()
    if stage != "tokens":
        assert not again.named("train.log"), "it was trained again"


def test_in_a_step_of_the_training(run: Run) -> None:
    stopped = run.ends(SAVED, once(stop, "train.log", step=3))
    last = stopped.named("train.log")[-1]["step"]
    run.lose_node()
    again = run.completes()
    assert again.named("train.log")[0]["step"] == last + 1, "the step at which it stopped was saved"


def test_in_an_evaluation_between_two_steps(run: Run) -> None:
    stopped = run.ends(SAVED, once(stop, "test.evaluating", step=4), fault="slow_evaluation:0.5")
    last = stopped.named("train.log")[-1]["step"]
    run.lose_node()
    again = run.completes()
    assert again.named("train.log")[0]["step"] == last + 1


def test_in_an_upload_to_s3(s3_run: Run, s3: Bucket, s3_proxy: Proxy) -> None:
    s3_proxy.slow = lambda request: 20 if request[0] == "PUT" and "/published/tiny-Q8_0.gguf" in request[1] else 0
    s3_run.ends(SAVED, when=lambda: s3_proxy.asked("PUT .*/published/.*gguf"), do=stop)
    s3_proxy.slow = lambda _: 0
    s3_run.lose_node()
    again = s3_run.completes()
    assert again.stages_run() & {"train", "quantize"} == set()


def test_in_an_upload_to_the_hub(hub_run: Run, hub: Hub) -> None:
    hub.fail("PUT /lfs-store", times=1, delay_s=20)
    hub_run.ends(SAVED, when=lambda: hub.asked("PUT /lfs-store"), do=stop)
    hub_run.lose_node()
    hub_run.completes()
