"""What scores say: shares with Wilson's intervals, and differences of two that were asked the same cases."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from job import strict_json
from job.artifacts import Frozen

Z = 1.959964
"""Of a normal distribution, the interval that holds 95%."""
WORST = 5
"""Regressions that are shown."""
SHOWN = 600
"""Characters of an answer that are shown."""
BASE, TUNED = "base", "tuned"


class Given(Frozen):
    """A case's answer, and whether it is right."""

    answer: str
    right: bool


class Score(NamedTuple):
    """`low` and `high`: the 95% interval of the share."""

    right: int
    cases: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.right / self.cases


class Drop(NamedTuple):
    """How much smaller a share is than another one of the same cases, with its 95% interval."""

    value: float
    low: float
    high: float


def score(right: int, cases: int) -> Score:
    """Wilson's interval: sound for few cases, and for shares of 0 and 1 (E. B. Wilson, JASA 22, 1927)."""
    share, square = right / cases, Z * Z / cases
    middle = (share + square / 2) / (1 + square)
    half = Z * math.sqrt(share * (1 - share) / cases + square / cases / 4) / (1 + square)
    return Score(right, cases, max(0.0, middle - half), min(1.0, middle + half))


def drop(before: Sequence[bool], after: Sequence[bool]) -> Drop:
    """The interval of paired shares, from that of each (R. G. Newcombe, Statistics in Medicine 17, 1998, method 10)."""
    cases = len(before)
    first, second = score(sum(before), cases), score(sum(after), cases)
    both = sum(one and other for one, other in zip(before, after, strict=True))
    neither = sum(not (one or other) for one, other in zip(before, after, strict=True))
    lost, won = first.right - both, second.right - both
    margins = first.right * (cases - first.right) * second.right * (cases - second.right)
    excess = float(both * neither - lost * won)
    if excess > 0:
        excess = max(excess - cases / 2, 0.0)
    phi = excess / math.sqrt(margins) if margins else 0.0
    value = first.share - second.share

    def half(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))

    low = value - half(first.share - first.low, second.high - second.share)
    high = value + half(first.high - first.share, second.share - second.low)
    return Drop(value, max(-1.0, low), min(1.0, high))


def summary(asked: Sequence[Mapping[str, Any]], given: Mapping[str, Sequence[Given]], whole: str) -> dict[str, Any]:
    """What the report and the gate need. `asked`: of each case `text` and `expected`; `given`: answers by who gave
    them: base, tuned, and types, of which `whole` is the unquantized file."""
    scores = {}
    for name, answers in given.items():
        right = [one.right for one in answers]
        other = reference(name, given, whole)
        fell = drop([one.right for one in given[other]], right)._asdict() if other else None
        scores[name] = score(sum(right), len(right))._asdict() | {"against": other, "drop": fell}
    return {"cases": len(asked), "scores": scores, "regressions": _regressions(asked, given, whole)}


def reference(name: str, given: Mapping[str, Any], whole: str) -> str | None:
    """Whom an answerer is compared with: the tuned model with the base, a file with the tuned model, or with the
    unquantized file if nothing was trained."""
    if name == BASE:
        return None
    if name == TUNED:
        return BASE if BASE in given else None
    other = TUNED if TUNED in given else whole
    return other if other in given and other != name else None


def _regressions(
    asked: Sequence[Mapping[str, Any]], given: Mapping[str, Sequence[Given]], whole: str
) -> list[dict[str, Any]]:
    """The cases that most answerers get wrong whose reference gets them right; of two alike the first."""
    found = []
    for number, case in enumerate(asked):
        right = {name: answers[number].right for name, answers in given.items()}
        pairs = [(name, reference(name, given, whole)) for name in given]
        worse = [name for name, other in pairs if other and right[other] and not right[name]]
        if worse:
            found.append((len(worse), number, case, worse))
    found.sort(key=lambda one: (-one[0], one[1]))
    return [
        {
            "case": number + 1,
            "prompt": str(case["text"])[-SHOWN:],
            "compare": case["compare"],
            "expected": _short(case["expected"]),
            "worse": worse,
            "answers": {
                name: {"answer": answers[number].answer[:SHOWN], "right": answers[number].right}
                for name, answers in given.items()
            },
        }
        for _, number, case, worse in found[:WORST]
    ]


def _short(expected: Any) -> str:
    text = expected if isinstance(expected, str) else strict_json.dumps(expected, ensure_ascii=False)
    return text[:SHOWN]
