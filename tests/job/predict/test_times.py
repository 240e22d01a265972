"""The estimated times: against what one NVIDIA H200 took (docs/measured.md), and for the recipe on a T4."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.plan import describe
from job.predict import disk, judging_time, training_time
from job.predict.anatomy import Anatomy, anatomy_of
from job.predict.deadline import deadline_s
from job.predict.gpus import GPUS
from job.predict.judging_time import Llama
from job.predict.prediction import Prediction, predict
from job.predict.row_lengths import RowLengths, counted, longest, row_length, steps
from job.predict.rows_here import BY_BYTES, WITH_TOKENIZER, rows_here
from job.predict.timing import Machine
from job.spec import JobSpec
from job.tokens.lengths import lengths_of
from tests import ROOT
from tests.job.predict.sizes import SIZES

SEVEN = anatomy_of(SIZES["7B"][0], "7B")
H200, T4 = GPUS["h200"], GPUS["t4"]
WIDE = anatomy_of(
    SIZES["7B"][0]
    | {"num_hidden_layers": 4, "vocab_size": 128256, "intermediate_size": 14336, "num_key_value_heads": 8},
    "four blocks of Llama-3.1-8B",
)
ON_H200 = Llama(gpu=H200, cpus=16)
WINDOWS = 64 * 512
MEMORY = 4.5e9
"""Bytes per second at which a file that was in memory there came to the GPU."""


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}, **sections})


def of_length(tokens: float, rows: int | None = 2458, held_out: float | None = None) -> RowLengths:
    return RowLengths(rows=rows, lengths=[(tokens, 1)], held_out=held_out, how="counted")


CAST = {"load": {"frozen_dtype": "float32"}}
ALL_LINEAR = {"lora": {"target_modules": "all-linear", "r": 16}}


def measured(case: str, figure: str) -> Any:
    """A figure of the benchmark's record."""
    lines = map(json.loads, (ROOT / "bench" / "gpu" / "results" / "2026-11-27-h200.jsonl").read_text().splitlines())
    return next(line[figure] for line in lines if line["case"] == case)


def test_every_part_of_a_training_takes_longer_in_float32_on_a_card_without_bfloat16() -> None:
    half, full = spec(load={"compute_dtype": "float16"}), spec(load={"compute_dtype": "float32"})
    for seconds in (training_time.forward_s, training_time.generation_s):
        args = () if seconds is training_time.generation_s else (1024,)
        assert seconds(full, SEVEN, T4, *args) > 1.5 * seconds(half, SEVEN, T4, *args)
    assert training_time.step_s(full, SEVEN, T4, 512, 1.0) > 5 * training_time.step_s(half, SEVEN, T4, 512, 1.0)


@pytest.mark.parametrize(
    ("case", "model", "changes", "length"),
    [
        ("job bf16", SEVEN, CAST, 1024),
        ("recipe, without Triton", SEVEN, CAST, 1024),
        ("all-linear, r 16", SEVEN, CAST | ALL_LINEAR, 1024),
        ("wide", WIDE, CAST, 1024),
        ("wide, without Triton", WIDE, CAST, 1024),
        ("wide, without checkpointing", WIDE, CAST, 1024),
        ("short rows", SEVEN, CAST, 36),
        ("short rows, without checkpointing", SEVEN, CAST, 36),
        ("frozen weights in 16 bits", SEVEN, {}, 1024),
        ("frozen weights in 16 bits, all-linear, r 16", SEVEN, ALL_LINEAR, 1024),
    ],
)
def test_a_step_takes_what_it_took_on_an_h200(case: str, model: Anatomy, changes: dict[str, Any], length: int) -> None:
    triton, recomputes = "without Triton" not in case, float("without checkpointing" not in case)
    seconds = training_time.step_s(spec(**changes), model, H200, length, recomputes, triton=triton)
    assert 4 * length / seconds == pytest.approx(measured(case, "tokens_per_s"), rel=0.3)


def test_judging_takes_what_it_took_on_an_h200() -> None:
    size = disk.sizes(spec(), SEVEN).unquantized
    token = size / (H200.bandwidth * 1e9 * judging_time.GENERATION_SHARE)
    assert 1000 * token == pytest.approx(measured("speed f16", "speeds")[0]["generation_ms"], rel=0.3)
    without = spec(evaluation={"samples": 0})
    found = judging_time.file_s(without, SEVEN, size, ON_H200, WINDOWS, loads=0) - judging_time.BENCH_TOKENS * token
    assert found + size / MEMORY == pytest.approx(measured("f16", "seconds"), rel=0.3)


