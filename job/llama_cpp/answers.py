"""Answers of a GGUF to many prompts at once: llama-server, in parallel slots. The prompts are token ids, which it takes
as they are."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from job.errors import Bug
from job.llama_cpp import offload, server
from job.logs import Progress

_OPTIONS = ("--no-kv-unified", "--no-cache-prompt", "--cache-ram", "0", "--no-cache-idle-slots")
"""Each prompt is computed anew, in room of its own: an answer does not depend on the ones before it."""


def answers(
    gguf: Path, prompts: Sequence[Sequence[int]], *, most: int, parallel: int, seed: int, what: str
) -> list[str]:
    """The likeliest continuation of each prompt, of at most `most` tokens, without the tokens that end it.

    After another start, e.g. without the GPU, it is asked what is left. Raises IntegrityViolated if the file does not
    run, EnvironmentUnfit if this machine cannot run it.
    """
    given: dict[int, str] = {}
    bar = Progress(f"scoring {what}", len(prompts), "cases")
    context = parallel * (max(map(len, prompts)) + most + 1)

    def attempt(rung: offload.Rung) -> None:
        left = [number for number in range(len(prompts)) if number not in given]
        with (
            ThreadPoolExecutor(parallel, "cases") as pool,
            server.serving(gguf, rung, context=context, slots=parallel, options=_OPTIONS) as asked,
        ):

            def answer(number: int) -> None:
                given[number] = _answer(asked, prompts[number], most, seed)

            for _ in pool.map(answer, left):
                bar.update(len(given))

    offload.descend(attempt)
    return [given[number] for number in range(len(prompts))]


def _answer(asked: server.Server, prompt: Sequence[int], most: int, seed: int) -> str:
    request = {
        "prompt": list(prompt),
        "n_predict": most,
        "temperature": 0.0,
        "samplers": ["temperature"],
        "seed": seed,
        "cache_prompt": False,
    }
    with asked.ask("POST", "/completion", request) as reply:
        body = reply.read()
    if reply.status != 200:
        raise Bug(f"llama-server refused a case: status {reply.status}: {body[:300].decode(errors='replace')}")
    return str(json.loads(body)["content"])
