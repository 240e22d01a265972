"""Tokens that are added to a vocabulary, and whose rows of the embeddings are trained: those that a chat template has.

A template whose markers the vocabulary lacks would write them as many tokens, of which no one ends an answer: the model
would never stop.
"""

import re
from collections.abc import Sequence
from typing import Any

from job.chat.rendering import Budget
from job.chat.templates import template_for
from job.errors import SpecInvalid
from job.logs import log
from job.spec import JobSpec
from job.tokens.answers import enders_of
from job.tokens.renderer import Refused, Renderer, Turn

_MARKER = re.compile(r"<\|[^<>|\s]{1,40}\|>|<\uff5c[^<>\uff5c\s]{1,40}\uff5c>|<(?:start|end)_of_[a-z]{1,20}>")
"""What looks like a token: <|im_end|>, DeepSeek's <｜User｜>, Gemma's <end_of_turn>. Other texts may be words."""  # noqa: RUF001
_TALK: list[Turn] = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "U"},
    {"role": "assistant", "content": "A"},
]


def tokens_to_train(spec: JobSpec, tokenizer: Any, kind: str) -> list[str]:
    """The tokens to add and train: those of `chat.add_tokens`, else the markers of the template that the vocabulary
    lacks. Raises SpecInvalid if this run has no place for them."""
    if spec.training is None:
        return []
    written = markers(spec, tokenizer) if kind == "messages" else []
    lacking = [one for one in written if one not in tokenizer.get_vocab()]
    if spec.chat.add_tokens == "auto":
        found, why = lacking, f"the chat template writes {', '.join(lacking)}, which the vocabulary lacks"
    else:
        found, why = list(dict.fromkeys(spec.chat.add_tokens)), "chat.add_tokens"
        if left := [one for one in lacking if one not in found]:
            what = "the chat template writes them, and the vocabulary lacks them: each is read as several tokens"
            log.warning("tokens.not_added", tokens=left, what=what)
    if found:
        _check_place(spec, why)
        log.info("tokens.added", tokens=found, what="their rows of the embeddings are trained with the adapter")
    return found


def _check_place(spec: JobSpec, why: str) -> None:
    if spec.model.adapter:
        raise SpecInvalid(
            f"{why}: the adapter {spec.model.adapter}, which the training starts from, has no place for more tokens",
            hint="Use a chat template of tokens that the model has (chat.template: plain fits every vocabulary), or "
            "start without model.adapter.",
        )
    if spec.export.adapter:
        raise SpecInvalid(
            f"{why}: an adapter as GGUF (export.adapter) cannot hold trained tokens",
            hint="Leave export.adapter out: the merged files have them. Or use chat.template: plain, which needs none.",
        )


def add(spec: JobSpec, tokenizer: Any, tokens: Sequence[str]) -> None:
    """Adds tokens to a tokenizer. If the template ends a turn with one of them, it becomes EOS, so that every program
    stops there."""
    from transformers import AddedToken

    if not tokens:
        return
    tokenizer.add_tokens([AddedToken(one, normalized=False, special=True) for one in tokens], special_tokens=True)
    if tokenizer.chat_template and (ends := enders_of(_renderer(spec, tokenizer), tokens)):
        tokenizer.eos_token = ends[0]


def markers(spec: JobSpec, tokenizer: Any) -> list[str]:
    """The markers in the chat template's text, and in what it makes of a short conversation."""
    template = template_for(tokenizer.chat_template)
    if template is None:
        return []
    renderer, texts = _renderer(spec, tokenizer), [template]
    for turns in (_TALK, _TALK[1:]):
        try:
            texts.append(renderer.render(turns).text)
            break
        except Refused:
            continue
    return list(dict.fromkeys(one for text in texts for one in _MARKER.findall(text)))


def _renderer(spec: JobSpec, tokenizer: Any) -> Renderer:
    return Renderer(tokenizer, Budget(is_own=spec.chat.template is not None))