def test_an_importance_matrix_takes_what_it_took_on_an_h200() -> None:
    size = disk.sizes(spec(), SEVEN)
    found = judging_time.matrix_s(SEVEN, size, ON_H200, WINDOWS, 512)
    beside = size.unquantized / MEMORY - size.unquantized / judging_time.DISK
    assert found + beside == pytest.approx(measured("imatrix", "seconds"), rel=0.3)


def test_quantizing_takes_what_it_took_beside_an_h200() -> None:
    """55% of a Q4_K_M in 56 s, when the device's time was over."""
    asked = spec(export={"types": ["q4_k_m"]})
    assert judging_time.quantize_s(asked, SEVEN, disk.sizes(asked, SEVEN), 16) == pytest.approx(100, rel=0.3)


def recipe(**more: Any) -> Prediction:
    return predict(spec(**more), SEVEN, Machine(T4), rows=of_length(40, held_out=2000), exact=False)


def test_the_recipe_with_its_short_rows_takes_about_36_minutes_on_a_t4() -> None:
    found = recipe()
    assert found.steps == 615
    assert found.total.likely == pytest.approx(36 * 60, rel=0.3)
    assert found.total.most and 2 * 3600 < found.total.most < 3 * 3600
    assert found.after_training.likely == pytest.approx(27 * 60, rel=0.3)


def test_without_cuda_in_llama_cpp_its_stages_take_as_long_as_on_the_cpu() -> None:
    machine = Machine(T4, llama_gpu=False)
    found = predict(spec(), SEVEN, machine, rows=of_length(40, held_out=33_000), exact=False)
    on_gpu = recipe()
    for stage in ("imatrix", "evaluate"):
        assert (found.seconds[stage].likely or 0) > 5 * (on_gpu.seconds[stage].likely or 0)
    assert found.seconds["train"].most == pytest.approx(on_gpu.seconds["train"].most, rel=0.01)


def test_rows_that_are_short_are_not_recomputed_on_a_t4_and_that_is_faster() -> None:
    assert training_time.recomputed(spec(), SEVEN, T4, 60) == 0 < training_time.recomputed(spec(), SEVEN, T4, 1024) <= 1
    always, never = (spec(training={"gradient_checkpointing": one}) for one in (True, False))
    rows = of_length(40)
    with_it, without, chosen = (
        training_time.training_s(one, SEVEN, T4, rows, 615, 0) for one in (always, never, spec())
    )
    assert chosen == without < 0.85 * with_it


def test_the_comparison_of_the_first_layers_takes_what_it_took_at_the_widths_of_an_8b() -> None:
    """43 seconds on two CPUs, with a disk that had the model in memory."""
    eight = WIDE.model_copy(update={"layers": 32})
    deeper = eight.model_copy(update={"layers": 64})
    took, more = (predict(spec(), one, Machine(cpus=2), exact=False).seconds["agree"].likely for one in (eight, deeper))
    assert took == pytest.approx(43, rel=0.35)
    assert took == pytest.approx(more, rel=1e-3), "it does not grow with the layers"


def test_likely_is_never_more_than_at_most() -> None:
    for length in (10, 100, 1000, 1024):
        for held_out in (0, 100_000):
            rows = of_length(length, held_out=held_out)
            found = predict(spec(), SEVEN, Machine(T4), rows=rows, exact=False)
            assert all((one.likely or 0) <= (one.most or 0) for one in found.seconds.values()), (length, held_out)


def test_the_time_of_every_stage_is_estimated_where_the_gpu_and_the_rows_are_known() -> None:
    found = recipe()
    stages = ["rehearse", "fetch", "tokens", "agree", "train", "export", "imatrix", "quantize", "evaluate", "publish"]
    assert list(found.seconds) == stages
    assert found.total.most == pytest.approx(sum(one.most or 0 for one in found.seconds.values()))
    on_h100 = predict(spec(), SEVEN, Machine(GPUS["h100"]), rows=of_length(40), exact=False).seconds["train"]
    assert (on_h100.most or 0) < (found.seconds["train"].most or 0)
    unknown = predict(spec(), SEVEN, Machine(T4), exact=False)
    assert unknown.total == (None, None) and unknown.steps is None
    limited = predict(spec(dataset={"id": "a/b", "limit": 2458}), SEVEN, Machine(T4), exact=False)
    assert limited.total.likely is None and limited.total.most == pytest.approx(found.total.most, rel=0.05)
    without_gpu = predict(spec(), SEVEN, rows=of_length(40), exact=False)
    assert without_gpu.total == (None, None) and without_gpu.seconds["export"].likely


