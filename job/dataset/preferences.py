"""Recognizes data that compares answers: preference sets (DPO, ORPO) and answers marked good or bad (KTO).

Fine-tuning learns what it is shown, so the worse answers must not be among the rows.
"""

from job.dataset.heads import Heads
from job.dataset.rows import listed, shown
from job.errors import DataInvalid

_WORSE = {
    "rejected": ("chosen", "accepted", "preferred"),
    "rejected_response": ("chosen_response", "accepted_response"),
    "response_rejected": ("response_chosen", "response_accepted"),
    "rejected_answer": ("chosen_answer",),
    "dispreferred": ("preferred",),
    "response_k": ("response_j",),
    "response_1": ("response_0",),
    "response_b": ("response_a",),
    "answer_b": ("answer_a",),
    "loser": ("winner",),
}
"""A column of worse answers, and what the column of the better ones is called beside it."""
_ASKS = ("prompt", "question", "query", "instruction", "input")
_ANSWERING = {"assistant", "gpt", "model", "bot"}
_MARKS = ("label", "is_good", "is_chosen", "desirable")


def refuse_preferences(heads: Heads, name: str) -> None:
    """Raises DataInvalid for a preference set, with what to set; one that has conversations of its own passes."""
    if heads.has("messages"):
        return
    for worse, names in _WORSE.items():
        if (better := heads.column(*names)) and heads.has(worse):
            raise DataInvalid(
                f"{name} is a preference set ({shown(better)} and {shown(heads.all(worse)[0])}): fine-tuning takes one "
                "answer for each prompt",
                hint=f"To train on {shown(better)} alone, {_chosen(heads, better)}.",
            )
    marks = [column for column in heads.all(*_MARKS) if all(isinstance(v, bool) for v in heads.values(column))]
    if marks and heads.has(*_ASKS) and heads.values(marks[0]):
        raise DataInvalid(
            f"{name} holds good and bad answers, marked by {shown(marks[0])}: fine-tuning would learn both",
            hint=f"Keep the good ones alone: jq -c 'select(.{listed(marks[:1])})' FILE > good.jsonl. If the column "
            "says something else, set dataset.columns to {prompt: …, completion: …}.",
        )


def _chosen(heads: Heads, better: str) -> str:
    """How to train on the better answers."""
    asks = heads.column(*_ASKS)
    roles = heads.first_roles(better)
    if roles and (not asks or not roles <= _ANSWERING):
        return f"set dataset.columns: {{messages: {listed([better])}}}"
    if asks and (roles or heads.holds_text(better)):
        return f"set dataset.columns: {{prompt: {listed([asks])}, completion: {listed([better])}}}"
    if heads.holds_text(better):
        return f"set dataset.text: {listed([better])}"
    return 'write each conversation with its better answer as {"messages": […]}'
