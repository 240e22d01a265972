"""The losses of several runs in one picture: SVG for the page, letters on a grid for a terminal.

The launcher is installed without matplotlib. A picture holds no words but its own: runs are letters.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from job.report.smoothing import running_mean
from k8s.results.compare import Entry, groups, held_out_loss
from k8s.results.tables import letter

COLOURS = ("#3b82f6", "#e8890c", "#0f9f6e", "#d946ef", "#ef4444", "#8b8000", "#06a5c4", "#8b5cf6")
"""Visible on white and on black."""
MOST_POINTS = 400
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 52, 28, 12, 40
COLUMNS, LINES = 72, 16

Points = list[tuple[float, float]]


class Curve(NamedTuple):
    """A run's letter, its training loss as a running mean, and its held-out losses, by step. `apart`: these cannot be
    compared with the first run's."""

    name: str
    training: Points
    held_out: Points
    apart: bool


class Frame(NamedTuple):
    """The smallest and the largest step and loss."""

    left: float
    right: float
    low: float
    high: float


def curves(runs: Sequence[Entry]) -> list[Curve]:
    """Of the runs that have losses."""
    measured = [one for one in runs if one.training.evals]
    apart = {one.id for one, group in zip(measured, groups(measured, held_out_loss), strict=True) if group}
    found = []
    for number, one in enumerate(runs):
        steps = _finite((step.step, step.loss) for step in one.training.losses)
        means = running_mean(loss for _, loss in steps)
        training = [(step, mean) for (step, _), mean in zip(steps, means, strict=True)]
        held_out = _finite((step.step, step.eval_loss) for step in one.training.evals)
        if training or held_out:
            found.append(Curve(letter(number), _fewer(training), _fewer(held_out), one.id in apart))
    return found


def _finite(points: Iterator[tuple[float, float | None]]) -> Points:
    return [(step, loss) for step, loss in points if loss is not None and math.isfinite(step) and math.isfinite(loss)]


def _fewer(points: Points) -> Points:
    """At most MOST_POINTS, with the last."""
    every = -(-len(points) // MOST_POINTS) or 1
    return points[::every] + (points[-1:] if points and (len(points) - 1) % every else [])


def _frame(found: Sequence[Curve]) -> Frame:
    points = [point for one in found for point in (*one.training, *one.held_out)]
    steps, losses = [step for step, _ in points], [loss for _, loss in points]
    low, high = min(losses), max(losses)
    margin = (high - low) * 0.05 or 0.5
    return Frame(min(steps), max(max(steps), min(steps) + 1), low - margin, high + margin)


def svg(found: Sequence[Curve]) -> str:
    """Training as a thin line, held-out loss as a line with dots (dashed if it cannot be compared), each run's
    letter at its end; an empty text without a curve."""
    if not found:
        return ""
    frame = _frame(found)

    def x(step: float) -> float:
        return LEFT + (step - frame.left) / (frame.right - frame.left) * (WIDTH - LEFT - RIGHT)

    def y(loss: float) -> float:
        return TOP + (frame.high - loss) / (frame.high - frame.low) * (HEIGHT - TOP - BOTTOM)

    def line(points: Points, style: str) -> str:
        return f'<polyline points="{" ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in points)}" fill="none" {style}/>'

    parts = []
    for loss in _ticks(frame.low, frame.high):
        parts.append(f'<path d="M{LEFT} {y(loss):.1f}H{WIDTH - RIGHT}" stroke="currentColor" opacity=".2"/>')
        parts.append(_text(LEFT - 6, y(loss) + 4, f"{loss:g}", "end"))
    for step in _ticks(frame.left, frame.right):
        parts.append(_text(x(step), HEIGHT - BOTTOM + 18, f"{step:,g}", "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "step", "middle"))
    for number, one in enumerate(found):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(line(one.training, f'stroke="{colour}" stroke-width="1.2" opacity=".55"'))
        dashes = ' stroke-dasharray="5 4"' if one.apart else ""
        parts.append(line(one.held_out, f'stroke="{colour}" stroke-width="2.2"{dashes}'))
        parts += [
            f'<circle cx="{x(step):.1f}" cy="{y(loss):.1f}" r="3" fill="{colour}"/>' for step, loss in one.held_out
        ]
        step, loss = (one.held_out or one.training)[-1]
        parts.append(_text(x(step) + 7, y(loss) + 4, one.name, "start", f'fill="{colour}" font-weight="bold"'))
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="losses by step" font-size="12" '
        f'font-family="sans-serif">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, words: str, anchor: str, style: str = 'fill="currentColor"') -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {style}>{words}</text>'


def _ticks(low: float, high: float) -> Iterator[float]:
    """About five round numbers between two."""
    raw = (high - low) / 5
    size = 10 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw)
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        yield round(number * step, 10)


def letters(found: Sequence[Curve]) -> list[str]:
    """The training losses as lines of text, each curve drawn with its letter; none without a curve."""
    drawn = [one for one in found if one.training]
    if not drawn:
        return []
    frame = _frame([one._replace(held_out=[]) for one in drawn])
    grid = [[" "] * COLUMNS for _ in range(LINES)]
    for one in drawn:
        for step, loss in one.training:
            column = round((step - frame.left) / (frame.right - frame.left) * (COLUMNS - 1))
            row = round((frame.high - loss) / (frame.high - frame.low) * (LINES - 1))
            grid[row][column] = one.name[-1]
    scale = [frame.high - (frame.high - frame.low) * row / (LINES - 1) for row in range(LINES)]
    found_lines = [f"{loss:8.3f} |{''.join(row).rstrip()}" for loss, row in zip(scale, grid, strict=True)]
    ends = f"{frame.left:,g}", f"{frame.right:,g}"
    return [*found_lines, f"{'step':>8} +{'-' * COLUMNS}", f"{'':10}{ends[0]}{ends[1]:>{COLUMNS - len(ends[0])}}"]
