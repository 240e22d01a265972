"""A model that answers a conversation, in the bundled llama-server."""

import http.client
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from job.errors import IntegrityViolated
from job.llama_cpp import offload, server
from job.redaction import redact
from job.talk.choice import Model

_OPTIONS = ("--jinja", "--reasoning-format", "none")
"""The model's own template, and all that it says."""


class Settings(NamedTuple):
    """`context`: tokens of a conversation; `most`: of an answer; `temperature` 0: the likeliest token each time;
    `plain`: texts are continued, without the model's template."""

    context: int = 4096
    most: int = 512
    temperature: float = 0.0
    seed: int = 0
    plain: bool = False


class TooLong(Exception):
    """A conversation does not fit into the context: it can go on from its beginning."""


class Speaker:
    """A model that answers."""

    def __init__(self, model: Model, settings: Settings, asked: server.Server) -> None:
        self.model, self.asked, self._settings = model, asked, settings

    @property
    def converses(self) -> bool:
        """Whether it answers in its template; else it continues texts."""
        return self.model.has_template and not self._settings.plain

    def answer(self, messages: Sequence[Mapping[str, str]]) -> Generator[str, None, bool]:
        """The answer to a conversation, piece by piece, in the model's own template; without one the last message's
        text is continued. The generator's value says whether the answer was cut.

        Raises TooLong, and what `server.Server.ask` does.
        """
        most = self._settings.most
        asked: dict[str, Any] = {"stream": True, "temperature": self._settings.temperature, "seed": self._settings.seed}
        if self.converses:
            path, asked = "/v1/chat/completions", asked | {"messages": list(messages), "max_tokens": most}
        else:
            path, asked = "/completion", asked | {"prompt": messages[-1]["content"], "n_predict": most}
        with self.asked.ask("POST", path, asked) as reply:
            if reply.status != 200:
                raise _refused(self.model, reply.status, reply.read())
            return (yield from _pieces(reply))


def _pieces(reply: http.client.HTTPResponse) -> Generator[str, None, bool]:
    """The texts of server-sent events, and whether the answer was cut (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    cut = False
    for line in reply:
        if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
            continue
        event = json.loads(line[6:])
        if "error" in event:
            raise http.client.HTTPException(str(event["error"]))
        choice = (event.get("choices") or [{}])[0]
        text = event.get("content") or (choice.get("delta") or {}).get("content")
        cut = cut or choice.get("finish_reason") == "length" or event.get("stop_type") == "limit"
        if text:
            yield str(text)
    return cut


def _refused(model: Model, status: int, body: bytes) -> Exception:
    try:
        error = json.loads(body)["error"]
        said, kind = str(error["message"]), str(error.get("type"))
    except (ValueError, LookupError, TypeError):
        said, kind = body[:300].decode(errors="replace"), ""
    if kind == "exceed_context_size_error":
        return TooLong(said)
    return IntegrityViolated(f"{model.path.name} does not answer (status {status}): {redact(said)}")


@contextmanager
def speaking(model: Model, settings: Settings) -> Iterator[Speaker]:
    """The model, loaded. With a GPU that fails, it is loaded again with less of it there, as in a run.

    Raises what `server.serving` does.
    """
    context = min(settings.context, model.trained_context or settings.context)
    with ExitStack() as stack:

        def load(rung: offload.Rung) -> server.Server:
            found = server.serving(model.path, rung, context=context, slots=1, options=_OPTIONS)
            return stack.enter_context(found)

        yield Speaker(model, settings, offload.descend(load))
