"""Splits a chat template into the texts around the system prompt, the user's text and the answer.

Ollama has its own template language, and a model card shows what a prompt looks like; both need the parts, not the
Jinja program. They are found by rendering conversations of marked texts, and used only if joining them gives the same
longer conversation as the template does.
"""

from collections.abc import Callable

from job.artifacts import Frozen

Render = Callable[[list[dict[str, str]], bool], str]
"""Renders a conversation, and the start of an answer if asked. May raise any ValueError."""

_SYSTEM, _FIRST, _ANSWER, _SECOND = "The-system-says", "The-user-asks", "The-answer-is", "The-user-goes-on"


class PromptFormat(Frozen):
    """`system` + system prompt + `system_end` (or `user` if there is none) + text + `assistant` + `gap` + answer +
    `end`.

    `system` is None if the template accepts no system prompt. `gap` is white space that the model generates itself.
    """

    system: str | None
    system_end: str
    user: str
    assistant: str
    gap: str
    end: str

    def shown(self) -> str:
        """A prompt, with names in place of the texts."""
        start = self.user if self.system is None else f"{self.system}{{system}}{self.system_end}"
        return f"{start}{{prompt}}{self.assistant}"


def plain() -> PromptFormat:
    """The format of a model without a chat template: the prompt unchanged."""
    return PromptFormat(system=None, system_end="", user="", assistant="", gap="", end="")


def take_apart(render: Render, bos: str | None) -> PromptFormat | None:
    """The parts of a chat template, or None for one that has no such parts.

    A BOS at the start is left out: the program that runs the model adds it.
    """
    user_turn = {"role": "user", "content": _FIRST}
    turns = [user_turn, {"role": "assistant", "content": _ANSWER}, {"role": "user", "content": _SECOND}]
    try:
        before, _, assistant = render([user_turn], True).partition(_FIRST)
        opening, _, rest = render(turns, True).partition(_FIRST)[2].partition(_ANSWER)
        gap, middle = opening.removeprefix(assistant), rest.partition(_SECOND)[0]
        again = next((one for one in (before, _without(before, bos)) if middle.endswith(one)), None)
        if again is None or gap.strip():
            return None
        end = middle.removesuffix(again)
        if render(turns, True) != f"{before}{_FIRST}{assistant}{gap}{_ANSWER}{end}{again}{_SECOND}{assistant}":
            return None
    except ValueError:
        return None
    system, system_end = _system(render, user_turn, assistant)
    return PromptFormat(
        system=None if system is None else _without(system, bos),
        system_end=system_end,
        user=_without(before, bos),
        assistant=assistant,
        gap=gap,
        end=end,
    )


def _system(render: Render, user_turn: dict[str, str], assistant: str) -> tuple[str | None, str]:
    try:
        text = render([{"role": "system", "content": _SYSTEM}, user_turn], True)
    except ValueError:
        return None, ""
    before, found, rest = text.partition(_SYSTEM)
    middle, _, after = rest.partition(_FIRST)
    return (before, middle) if found and after == assistant else (None, "")


def _without(text: str, bos: str | None) -> str:
    return text.removeprefix(bos) if bos else text
