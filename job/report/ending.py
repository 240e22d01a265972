"""What a run says at its end: the table, the files and where they are, which one to take, and how to try it."""

import shlex
import sys
from collections.abc import Iterator
from typing import Any

from job.llama_cpp import bundle
from job.report import documents, table
from job.report.choice import best_for
from job.run.records import Manifest, PublishedFile

GIGABYTES = 8
"""The memory of a common laptop or graphics card, for which a file is named."""


def result(manifest: Manifest, store: str) -> dict[str, Any]:
    """The fields of the event `run.result`. `store`: the run store's address."""
    files = table.published(manifest)
    lines = table.lines(files, manifest.stages)
    columns = table.columns(lines)[1:]
    train = manifest.stages["train"].metrics if "train" in manifest.stages else {}
    cache = manifest.stages["export"].metrics.get("cache_bytes_per_token", 0)
    choice = best_for(lines, cache, GIGABYTES)
    name = choice.line.name if choice else files[0][0]
    return {
        "name": manifest.name,
        "columns": [column.heading for column in columns],
        "rows": [[column.shown(line) for column in columns] for line in lines],
        "take": choice and {"gigabytes": GIGABYTES, "name": name, "needed": choice.needed},
        "files": [file.name for file in manifest.files],
        "places": manifest.places or [f"{store} (the run store; no place to publish to is set)"],
        **{key: train.get(key) for key in ("loss_before", "loss_after", "steps")},
        "report": f"{store}/runs/{manifest.run}/{documents.PAGE}",
        "try": dict(_commands(manifest, store, name)),
    }


def _commands(manifest: Manifest, store: str, name: str) -> Iterator[tuple[str, str]]:
    """How to try a file: by talking to it if it is on this disk, with Ollama beside its Modelfile; from the Hub or S3
    with what fetches it."""
    file = next(one for one in manifest.files if one.name == name)
    folder = next((place for place in manifest.places if "://" not in place), None)
    if path := _on_disk(file, folder, store):
        yield "try it", _chat(path, plain=not _chats(manifest))
    if folder:
        model = shlex.quote(manifest.name.lower())
        yield "or in Ollama", f"cd {shlex.quote(folder)} && ollama create {model} -f Modelfile && ollama run {model}"
    for place in manifest.places:
        if place.startswith("hf://"):
            yield "from the Hub", f"llama-cli -hf {shlex.quote(place.removeprefix('hf://'))}:{file.type.upper()}"
        elif "://" in place and not path:
            address = shlex.quote(f"{place}/{name}")
            yield "try it", f"aws s3 cp {address} . && {_chat(name, plain=not _chats(manifest))}"


def _on_disk(file: PublishedFile, folder: str | None, store: str) -> str | None:
    if folder:
        return f"{folder}/{file.name}"
    return None if "://" in store else f"{store}/{file.key}"


def _chat(path: str, *, plain: bool) -> str:
    """The command that talks to a file, with this Python: `python` may be another."""
    python = shlex.quote(sys.executable) if bundle.is_built() else "python"
    return f"{python} -m job chat {shlex.quote(path)}{' --plain' if plain else ''}"


def _chats(manifest: Manifest) -> bool:
    """Whether the model answers in conversations: it has a chat template, and was not trained on other text."""
    data = manifest.stages["fetch"].metrics.get("data") or {}
    tokens = manifest.stages["tokens"].metrics if "tokens" in manifest.stages else {}
    template = (tokens.get("vocabulary") or {}).get("template")
    return template is not None and ("train" not in manifest.stages or data.get("kind") == "messages")
