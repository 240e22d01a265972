"""What cannot end well ends before the first hour of a GPU: nothing is fetched, trained or published."""

import copy
from pathlib import Path

import pytest

from tests.faults.runs import Run
from tests.hub_server import Hub
from tests.s3_proxy import Proxy
from tests.s3_server import Bucket

pytestmark = pytest.mark.slow

SPEC, NOT_FOUND, REJECTED = 64, 66, 77


@pytest.fixture(autouse=True)
def _nothing_was_done(run: Run) -> object:
    yield
    for ended in run.ended:
        assert ended.stages_run() <= {"preflight"}, ended.stages_run()


@pytest.mark.parametrize("token", ["a token that can only read", "a token of somebody else", "none", "an unknown one"])
def test_a_repository_that_cannot_be_written_to(hub_run: Run, hub: Hub, token: str) -> None:
    hub.add("me/tiny", {"README.md": b"taken"})
    values = {
        "a token that can only read": hub.token("hf_" + "readONLYreadONLYreadONLY01", role="read"),
        "a token of somebody else": hub.token("hf_" + "somebodyELSEsomebodyELSE02", name="somebody"),
        "none": "",
        "an unknown one": "hf_" + "unknownUNKNOWNunknownUNKN03",
    }
    hub_run.ends(REJECTED, HF_TOKEN=values[token])


@pytest.mark.parametrize(("status", "code"), [(401, REJECTED), (403, REJECTED)])
def test_a_prefix_that_cannot_be_written_to(s3_run: Run, s3: Bucket, s3_proxy: Proxy, status: int, code: int) -> None:
    s3_proxy.answer = lambda request: status if request[0] == "PUT" and "/published/" in request[1] else None
    s3_run.ends(code)


def test_a_bucket_that_is_not_there(s3_run: Run, s3: Bucket) -> None:
    s3_run.spec["publish"]["s3"] = "s3://no-such-bucket/published"
    s3_run.ends(NOT_FOUND)


@pytest.mark.parametrize(
    ("status", "code"), [(401, REJECTED), (403, REJECTED), (404, NOT_FOUND)], ids=["401", "403", "404"]
)
def test_a_model_that_cannot_be_read(run: Run, hub: Hub, tiny_model: Path, status: int, code: int) -> None:
    hub.add("a/model", tiny_model)
    run.spec["model"]["id"] = "a/model"
    hub.fail("GET /api/models/a/model", times=1000, status=status)
    run.ends(code)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("training", "learning_rate", "fast"),
        ("training", "learning_rat", 0.1),
        ("export", "types", ["q4_l"]),
        ("publish", "name", "../tiny"),
        ("run", "id", "../../etc"),
    ],
)
def test_a_malformed_spec(run: Run, section: str, field: str, value: object) -> None:
    good = copy.deepcopy(run.spec)
    run.spec[section][field] = value
    ended = run.attempt()
    assert ended.code == SPEC and field in ended.output, ended.output[-3000:]
    assert not (run.root / "store").exists() and not (run.root / "published").exists()
    run.spec = good
    run.check_after()
