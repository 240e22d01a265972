"""A query, a user and a password in an address may be a key: they stay in the job, whatever they are called."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.artifacts import digest_of
from job.errors import JobError, SpecInvalid
from job.fetch import https
from job.fetch.sources import Sources
from job.pipeline.known import Known
from job.plan import describe
from job.publish.publisher import Publisher
from job.run.active_run import ActiveRun
from job.run.records import StageRecord
from job.spec import JobSpec
from job.spec.load import load
from job.spec.places import address_pin, public_name, shown_place
from job.store import open_store

ADDRESSES = [
    "https://example.com/data/rows.jsonl?key=canary",
    "https://example.com/data/rows.jsonl?code=canary",
    "https://example.com/data/rows.jsonl?private_token=canary",
    "https://example.com/data/rows.jsonl?a=1&sv=2022&sig=canary",
    "https://example.com/data/rows.jsonl?canary",
    "https://example.com/data/rows.jsonl#canary",
    "https://me:canary@example.com/data/rows.jsonl",
    "https://canary@example.com/data/rows.jsonl",
    "HTTPS://example.com/data/rows.jsonl?key=canary",
]
SHOWN = "https://example.com/data/rows.jsonl"


def spec_of(address: str, **sections: Any) -> JobSpec:
    text = {"evaluation": {"text": {"id": address}}}
    return JobSpec.model_validate({"model": {"id": "./model"}, "dataset": {"id": address}} | text | sections)


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_shown_by_host_and_path_alone(address: str) -> None:
    assert shown_place(address) == SHOWN
    assert public_name(address) == "rows.jsonl"


@pytest.mark.parametrize("place", ["me/rows", "./a?b", "s3://bucket/x", "gpt2", "/a/b#c"])
def test_other_places_are_shown_as_they_are(place: str) -> None:
    assert shown_place(place) == place


@pytest.mark.parametrize("address", ADDRESSES[:-1])
def test_neither_plan_nor_manifest_nor_a_record_of_the_store_holds_it(address: str, tmp_path: Path) -> None:
    spec = spec_of(address)
    assert "canary" not in describe(spec)
    run = object.__new__(ActiveRun)
    run.spec, run.id, run.store = spec, "one", open_store(str(tmp_path))
    run.pin({"model": "x", "datasets": ["y"]})
    assert "canary" not in (tmp_path / "runs/one/spec.json").read_text()
    record = StageRecord(stage="fetch", key="k", artifacts=[], inputs={"dataset": [{"id": address}]})
    manifest = Publisher(spec, "one")._manifest([], {"fetch": record}, {})
    assert "canary" not in manifest.model_dump_json() and SHOWN in manifest.model_dump_json()
    known = Known(spec, Sources(model="x", text="y"), {"fetch": record.model_copy(update={"metrics": DIGESTS})})
    assert "canary" not in json.dumps(known.tokens_depend_on())


DIGESTS = {"model_digest": "d", "adapter_digest": None}


def test_two_queries_are_two_specs_of_one_run_id(tmp_path: Path) -> None:
    run = object.__new__(ActiveRun)
    run.id, run.store = "one", open_store(str(tmp_path))
    first = {"model": "x", "datasets": [digest_of(ADDRESSES[0])], "text": address_pin(ADDRESSES[0], "as it was")}
    for sources in (first, {"model": "x", "datasets": [address_pin(ADDRESSES[0], "changed since")]}):
        run.spec = spec_of(ADDRESSES[0])
        assert run.pin(sources) == first
    for data, text in ((ADDRESSES[1], ADDRESSES[0]), (ADDRESSES[0], ADDRESSES[1])):
        run.spec = spec_of(data, evaluation={"text": {"id": text}})
        with pytest.raises(SpecInvalid, match="has another spec"):
            run.pinned()


@pytest.mark.parametrize("address", ["http://example.com/x?key=canary", "https:///x?key=canary", "ftp://h/x?key=1"])
def test_a_refused_address_is_named_without_it(address: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(f"model: {{id: gpt2}}\ndataset: {{id: '{address}'}}\n")
    with pytest.raises(SpecInvalid) as told:
        load(path, {})
    assert "canary" not in str(told.value)


@pytest.mark.parametrize("address", ["https://127.0.0.1:1/x?key=canary", "https://no-such-host.invalid/x?key=canary"])
def test_an_address_that_does_not_answer_is_named_without_it(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https, "FIRST_WAIT_S", 0.01)
    with pytest.raises(JobError) as told:
        https.download(address, tmp_path / "x")
    assert "canary" not in str(told.value)
