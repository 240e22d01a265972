"""The figures of a run as Markdown: what was measured, what was not, and which limits hold."""

from collections.abc import Iterable

from bench.gpu.checks import checks, find, name, speeds, table
from bench.gpu.parts import OTHER_SUMS, SEVEN_B, SOME, TYPES
from bench.gpu.record import Line

NOT_MEASURED = "not measured"
STEPS = (
    ("export", "export", "export to an f16 GGUF"),
    ("llama", "imatrix", "importance matrix"),
    *(("llama", f"quantize {kind}", f"quantize to {kind}") for kind in TYPES),
)
"""Part, case, and what it is called on the page."""


def figures(lines: list[Line]) -> str:
    """Of the lines of one run. A case that failed is `not measured`, with its error in the last table."""
    whole = [line for line in lines if "error" not in line]
    parts = [card(whole), training(whole), files(whole), steps(whole), balloon(whole), limits(lines)]
    return "\n\n".join(parts) + "\n"


def card(lines: list[Line]) -> str:
    """What the run was on."""
    line = find(lines, "machine", "machine")
    if line is None:
        return f"The machine: {NOT_MEASURED}."
    cards = ", ".join(f"{gpu['name']} ({gpu['memory'] / 1e9:.0f} GB)" for gpu in line["gpus"]) or "no GPU"
    versions = ", ".join(f"{name} {version}" for name, version in line["versions"].items() if version)
    return f"{cards}; driver {line['driver']}; CUDA {line['cuda']}; {versions}."


def training(lines: list[Line]) -> str:
    """Predictions are without the CUDA context, which torch does not count."""
    titles = ("training", "tokens/s", "allocated, GB", "reserved, GB", "predicted, GB", "predicted / allocated")
    rows = []
    for line in lines:
        if "tokens_per_s" in line:
            is_predicted = "ratio" in line and line.get("is_predicted", True)
            forecast = [gigabytes(line["predicted"]), f"{line['ratio']:.3f}"] if is_predicted else ["", ""]
            speed = f"{line['tokens_per_s']:,.0f}"
            rows.append(
                [variant(line), speed, gigabytes(line.get("allocated")), gigabytes(line.get("reserved")), *forecast]
            )
    return grid(titles, rows or [["", NOT_MEASURED, "", "", "", ""]])


def variant(line: Line) -> str:
    """Its case, and what the choice was if there was one: every n-th block recomputes its activations, 0: none."""
    return f"{line['case']} (every {line['recompute_every']})" if "recompute_every" in line else str(line["case"])


def files(lines: list[Line]) -> str:
    """KL divergence and same top are those from the f16 file with the sums of the job."""
    titles = ("file", "perplexity", "KL divergence", "same top", "a prompt's token, ms", "a generated token, ms")
    other = [case for case in OTHER_SUMS if find(lines, "llama", case)] or OTHER_SUMS[:1]
    return grid(titles, [file_row(lines, case) for case in ("f16", *other, *TYPES)])


def file_row(lines: list[Line], case: str) -> list[str]:
    judged, speed = find(lines, "llama", case), find(lines, "llama", f"speed {case}")
    if judged is None:
        return [case, NOT_MEASURED, "", "", "", ""]
    kld = f"{judged['kld']:.4g}" if "kld" in judged else ""
    same = f"{judged['same_top']:.3f}" if "same_top" in judged else ""
    times = [f"{speed['speeds'][0][key]:.3g}" for key in ("prompt_ms", "generation_ms")] if speed else ["", ""]
    return [f"{case} ({model(judged)})", f"{judged['perplexity']['value']:,.0f}", kld, same, *times]


def steps(lines: list[Line]) -> str:
    made = [line for line in lines if line["part"] == "build" or ("is_new" in line and line["part"] != "export")]
    rows = [[name(line), f"{line['seconds']:g}"] for line in made]
    for part, case, what in STEPS:
        line = find(lines, part, case)
        rows.append([f"{what} ({model(line)})", f"{line['seconds']:g}"] if line else [what, NOT_MEASURED])
    return grid(("step", "seconds"), rows)


def model(line: Line) -> str:
    """Of a line of files; those of the first run did not name it."""
    return str(line.get("model", SEVEN_B))


def balloon(lines: list[Line]) -> str:
    rows = [[line["case"], line["gpu_layers"]] for line in lines if line["part"] == "balloon"]
    return grid(("a GPU that is nearly full", "layers on the GPU"), rows or [[f"{SOME} GB free", NOT_MEASURED]])


def limits(lines: list[Line]) -> str:
    """The ratios of speed, and whatever does not hold."""
    found = checks(lines)
    failed = [one for one in found if not one.holds]
    shown = list(dict.fromkeys([*speeds(lines), *failed]))
    return f"{len(found) - len(failed)} of {len(found)} limits (`bench/gpu/checks.py`) hold.\n\n{table(shown)}"


def gigabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e9:.2f}"


def grid(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """The first column is text, the others are numbers."""
    first, *others = titles
    lines = [" | ".join(one) for one in ((first, *others), ("---", *("---:" for _ in others)), *rows)]
    return "\n".join(f"| {line} |" for line in lines)