def test_the_deadline_is_a_week_or_three_times_the_estimate_at_most() -> None:
    assert deadline_s(None) == deadline_s(3600) == 7 * 24 * 3600
    assert deadline_s(10 * 24 * 3600) == 30 * 24 * 3600
    long = predict(spec(training={"num_train_epochs": 300}), SEVEN, Machine(T4), rows=of_length(40), exact=False)
    assert long.deadline_s == int(3 * (long.total.most or 0)) > 7 * 24 * 3600


def test_steps_are_counted_as_the_trainer_counts_them() -> None:
    training = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_train_epochs": 3}
    assert steps(spec(training=training), of_length(40, rows=101)) == 39
    assert steps(spec(training={"max_steps": 7}), longest(spec(), None)) == 7
    assert steps(spec(training={"packing": True}), of_length(256, rows=1600)) == 100


def test_rows_are_padded_to_the_longest_of_their_batch_if_they_are_not_grouped_by_length() -> None:
    rows = RowLengths(rows=100, lengths=[(10, 1), (100, 1)], how="counted")
    assert rows.longest_of(1) == rows.mean == 55
    assert rows.longest_of(2) == pytest.approx(0.25 * 10 + 0.75 * 100)
    assert row_length(spec(training={"group_by_length": False}), rows) > row_length(spec(), rows) == 55
    assert row_length(spec(training={"packing": True}), rows) == 1024


def test_counted_rows_have_as_many_tokens_as_were_counted() -> None:
    lengths = lengths_of({20: 300, 45: 500, 3000: 2})
    assert lengths
    tokens = 20 * 300 + 45 * 500 + 1024 * 2
    found = counted(802, tokens, lengths, held_out=900, most=1024)
    assert found.mean == pytest.approx(tokens / 802) and found.rows == 802 and found.held_out == 900


def test_the_rows_of_a_local_file_are_counted_with_the_models_tokenizer(tiny_model: Path, quotes: Path) -> None:
    asked = spec(model={"id": str(tiny_model)}, dataset={"id": str(quotes), "text": "quote", "eval_fraction": 0.1})
    found = rows_here(asked)
    assert found and found.rows == 54 and WITH_TOKENIZER in found.how and "by all 60 rows" in found.how
    without = rows_here(asked.model_copy(update={"model": asked.model.model_copy(update={"id": "owner/model"})}))
    assert without and BY_BYTES in without.how
    few = rows_here(spec(dataset={"id": str(quotes), "text": "quote", "limit": 10, "eval_fraction": 0.0}))
    assert few and few.rows == 10


def test_a_large_local_file_is_looked_at_only_at_its_beginning(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(
        "".join(json.dumps({"text": f"row {number:06} " + "word " * 20}) + "\n" for number in range(20_000))
    )
    found = rows_here(spec(dataset={"id": str(data), "eval_fraction": 0.0}))
    assert found and "the first 2,000 rows" in found.how
    assert found.rows == pytest.approx(20_000, rel=0.05)


@pytest.mark.parametrize("content", ["", "{}\n", "[1, 2]", '{"text": "'])
def test_rows_that_cannot_be_read_leave_their_lengths_unknown(content: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(content)
    assert rows_here(spec(dataset={"id": str(tmp_path / "rows.jsonl")})) is None
    assert rows_here(spec(dataset={"id": str(tmp_path / "none.jsonl")})) is None
    assert rows_here(spec()) is None


def test_the_plan_shows_likely_and_at_most_and_what_they_are_based_on(quotes: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SIZES["7B"][0]))
    asked = spec(model={"id": str(tmp_path)}, dataset={"id": str(quotes), "text": "quote"})
    said = describe(asked, "t4", 0.35)
    assert "time, likely     at most" in said and "likely: 54 rows to train on, of " in said and BY_BYTES in said
    assert "after train" in said and "llama.cpp with CUDA" in said and "at most 0." in said
    unknown = describe(asked.model_copy(update={"dataset": spec().datasets[0]}), "t4")
    assert "likely: unknown until the rows are read" in unknown
