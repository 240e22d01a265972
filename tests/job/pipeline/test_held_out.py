"""What a run is judged on: too little is told before training, and other held-out rows do not train again."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from job.artifacts import Artifact
from job.fetch.sources import Sources
from job.llama_cpp.windows import SOUND, error_of, least_tokens, windows
from job.pipeline import export, train
from job.pipeline.known import Known
from job.run.records import StageRecord, read_manifest
from job.spec import JobSpec
from job.store import open_store
from tests.job_process import Ended, run_job


def known(held_out: str, **training: Any) -> Known:
    """A run with these held-out rows, by their hash."""
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}, "training": training})
    facts = {"model_digest": "m", "adapter_digest": None}
    rows = {"train": {"digest": "t"}, "eval": {"digest": held_out}}
    found = Known(spec, Sources.model_construct())
    for stage, metrics in (("fetch", facts), ("tokens", rows)):
        found.records[stage] = StageRecord(stage=stage, key="k", artifacts=[], metrics=metrics)
    return found


def test_held_out_rows_that_only_report_are_no_part_of_what_is_trained() -> None:
    assert train.depends_on(known("a")) == train.depends_on(known("b"))


@pytest.mark.parametrize("decides", [{"load_best_model_at_end": True}, {"early_stopping_patience": 2}], ids=str)
def test_held_out_rows_that_decide_over_the_training_are(decides: dict[str, Any]) -> None:
    assert train.depends_on(known("a", **decides)) != train.depends_on(known("b", **decides))


def test_what_is_exported_beside_the_files_depends_on_the_adapter() -> None:
    keys = []
    for sha in ("one", "other"):
        found = known("a")
        adapter = [Artifact(path="adapter/adapter_model.safetensors", sha256=sha, size=1)]
        found.records["train"] = StageRecord(stage="train", key="k", artifacts=adapter)
        keys.append(export.depends_on(found))
    assert keys[0] != keys[1]


def test_what_is_exported_and_made_from_it_depends_on_how_the_export_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = known("a").exported()
    monkeypatch.setattr("job.pipeline.known.VERSION", 1)
    assert known("a").exported() != before


@pytest.mark.parametrize("context", [32, 64, 100, 101, 512, 4096])
def test_the_tokens_that_are_needed_are_enough(context: int) -> None:
    needed = least_tokens(32_000, context, 32_768)
    assert needed is not None and windows(needed, 32_000, context, 32_768)[1]
    assert not windows(needed - 1, 32_000, context, 32_768)[1]


def test_the_error_of_a_perplexity_falls_with_the_root_of_what_is_scored() -> None:
    assert error_of(SOUND, 512) == pytest.approx(0.024, abs=0.001)
    assert error_of(SOUND // 4, 512) == pytest.approx(2 * error_of(SOUND, 512))


def test_settings_that_judge_nothing_are_known_as_such() -> None:
    assert least_tokens(32_000, 16, 32_768) is None and least_tokens(32_000, 512, 64) is None


def chats(path: Path, count: int) -> Path:
    """Like the rows of a small shop: a question and its answer, some dozen tokens each."""
    rows = [
        [
            {"role": "user", "content": f"What does our shop call article {n}?"},
            {"role": "assistant", "content": f"Article {n} is sold as the Model {n} lamp."},
        ]
        for n in range(count)
    ]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return path


def told(ended: Ended) -> dict[str, Any]:
    """The warning, which comes before the training."""
    assert ended.code == 0, ended.output
    (warning,) = ended.named("evaluate.too_little_text")
    (training,) = [one for one in ended.named("stage.start") if one["stage"] == "train"]
    assert warning["level"] == "warning" and warning["seq"] < training["seq"]
    return warning


@pytest.mark.slow
def test_rows_too_few_to_judge_on_are_told_before_training_with_a_fraction_that_does(
    small_spec: dict[str, Any], tmp_path: Path
) -> None:
    small_spec["dataset"] = {"id": str(chats(tmp_path / "rows.jsonl", 160)), "eval_fraction": 0.02}
    small_spec["chat"] = {"template": "{% for m in messages %}{{ m.content }}{{ eos_token }}\n{% endfor %}"}
    small_spec["training"] |= {"max_steps": 2, "save_steps": 100}
    warning = told(run_job(small_spec, tmp_path / "work"))
    assert 0 < warning["rows"] < 8 and warning["tokens"] < warning["needed"]
    assert f"Set dataset.eval_fraction: {warning['eval_fraction']}." in warning["what"]

    small_spec["dataset"]["eval_fraction"] = warning["eval_fraction"]
    enough = run_job(small_spec, tmp_path / "work")
    assert enough.code == 0 and not enough.named("evaluate.too_little_text"), enough.output


@pytest.mark.slow
def test_a_small_data_set_with_every_default_is_judged_and_told_how_exactly(tiny_model: Path, tmp_path: Path) -> None:
    spec = {
        "model": {"id": str(tiny_model)},
        "dataset": {"id": str(chats(tmp_path / "rows.jsonl", 160))},
        "training": {"max_steps": 2},
        "run": {"store": str(tmp_path / "store")},
    }
    ended = run_job(spec, tmp_path / "work")
    assert ended.code == 0 and not ended.named("evaluate.too_little_text"), ended.output
    (held_out,) = ended.named("data.held_out")
    assert held_out["share"] == 0.1 and 8 <= held_out["rows"] <= 24 and held_out["of"] == 160
    (told,) = ended.named("evaluate.little_text")
    assert told["level"] == "warning" and told["error"] > 0.05
    assert f"expect perplexities to be exact to about {told['error']:.1%}. A sound judgement takes" in told["what"]
    manifest = read_manifest(open_store(str(tmp_path / "store")), ended.events[-1]["run"])
    assert manifest and manifest.stages["evaluate/q4_k_m"].metrics["distance"]["kld"] >= 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ({"eval_fraction": 0}, "0 held-out rows with 0 tokens"),
        ({"eval_fraction": 0.5}, "No dataset.eval_fraction up to 0.5 would do with 3 rows"),
    ],
)
def test_rows_that_no_fraction_helps_are_told_so(
    small_spec: dict[str, Any], tmp_path: Path, dataset: dict[str, Any], said: str
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"Number {n}."}) + "\n" for n in range(3)))
    small_spec["dataset"] = {"id": str(rows)} | dataset
    small_spec["training"]["max_steps"] = 1
    small_spec["export"]["types"] = ["q8_0"]
    assert said in told(run_job(small_spec, tmp_path / "work"))["what"]


@pytest.mark.slow
def test_other_held_out_rows_measure_again_and_do_not_train_again(
    small_spec: dict[str, Any], quotes: Path, tmp_path: Path
) -> None:
    lines = quotes.read_text().splitlines(keepends=True)
    folder = tmp_path / "rows"
    folder.mkdir()
    for name, part in (("train", lines[:40]), ("test", lines[40:50]), ("validation", lines[50:])):
        (folder / f"{name}.jsonl").write_text("".join(part))
    small_spec["dataset"] = {"id": str(folder), "text": "quote", "eval_split": "test"}
    small_spec["lora"] = {"dropout": 0.3}  # so that random numbers count
    other = copy.deepcopy(small_spec)
    other["dataset"]["eval_split"] = "validation"
    apart = copy.deepcopy(other)
    apart["run"]["store"] = str(tmp_path / "apart")

    first, again, alone = (run_job(one, tmp_path / "work") for one in (small_spec, other, apart))
    assert (first.code, again.code, alone.code) == (0, 0, 0), first.output + again.output + alone.output
    assert "train" in first.stages_run() and "measure" not in first.stages_run()
    assert "measure" in again.stages_run() and not {"train", "imatrix", "quantize"} & again.stages_run()

    manifests = [
        read_manifest(open_store(one["run"]["store"]), ended.events[-1]["run"])
        for one, ended in ((small_spec, first), (other, again), (apart, alone))
    ]
    before, measured, trained = (one.stages["train"] for one in manifests if one)
    assert [one.sha256 for one in trained.artifacts if "adapter" in one.path] == [
        one.sha256 for one in measured.artifacts if "adapter" in one.path
    ], "the held-out rows change nothing of the training"
    for name in ("loss_before", "loss_after"):
        assert measured.metrics[name] == pytest.approx(trained.metrics[name], abs=1e-4)
        assert measured.metrics[name] != pytest.approx(before.metrics[name], abs=1e-4)
    assert measured.metrics["samples"] == trained.metrics["samples"]
    assert measured.metrics["trace"]["tuned"] == pytest.approx(trained.metrics["trace"]["tuned"], rel=1e-3)
    assert measured.metrics["evals"] == [], "the curve is of the other rows"
