"""Makes a row of any kind into token ids and labels, as the model is trained on it and judged on it."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from job.bounds import Exceeded, bounded, killed_after
from job.chat.rendering import Budget
from job.errors import SpecInvalid
from job.logs import log
from job.spec import JobSpec
from job.spec.ready import READY
from job.tokens.answers import NotFound, can_find, end_after, enders_of, find_answers
from job.tokens.renderer import Refused, Rendered, Renderer, Span
from job.tokens.shown import left_out

NO_LOSS = -100
"""The label of a token that is not learned (torch.nn.CrossEntropyLoss, ignore_index)."""
ROW_S, ROW_MEMORY = 60, 2 << 30
"""What the tokenizer may take for one row. If its call does not return, or aborts without more memory, the process ends
(SIGXCPU, SIGABRT)."""

_MARK = "Put {% generation %}…{% endgeneration %} around answers in chat.template, or set assistant_only_loss: false."
_OTHER = f"set another chat.template: the text of one, or the name of a ready one ({', '.join(READY)})."
_END = "Without one, a model never stops: write {{ eos_token }} behind each answer in chat.template."


class Unfit(Exception):
    """Why a row cannot be trained with this model and this spec, and what to do."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why, self.hint = why, hint


class Encoded(NamedTuple):
    """`ids` and `labels` are cut at max_length; `length` is that of the whole row. `left_out`: fields that the chat
    template does not show."""

    text: str
    ids: list[int]
    labels: list[int]
    length: int
    left_out: set[str]

    @property
    def teaches(self) -> bool:
        """Whether a token is left to learn: the first one has nothing before it to be predicted from."""
        return any(label != NO_LOSS for label in self.labels[1:])


class Sample(NamedTuple):
    """The beginning of a row, and the row's own continuation."""

    text: str
    ids: list[int]
    reference: str


