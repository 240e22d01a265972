"""What must hold of the lines of a run, and the table that says whether it does."""

from collections.abc import Iterable, Iterator
from statistics import median
from typing import NamedTuple

from bench.gpu.parts import NEARLY_NONE, OTHER_SUMS, Part
from bench.gpu.record import Line
from job.evaluate import gate
from job.predict.gpus import GPUS

SPEED = 0.98
"""Tokens per second of the job over those of the plain script."""
PREDICTED = 0.9, 1.1
"""Predicted VRAM over what torch has allocated."""
T4 = GPUS["t4"].memory


class Check(NamedTuple):
    what: str
    measured: str
    limit: str
    holds: bool


def checks(lines: list[Line], parts: Iterable[Part] = ()) -> list[Check]:
    """Of the lines of one run, which should have these parts; without a GPU only those that do not need one."""
    whole = [line for line in lines if "error" not in line]
    return [
        *errors(lines),
        *not_reached(lines, parts),
        *speeds(whole),
        *(check for line in whole if "loss" in line for check in training(line)),
        *files(whole),
        *devices(whole),
        *layers(whole),
    ]


def errors(lines: list[Line]) -> Iterator[Check]:
    for line in lines:
        if "error" in line:
            yield Check(name(line), line["error"].splitlines()[0].replace("|", "/")[:200], "no error", False)


def not_reached(lines: list[Line], parts: Iterable[Part]) -> Iterator[Check]:
    there = {line["part"] for line in lines}
    for part in parts:
        if part.name not in there:
            yield Check(part.name, "not reached in time", "a line", False)


def speeds(lines: list[Line]) -> Iterator[Check]:
    """Of the median of a half's runs: job, plain, and later plain, job."""
    for half in ("fp16", "bf16"):
        job, plain = ([line for line in lines if line["case"] == f"{kind} {half}"] for kind in ("job", "plain"))
        if job and plain and all(map(on_gpu, job)):
            ratio = median(line["tokens_per_s"] for line in job) / median(line["tokens_per_s"] for line in plain)
            what = f"tokens/s, job over plain, {half} ({len(job)} and {len(plain)} runs)"
            yield Check(what, f"{ratio:.3f}", f"at least {SPEED}", ratio >= SPEED)


def training(line: Line) -> Iterator[Check]:
    """The loss; with a GPU memory against its prediction, and that what should fit a T4 fits it."""
    yield Check(f"{name(line)}: loss", f"{line['loss']}", "a finite number", line["loss"] is not None)
    if "ratio" not in line or not line.get("is_predicted", True):
        return
    low, high = PREDICTED
    within = low <= line["ratio"] <= high
    yield Check(f"{name(line)}: VRAM, predicted over allocated", f"{line['ratio']}", f"{low} to {high}", within)
    if line["predicted"] + line["context"] <= T4:
        reserved = line["reserved"]
        most = f"at most {T4 / 1e9:.2f} GB"
        yield Check(f"{name(line)}: VRAM reserved", f"{reserved / 1e9:.2f} GB", most, reserved <= T4)


def files(lines: list[Line]) -> Iterator[Check]:
    """Each type within the gate; the float16 file differs from itself with the other sums, if a GPU makes them."""
    noise = next((line for case in OTHER_SUMS if (line := find(lines, "llama", case))), None)
    if noise and noise["gpu"]:
        differs = noise["kld"] > 0
        yield Check(f"{name(noise)}: KL divergence", f"{noise['kld']:.4g}", "above 0: the setting matters", differs)
    for line in lines:
        if line["part"] != "llama" or "kld" not in line or line is noise:
            continue
        most = next(kld for least, _, kld in gate.LIMITS if line["bits_per_weight"] >= least)
        sound = line["kld"] - gate.ERRORS * line["kld_error"] <= most
        yield Check(f"{name(line)}: KL divergence", f"{line['kld']:.4g}", f"at most {most:g}", sound)


def devices(lines: list[Line]) -> Iterator[Check]:
    """A build for a GPU finds it."""
    for line in lines:
        if line.get("architectures"):
            found = ", ".join(line["devices"]) or "none"
            yield Check(f"{name(line)}: what llama.cpp finds", found, "a GPU", bool(line["devices"]))


def layers(lines: list[Line]) -> Iterator[Check]:
    """If llama.cpp has a GPU: all layers there, or some of them if its memory is nearly full."""
    for line in lines:
        if not line.get("gpu") or line.get("free_gb") == NEARLY_NONE:
            continue
        there, _, of = line["gpu_layers"].partition("/")
        what, shown = f"{name(line)}: layers on the GPU", line["gpu_layers"]
        if line["part"] == "llama":
            yield Check(what, shown, "all", there == of)
        else:
            yield Check(what, shown, "some", 0 < int(there) < int(of or 0))


def table(found: list[Check]) -> str:
    """Markdown."""
    rows = [f"| {one.what} | {one.measured} | {one.limit} | {'yes' if one.holds else '**no**'} |" for one in found]
    return "\n".join(["| check | measured | limit | holds |", "| --- | ---: | --- | --- |", *rows])


def name(line: Line) -> str:
    return f"{line['part']}: {line['case']}"


def find(lines: list[Line], part: str, case: str) -> Line | None:
    return next((line for line in reversed(lines) if (line["part"], line["case"]) == (part, case)), None)


def on_gpu(line: Line) -> bool:
    return bool(line["device"] != "cpu")
