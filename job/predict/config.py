"""Reads the model's config.json, and nothing else of the model.

The job waits and retries if the Hub is slow; planning does not, and needs no huggingface_hub.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from job.artifacts import json_object
from job.errors import JobError, NotFound, RemoteUnavailable
from job.predict.anatomy import Anatomy, anatomy_of
from job.spec import JobSpec
from job.spec.places import STORES, model_place
from job.store import open_store

TIMEOUT_S = 4.0


def config_of(spec: JobSpec, commit: str) -> dict[str, Any]:
    """The config.json; of a model on the Hub, that of `commit`. Raises NotFound, DataInvalid and the errors of its
    place."""
    return _read(spec.model.id, lambda: _from_commit(spec.model.id, commit))


def anatomy_here(spec: JobSpec) -> tuple[Anatomy | None, str]:
    """The sizes, or None and the reason why they are not known here. Never raises, and never waits long."""
    place = spec.model.id
    try:
        return anatomy_of(_read(place, lambda: _from_branch(place, spec.model.revision)), place), ""
    except (JobError, OSError) as error:
        said = error.message if isinstance(error, JobError) else str(error)
        return None, f"no prediction for {place}: {said}; the job checks this before it trains"


def _read(place: str, from_hub: Callable[[], str | None]) -> dict[str, Any]:
    where = model_place(place)
    if where in STORES:
        found = open_store(place).get("config.json")
        text = found[0].decode(errors="replace") if found else None
    elif where == "hub":
        text = from_hub()
    else:
        path = Path(place).expanduser() / "config.json"
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    if text is None:
        raise NotFound(f"{place} has no config.json", hint="Name a model's folder or repository.")
    return json_object(text, f"{place}: config.json")


def _from_commit(place: str, commit: str) -> str | None:
    from job import hub

    file = next((one for one in hub.list_files(place, commit) if one.path == "config.json"), None)
    with tempfile.TemporaryDirectory() as folder:
        return hub.read_small(place, commit, file, Path(folder)) if file else None


def _from_branch(place: str, revision: str) -> str | None:
    """The config.json of a branch, by https://huggingface.co/docs/hub/api. A gated model needs HF_TOKEN here too."""
    import urllib3

    from job.hub.calls import endpoint, token

    headers = {"Authorization": f"Bearer {known}"} if (known := token()) else {}
    url = f"{endpoint()}/{place}/resolve/{quote(revision, safe='')}/config.json"
    try:
        reply = urllib3.PoolManager().request(
            "GET",
            url,
            headers=headers,
            timeout=urllib3.Timeout(TIMEOUT_S),
            retries=urllib3.Retry(2, backoff_factor=0.2),
        )
    except urllib3.exceptions.HTTPError as error:
        raise RemoteUnavailable(f"{endpoint()} does not answer") from error
    if reply.status != 200:
        raise RemoteUnavailable(f"{endpoint()} answers {reply.status}")
    return reply.data.decode(errors="replace")
