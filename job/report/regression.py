"""A case that was answered right, and then wrong: what was asked, what was expected, and who said what."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from job.tasks.scores import BASE, TUNED


class Regression(NamedTuple):
    """`worse_of`: who got worse, in words; `answers`: who, what, and whether it is right."""

    case: int
    prompt: str
    expected: str
    worse_of: str
    answers: list[tuple[str, str, bool]]

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Regression":
        answers = [(_name(who), said["answer"], said["right"]) for who, said in found["answers"].items()]
        expected = f"{found['compare']}: {found['expected']}"
        return cls(found["case"], found["prompt"].strip(), expected, ", ".join(map(_name, found["worse"])), answers)

    @property
    def shown(self) -> list[str]:
        """As lines of plain text."""
        lines = ["asked", _indented(self.prompt), "expected", _indented(self.expected)]
        for who, said, right in self.answers:
            lines += [f"{who}, {'right' if right else 'wrong'}", _indented(said.strip())]
        return lines


def _name(who: str) -> str:
    return who if who in (BASE, TUNED) else who.upper()


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))
