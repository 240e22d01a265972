"""The plots of a run: for the page as SVG that takes the page's colours, for the model card as PNG."""

from collections.abc import Callable, Sequence
from io import BytesIO, StringIO
from typing import Any

from job.report.fits import Fitted
from job.report.smoothing import running_mean
from job.report.table import Line
from job.run.usage import Usage

BLUE, ORANGE, GREEN = "#3b82f6", "#e8890c", "#0f9f6e"
"""Colours that are visible on white and on black."""
TINY = 1e-7
"""The least divergence on a logarithmic axis."""
_INK = "#123456"  # stands for the page's text colour in SVG
_SIZE = (7.2, 3.4)  # inches
_SETTINGS: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "finetune-run", "font.family": "sans-serif", "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "legend.frameon": False, "figure.constrained_layout.use": True,
}  # fmt: skip

Draw = Callable[[Any], None]
"""Draws into a matplotlib Figure."""


def svg(draw: Draw) -> str:
    """The plot as SVG for HTML, without the XML head; text stays text, in the page's colour."""
    out = StringIO()
    _save(draw, out, _INK, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :].replace(_INK, "currentColor")


def png(draw: Draw) -> bytes:
    """The plot as PNG on white, for a model card."""
    out = BytesIO()
    _save(draw, out, "#24292f", format="png", dpi=150, facecolor="white", metadata={"Software": None})
    return out.getvalue()


def _save(draw: Draw, out: Any, ink: str, **options: Any) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color")
    with matplotlib.rc_context(_SETTINGS | dict.fromkeys(names, ink)):
        figure = Figure(figsize=_SIZE)
        draw(figure)
        figure.savefig(out, **options)


def lengths(bins: Sequence[tuple[int, int]], most: int) -> Draw:
    """A histogram of the rows' lengths, each bin named by its longest; those that may hold longer rows than `most` have
    another colour."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        names = [f"{length:,}" for length, _ in bins]
        axes.bar(names, [rows for _, rows in bins], color=[BLUE if length <= most else ORANGE for length, _ in bins])
        axes.set_axisbelow(True)
        axes.grid(visible=False, axis="x")
        axes.set(xlabel=f"tokens of a row, at most (max_length: {most:,})", ylabel="rows")
        axes.tick_params(axis="x", rotation=45)

    return draw


def losses(steps: Sequence[dict[str, float]], evals: Sequence[dict[str, float | None]]) -> Draw:
    """Training loss with its running mean, held-out loss, and the learning rate on an axis of its own."""

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(2, 1))
        x, y = [one["step"] for one in steps], [one["loss"] for one in steps]
        left.plot(x, y, color=BLUE, alpha=0.3, linewidth=1)
        left.plot(x, running_mean(y), color=BLUE, label="training (running mean)")
        if any(one["eval_loss"] is not None for one in evals):
            points = [(one["step"], one["eval_loss"]) for one in evals if one["eval_loss"] is not None]
            left.plot(*zip(*points, strict=True), "o-", color=ORANGE, label="held-out rows")
        left.set(xlabel="step", ylabel="loss, nats per token")
        left.legend()
        rates = [(one["step"], one["learning_rate"]) for one in steps if "learning_rate" in one]
        if rates:
            right.plot(*zip(*rates, strict=True), color=GREEN)
        right.set(xlabel="step", ylabel="learning rate")
        right.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))

    return draw


def sizes(lines: Sequence[Line]) -> Draw:
    """Each file's size against its perplexity and its KL divergence from the unquantized one, with standard errors."""
    files = [line for line in lines if line.size]

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for axes, name, colour in ((left, "perplexity", BLUE), (right, "kld", ORANGE)):
            points = [(line.size / 1e6, *getattr(line, name), line.type) for line in files if getattr(line, name)]  # type: ignore[operator]
            for size, value, error, kind in points:
                axes.errorbar(size, value, yerr=error, fmt="o", color=colour, ecolor=colour, elinewidth=1, alpha=0.9)
                axes.annotate(kind, (size, value), textcoords="offset points", xytext=(6, 5), fontsize=8)
            axes.margins(x=0.18, y=0.15)
            axes.set_xlabel("file size, MB")
        left.set_ylabel("perplexity on held-out rows")
        right.set_ylabel("KL divergence, nats per token")

    return draw


def fit(found: Fitted) -> Draw:
    """Size against KL divergence: the presets, the mix that was found, and what the search has measured on its half."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        if found.searched:
            sizes, values = zip(*((size / 1e6, max(kld, TINY)) for size, kld in found.searched), strict=True)
            axes.plot(sizes, values, ".", color=GREEN, alpha=0.35, label="measured in the search, on its half")
        presets = sorted((size / 1e6, max(kld, TINY), kind) for kind, size, kld in found.presets)
        axes.plot(
            [one[0] for one in presets], [one[1] for one in presets], "o", color=ORANGE, label="llama.cpp's types"
        )
        for number, (size, kld, kind) in enumerate(presets):
            axes.annotate(
                kind.upper(), (size, kld), textcoords="offset points", xytext=(6, -13 if number % 2 else 6), fontsize=8
            )
        axes.plot(
            found.found[0] / 1e6, max(found.found[1], TINY), "*", color=BLUE, markersize=13, label="the mix found"
        )
        axes.set(xlabel="file size, MB", ylabel="KL divergence, nats per token", yscale="log")
        axes.legend()

    return draw


def memory(attempts: Sequence[Usage]) -> Draw:
    """Memory of the job's processes and of the GPU over time, with the stages as bands and the attempts in sequence."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        start, shade = 0.0, False
        for number, usage in enumerate(attempts):
            x = [(start + second) / 60 for second in usage.seconds]
            axes.plot(x, [one / 1e9 for one in usage.memory], color=BLUE, label=None if number else "memory")
            if usage.gpu:
                axes.plot(x, [one / 1e9 for one in usage.gpu], color=ORANGE, label=None if number else "GPU memory")
            for name, begin, end in stage_bands(usage):
                shade = not shade
                axes.axvspan((start + begin) / 60, (start + end) / 60, alpha=0.10 if shade else 0.02, color=GREEN, lw=0)
                if end - begin > 0.06 * sum(one.seconds[-1] for one in attempts if one.seconds):
                    middle = (start + (begin + end) / 2) / 60
                    axes.text(middle, 1.0, name, transform=axes.get_xaxis_transform(), ha="center", fontsize=8)
            start += usage.seconds[-1] if usage.seconds else 0
        axes.set(xlabel="minutes", ylabel="memory, GB")
        axes.set_ylim(bottom=0)
        if any(usage.gpu for usage in attempts):
            axes.legend()

    return draw


def stage_bands(usage: Usage) -> list[tuple[str, float, float]]:
    """Name, begin and end in seconds of each stretch of one stage."""
    found: list[tuple[str, float, float]] = []
    for second, stage in zip(usage.seconds, usage.stages, strict=True):
        if found and found[-1][0] == stage:
            found[-1] = (stage, found[-1][1], second)
        else:
            begin = found[-1][2] if found else 0.0
            found.append((stage, begin, second))
    return found
