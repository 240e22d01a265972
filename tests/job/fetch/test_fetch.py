"""The fetch stage and what it pins: models, adapters and rows from the Hub, S3, https, folders and files."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import structlog

from job.errors import EnvironmentUnfit, IntegrityViolated, NotFound
from job.fetch import sources
from job.fetch.identity import run_id
from job.fetch.objects import objects_at
from job.pipeline.preflight import check_disk, predicted
from job.spec import JobSpec
from job.store.s3 import S3Store
from tests.hub_server import Hub
from tests.job.fetch.fetches import JSONL, MODEL, fetched, rows_of, spec_of
from tests.s3_server import Bucket


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(JSONL)
    return path


def test_a_model_on_the_hub_comes_with_what_matters_and_its_cards_facts(hub: Hub, rows: Path, tmp_path: Path) -> None:
    commit = hub.add("someone/model", MODEL)
    spec = spec_of("someone/model", str(rows))
    pinned = sources.resolve(spec)
    hub.add("someone/model", {"config.json": b"{}"})
    result = fetched(spec, tmp_path / "work", pinned)
    assert pinned.model == commit
    assert json.loads((result.model / "config.json").read_text()) == json.loads(MODEL["config.json"])
    assert not (result.model / "notes.pdf").exists()
    assert (result.model / "additional_chat_templates" / "tool_use.jinja").read_text() == "{{ tools }}"
    assert (result.model / "chat_template.json").read_bytes() == MODEL["chat_template.json"]
    assert result.card == {"license": "mit", "language": ["en"]}
    assert sources.model_bytes(spec, pinned) == len(MODEL["model.safetensors"])


def test_a_repository_with_code_is_refused_before_its_weights_are_downloaded(hub: Hub, rows: Path) -> None:
    config = json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "modeling.C"}}).encode()
    hub.add("someone/model", {**MODEL, "config.json": config, "modeling.py": b"import os"})
    with pytest.raises(IntegrityViolated, match="auto_map"):
        sources.resolve(spec_of("someone/model", str(rows)))
    assert not hub.asked("safetensors")


@pytest.mark.parametrize("stray", ["convert.py", "modeling_llama.py"])
def test_code_beside_what_is_known_natively_is_not_downloaded_and_no_reason_to_refuse(
    hub: Hub, rows: Path, tmp_path: Path, stray: str
) -> None:
    config = json.loads(MODEL["config.json"]) | {"auto_map": {"AutoModelForCausalLM": f"{stray[:-3]}.LlamaForCausalLM"}}
    hub.add("someone/model", {**MODEL, "config.json": json.dumps(config).encode(), stray: b"raise SystemExit"})
    result = fetched(spec_of("someone/model", str(rows)), tmp_path / "work")
    assert not [path for path in (tmp_path / "work").rglob("*") if path.suffix == ".py"]
    assert "auto_map" not in (result.model / "config.json").read_text()
    assert (result.model / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["../data/train.jsonl", "/tmp/train.jsonl", "data/../../train.jsonl"])
def test_a_listing_with_names_that_leave_the_folder_is_refused(
    hub: Hub, s3: Bucket, local_model: Path, tmp_path: Path, name: str
) -> None:
    hub.add("someone/quotes", {name: JSONL}, "dataset")
    with pytest.raises(IntegrityViolated, match="would leave its folder"):
        fetched(spec_of(str(local_model), "someone/quotes"), tmp_path / "hub")
    assert not list(tmp_path.rglob("train.jsonl"))


@pytest.mark.parametrize("name", ["../train.jsonl", "/train.jsonl"])
def test_an_object_whose_name_leaves_its_prefix_is_refused(
    s3: Bucket, local_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """S3 allows such keys; the server of these tests does not."""
    monkeypatch.setattr(S3Store, "list", lambda self, prefix="": iter([name, "good.jsonl"]))
    with pytest.raises(IntegrityViolated, match="would leave its folder"):
        objects_at(f"s3://{s3.bucket}/data")
    with pytest.raises(IntegrityViolated, match="would leave its folder"):
        fetched(spec_of(str(local_model), f"s3://{s3.bucket}/data"), tmp_path / "work")


def test_a_link_out_of_a_local_data_set_is_refused(local_model: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_bytes(JSONL)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(IntegrityViolated, match="leaves the folder"):
        fetched(spec_of(str(local_model), {"id": str(tmp_path / "data"), "text": "quote"}), tmp_path / "work")


def test_the_same_model_has_the_same_digest_wherever_it_comes_from(
    hub: Hub, s3: Bucket, local_model: Path, rows: Path, tmp_path: Path
) -> None:
    hub.add("someone/model", MODEL)
    for name, data in MODEL.items():
        s3.client.put_object(Bucket=s3.bucket, Key=f"models/one/{name}", Body=data)
    places = ["someone/model", f"s3://{s3.bucket}/models/one", str(local_model)]
    results = [fetched(spec_of(place, str(rows)), tmp_path / f"work-{n}") for n, place in enumerate(places)]
    assert len({result.model_digest for result in results}) == 1


def test_an_object_of_the_same_size_with_other_bytes_is_another_source(s3: Bucket, rows: Path) -> None:
    for name, data in MODEL.items():
        s3.client.put_object(Bucket=s3.bucket, Key=f"models/one/{name}", Body=data)
    spec = spec_of(f"s3://{s3.bucket}/models/one", str(rows))
    before = sources.resolve(spec)
    s3.client.put_object(
        Bucket=s3.bucket, Key="models/one/config.json", Body=MODEL["config.json"].replace(b": ", b" :")
    )
    assert sources.resolve(spec) != before


def test_rows_that_change_after_a_run_has_pinned_them_are_told(s3: Bucket, local_model: Path, tmp_path: Path) -> None:
    s3.client.put_object(Bucket=s3.bucket, Key="data/rows.jsonl", Body=JSONL)
    spec = spec_of(str(local_model), f"s3://{s3.bucket}/data")
    pinned = sources.resolve(spec)
    with structlog.testing.capture_logs() as said:
        fetched(spec, tmp_path / "first", pinned)
        assert not [one for one in said if one["event"] == "data.changed"]
        s3.client.put_object(Bucket=s3.bucket, Key="data/rows.jsonl", Body=JSONL + b'{"quote": "One more."}\n')
        fetched(spec, tmp_path / "second", pinned)
    (told,) = [one for one in said if one["event"] == "data.changed"]
    assert told["log_level"] == "warning" and f"s3://{s3.bucket}/data has changed" in told["what"]


def test_a_local_file_that_changes_makes_another_run(local_model: Path, rows: Path) -> None:
    spec = spec_of(str(local_model), str(rows))
    before = sources.local_state(spec)
    assert sources.local_state(spec) == before
    rows.write_bytes(JSONL + b'{"quote": "One more."}\n')
    assert sources.local_state(spec) != before


@pytest.mark.parametrize("field", ["rows", "model", "text", "tasks", "imatrix"])
def test_each_local_place_that_changes_makes_another_run_and_is_told_of_one_that_is_done(
    local_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    monkeypatch.delenv("FINETUNE_JOB_NAME", raising=False)
    files = {"rows": rows, "model": local_model / "config.json"}
    files |= {name: tmp_path / f"{name}.jsonl" for name in ("text", "tasks", "imatrix")}
    for path in files.values():
        path.write_bytes(path.read_bytes() if path.exists() else JSONL)
    evaluation = {"text": {"id": str(files["text"])}, "tasks": {"id": str(files["tasks"])}}
    spec = spec_of(str(local_model), str(rows), evaluation=evaluation, export={"imatrix": str(files["imatrix"])})
    before, pinned = run_id(spec), sources.resolve(spec)
    assert sources.changed(spec, pinned) == []
    files[field].write_bytes(files[field].read_bytes() + b" ")
    assert run_id(spec) != before
    assert sources.changed(spec, pinned) == [str(local_model if field == "model" else files[field])]
    shutil.rmtree(local_model)
    assert sources.changed(spec, pinned) == [], "a place that is gone says nothing"


def test_rows_come_from_the_hub_s3_and_a_file_and_are_mixed(
    hub: Hub, s3: Bucket, local_model: Path, rows: Path, tmp_path: Path
) -> None:
    hub.add("someone/quotes", {"data/train.jsonl.gz": gzip.compress(JSONL), "README.md": b"# Quotes\n"}, "dataset")
    s3.client.put_object(Bucket=s3.bucket, Key="data/quotes.jsonl", Body=JSONL)
    places: list[dict[str, Any]] = [
        {"id": "someone/quotes", "limit": 10},
        {"id": f"s3://{s3.bucket}/data/quotes.jsonl", "limit": 10},
        {"id": f"s3://{s3.bucket}/data", "limit": 10},
        {"id": str(rows), "limit": 10},
    ]
    result = fetched(spec_of(str(local_model), *({**one, "text": "quote"} for one in places)), tmp_path / "work")
    assert rows_of(result) == 40


def test_an_adapter_on_the_hub_comes_beside_the_model(hub: Hub, local_model: Path, tmp_path: Path) -> None:
    adapter = {"adapter_config.json": b'{"peft_type": "LORA"}', "adapter_model.safetensors": MODEL["model.safetensors"]}
    hub.add("me/adapter", adapter)
    given = {"model": {"id": str(local_model), "adapter": "me/adapter"}, "training": None}
    result = fetched(JobSpec.model_validate(given), tmp_path / "work")
    assert result.adapter and result.adapter_digest and result.data is None
    assert {path.name for path in result.adapter.iterdir()} >= set(adapter)


def test_shards_that_an_earlier_commit_left_do_not_stay_beside_the_new_ones(
    hub: Hub, rows: Path, tmp_path: Path
) -> None:
    hub.add("someone/model", {**MODEL, "model-00001-of-00002.safetensors": MODEL["model.safetensors"]})
    spec = spec_of("someone/model", str(rows))
    fetched(spec, tmp_path / "work")
    repo = hub.repo("someone/model")
    hub.repos.commit_entries(repo, "main", {}, "one file", gone=["model-00001-of-00002.safetensors"])
    result = fetched(spec, tmp_path / "work")
    assert [path.name for path in result.model.glob("*.safetensors")] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("./nowhere", "does not exist"),
        ("/nowhere/at/all", "does not exist"),
        ("s3://{bucket}/nothing", "nothing at s3://"),
    ],
)
def test_what_is_not_there_is_named(s3: Bucket, rows: Path, place: str, said: str) -> None:
    given = {"model": {"id": place.format(bucket=s3.bucket)}, "dataset": {"id": str(rows)}}
    with pytest.raises(NotFound, match=said):
        sources.resolve(JobSpec.model_validate(given))


def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(local_model: Path, tmp_path: Path) -> None:
    spec = spec_of(str(local_model), "someone/quotes")
    check_disk(predicted(spec, None, None, 10_000_000), tmp_path)
    with pytest.raises(EnvironmentUnfit, match=r"GB free, but the stage \w+ needs [\d.]+ GB") as caught:
        check_disk(predicted(spec, None, None, 10**15), tmp_path)
    assert "FINETUNE_WORK" in caught.value.hint


def test_a_loading_script_is_not_downloaded(hub: Hub, local_model: Path, tmp_path: Path) -> None:
    hub.add("someone/quotes", {"quotes.py": b"raise SystemExit", "data/train.jsonl": JSONL}, "dataset")
    assert rows_of(fetched(spec_of(str(local_model), "someone/quotes"), tmp_path / "work")) == 40
    assert not list((tmp_path / "work").rglob("*.py"))