class Encoder:
    """`more_enders`: texts of further tokens that end an answer, e.g. those of generation_config.json."""

    def __init__(self, spec: JobSpec, tokenizer: Any, kind: str, more_enders: Sequence[str] = ()) -> None:
        self._training, self._tokenizer, self._kind = spec.training, tokenizer, kind
        self.renderer = Renderer(tokenizer, Budget(is_own=spec.chat.template is not None))
        self._is_trl = spec.training is None or spec.training.trainer == "trl"
        self._closer: str | None = None
        """What ends an answer that more turns follow, for a template that leaves the last one open."""
        self._adds_system = spec.chat.system is not None
        self._enders = self._found_enders(more_enders)
        self._answers_only = False
        _check_losses(spec, kind)
        if kind == "messages":
            self._look_at_template(spec)

    @property
    def added_bos(self) -> str | None:
        """BOS as text, if the tokenizer and llama.cpp add it; a chat template may write it too."""
        bos: str | None = self._tokenizer.bos_token
        return bos if bos and self._tokenizer("a")["input_ids"][0] == self._tokenizer.bos_token_id else None

    @property
    def stops(self) -> list[str]:
        """Texts of the tokens that end an answer: EOS, those of the model's settings, and those of the template."""
        return self._enders

    @property
    def learns_answers_only(self) -> bool:
        """Whether every token that ends a turn and has a loss ends an answer."""
        return self._answers_only

    @property
    def turn_end(self) -> str | None:
        """The token with which the template ends an answer that is followed by another turn."""
        return self._closer

    def encode(self, row: dict[str, Any]) -> Encoded:
        """Raises Unfit."""
        if "messages" in row:
            return self._chat(row)
        if "text" in row:
            return self._plain(row["text"], 0)
        only = self._is_trl and (self._training is None or self._training.completion_only_loss is not False)
        return self._plain(row["prompt"] + row["completion"], len(row["prompt"]) if only else 0)

    def sample(self, row: dict[str, Any]) -> Sample:
        """A prompt: of a chat, what comes before its last answer; of plain text, its first third."""
        if "messages" in row:
            turns = [{name: held for name, held in turn.items() if name != "weight"} for turn in row["messages"]]
            last = max(n for n, turn in enumerate(turns) if turn["role"] == "assistant")
            text = self._rendered(turns[:last], row.get("tools"), asks=True).text
            said = turns[last].get("content") or turns[last].get("tool_calls") or ""
            return Sample(text, self.ids_of(text, special=False)[0], said if isinstance(said, str) else str(said))
        if "prompt" in row:
            return Sample(row["prompt"], self.ids_of(row["prompt"], special=True)[0], row["completion"])
        words = row["text"].split(" ")
        cut = max(1, len(words) // 3)
        text = " ".join(words[:cut])
        return Sample(text, self.ids_of(text, special=True)[0], " " + " ".join(words[cut:]))

    def ids_of(self, text: str, *, special: bool) -> tuple[list[int], list[Span] | None]:
        """Token ids, and where each stands in the text, if the tokenizer can tell. `special`: with those that the
        tokenizer adds to a text; one BOS is enough."""
        tells = self._tokenizer.is_fast
        try:
            with killed_after(2 * ROW_S), bounded(ROW_S, ROW_MEMORY):
                found = self._tokenizer(text, add_special_tokens=special, return_offsets_mapping=tells)
        except Exceeded as error:
            raise Unfit(f"to tokenize it, {error}", "Leave it out, or split it.") from error
        ids, spans = list(found["input_ids"]), found["offset_mapping"] if tells else None
        bos = self._tokenizer.bos_token_id
        if bos is not None and ids[:2] == [bos, bos]:
            return ids[1:], spans[1:] if spans else None
        return ids, spans

    def _plain(self, text: str, start: int) -> Encoded:
        """Text, learned from a character on. TRL ends it with EOS; the collator of transformers, in the recipe's first
        script, adds none and masks what pads."""
        ids, spans = self.ids_of(text, special=True)
        labels = self._labels(text, ids, spans, [(start, len(text))]) if start else list(ids)
        eos = self._tokenizer.eos_token_id
        if self._is_trl or self._kind != "text":
            while ids[-2:] == [eos, eos]:
                del ids[-1], labels[-1]
            if ids[-1:] != [eos]:
                ids, labels = [*ids, eos], [*labels, eos]
            labels[-1] = eos
        else:
            pad = self._tokenizer.pad_token_id
            labels = [NO_LOSS if token == pad else token for token in ids]
        return self._cut(text, ids, labels, set())

    def _chat(self, row: dict[str, Any]) -> Encoded:
        weights = [turn.get("weight", 1) for turn in row["messages"]]
        turns = [{name: held for name, held in turn.items() if name != "weight"} for turn in row["messages"]]
        tools = row.get("tools")
        text, marked = self._rendered(turns, tools)
        missing = left_out(self.renderer, turns, tools, text) if self.renderer.has_template else set()
        learned, unlearned = None, list[Span]()
        if self._training is not None:
            text, learned, unlearned = self._learned(turns, tools, text, marked, weights)
        ids, spans = self.ids_of(text, special=not self.renderer.has_template)
        labels = list(ids) if learned is None else self._labels(text, ids, spans, learned)
        if unlearned:
            hidden = self._labels(text, ids, spans, unlearned)
            labels = [NO_LOSS if held != NO_LOSS else label for label, held in zip(labels, hidden, strict=True)]
        return self._cut(text, ids, labels, missing)

    def _learned(
        self, turns: list[dict[str, Any]], tools: Any, text: str, marked: list[Span], weights: list[int]
    ) -> tuple[str, list[Span] | None, list[Span]]:
        """The text with its last answer ended, the spans to learn (None: all), and those of the turns of weight 0. Each
        answer that is learned has a token that ends it."""
        try:
            spans = find_answers(self.renderer, turns, tools, text, self._enders)
        except NotFound as error:
            if not all(weights) or (self._answers_only and not marked):
                raise Unfit(str(error), _MARK) from error
            ends = self._marked_ends(text, marked)
            return text, ends if self._answers_only else None, []
        numbers = (number for number, turn in enumerate(turns) if turn["role"] == "assistant")
        shown = {number: span for number, span in zip(numbers, spans, strict=True) if span}
        last = len(turns) - 1
        if self._closer and last in shown and not self._is_ended(text, shown[last][1]):
            text += self._closer
            shown[last] = (shown[last][0], len(text))
        for number, (_, end) in shown.items():
            if weights[number] and not self._is_ended(text, end):
                raise Unfit(f"no token ends the answer of turn {number + 1}", _END)
        learned = [span for number, span in shown.items() if weights[number]]
        unlearned = [span for number, span in shown.items() if not weights[number]]
        if not self._answers_only:
            return text, None, unlearned
        if self.renderer.marks_answers(tools):
            # What is marked of a turn that is not shown is its end alone: an answer of nothing, which nobody wrote.
            shown_marks = [mark for mark in marked if any(mark[0] < end and mark[1] > start for start, end in learned)]
            learned = sorted([*shown_marks, *(self._ender(text, end) for _, end in learned)])
        return text, learned, unlearned

    def _is_ended(self, text: str, end: int) -> bool:
        return text[:end].endswith(tuple(self._enders))

    def _marked_ends(self, text: str, marked: list[Span]) -> list[Span]:
        """What the template marks, each with the token that ends it."""
        found = []
        for start, end in marked:
            ended = text[start:end].rstrip().endswith(tuple(self._enders))
            after = end_after(text, end, [], [ender for ender in self._enders if text.startswith(ender, end)])
            if not ended and after is None:
                raise Unfit(f"no token ends the answer {text[start : start + 40]!r}", _END)
            found.append((start, end if ended else after or end))
        if not found and not any(ender in text for ender in self._enders):
            raise Unfit("no token ends an answer", _END)
        return found

    def _ender(self, text: str, end: int) -> Span:
        size = max(len(ender) for ender in self._enders if text.endswith(ender, 0, end))
        return end - size, end

    def _labels(self, text: str, ids: list[int], spans: list[Span] | None, learned: list[Span]) -> list[int]:
        """The ids of the tokens that touch a learned span, and no loss for the others."""
        labels = [NO_LOSS] * len(ids)
        for first, last in learned:
            for place in self._places(text, ids, spans, first, last):
                labels[place] = ids[place]
        return labels

    def _places(self, text: str, ids: list[int], spans: list[Span] | None, first: int, last: int) -> range:
        if spans is None:
            return range(self._place(text[:first], ids), self._place(text[:last], ids))
        low = bisect_right(spans, first, key=lambda span: span[1])
        return range(low, bisect_left(spans, last, lo=low, key=lambda span: span[0]))

    def _place(self, text: str, ids: list[int]) -> int:
        """How many of the ids a beginning of the text has, for a tokenizer that cannot tell."""
        start = self.ids_of(text, special=self._kind != "messages")[0]
        return next((n for n, (one, other) in enumerate(zip(start, ids, strict=False)) if one != other), len(start))

    def _cut(self, text: str, ids: list[int], labels: list[int], missing: set[str]) -> Encoded:
        most = self._training.max_length if self._training else None
        return Encoded(text, ids[:most], labels[:most], len(ids), missing)

    def _rendered(self, turns: list[dict[str, Any]], tools: Any, *, asks: bool = False) -> Rendered:
        try:
            return self.renderer.render(turns, tools, asks=asks)
        except Refused as error:
            raise Unfit(f"the chat template refuses it: {error}", self._instead(turns, tools)) from error

    def _instead(self, turns: list[dict[str, Any]], tools: Any) -> str:
        """What to do with a row that the template refuses: another template, or what it refuses is left out."""
        roles = [turn["role"] for turn in turns]
        rest = [turn for turn in turns if turn["role"] != "system"]
        if len(rest) < len(turns) and self._takes(rest, tools):
            system = "Leave chat.system out" if self._adds_system else "Leave the system turns out of the rows"
            return f"It takes no system turn. {system}, or put their text into the first user turn; or {_OTHER}"
        if any(one == other for one, other in pairwise(roles)):
            return f"Two turns of one role follow each other: join them; or {_OTHER}"
        return f"Change the row, or {_OTHER}"

    def _takes(self, turns: list[dict[str, Any]], tools: Any) -> bool:
        try:
            self.renderer.render(turns, tools)
        except Refused:
            return False
        return True

    def _found_enders(self, more: Sequence[str]) -> list[str]:
        tokenizer = self._tokenizer
        added = tokenizer.added_tokens_decoder.values()
        special = [*tokenizer.all_special_tokens, *(token.content for token in added if token.special)]
        special = [token for token in special if token != tokenizer.bos_token or token == tokenizer.eos_token]
        enders = enders_of(self.renderer, special) if self.renderer.has_template else []
        self._closer = next(iter(enders), None)
        return list(dict.fromkeys([tokenizer.eos_token, *more, *enders]))

    def _look_at_template(self, spec: JobSpec) -> None:
        if not self.renderer.has_template:
            if spec.training is not None or spec.evaluation.judge:
                raise SpecInvalid(
                    f"the rows are chats, and {spec.model.id} has no chat template",
                    hint="Set chat.template, or use the model's instruction-tuned version.",
                )
            log.warning("imatrix.no_chat_template", model=spec.model.id, what="the turns are put one after another")
            return
        if spec.training is None or not self._is_trl or spec.training.assistant_only_loss is False:
            return
        self._answers_only = self.renderer.marks_answers() or can_find(self.renderer, self._enders)
        if not self._answers_only:
            if spec.training.assistant_only_loss:
                raise SpecInvalid(
                    "training.assistant_only_loss: the assistant's turns cannot be told from others in what the chat "
                    "template writes",
                    hint=_MARK,
                )
            log.warning("train.loss_on_all_turns", why="the assistant's turns cannot be told from the others")


def _check_losses(spec: JobSpec, kind: str) -> None:
    """Raises SpecInvalid for a loss on parts that these rows do not have."""
    if spec.training is None:
        return
    if spec.training.assistant_only_loss and kind != "messages":
        raise SpecInvalid(
            "training.assistant_only_loss: the rows are not conversations, so no turn is the assistant's",
            hint="Leave it out.",
        )
    if spec.training.completion_only_loss and kind == "text":
        raise SpecInvalid(
            "training.completion_only_loss: the rows are plain text, which has no completions", hint="Leave it out."
        )
