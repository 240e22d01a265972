"""The model's sizes, as far as they can be known here and now: from its config.json alone, or not at all."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from job.anatomy import Anatomy, anatomy_of
from job.errors import JobError
from job.hub.calls import endpoint, token
from job.naming import is_hub_id
from job.spec import JobSpec

TIMEOUT_S = 4.0
"""Planning does not wait for a Hub that is slow: the job asks it again, with patience."""


def anatomy_here(spec: JobSpec) -> tuple[Anatomy | None, str]:
    """The sizes, or why they are not known. Never raises, and never waits long."""
    place = spec.model.id
    try:
        return anatomy_of(_config(place, spec.model.revision), place), ""
    except (JobError, OSError, ValueError) as error:
        said = error.message if isinstance(error, JobError) else str(error)
        return None, f"nothing is predicted for {place}: {said}; the job checks it before it trains"


def _config(place: str, revision: str) -> Any:
    if place.startswith("s3://"):
        from job.store import open_store

        found = open_store(place).get("config.json")
        if found is None:
            raise ValueError("there is no config.json")
        return json.loads(found[0])
    if not is_hub_id(place):
        return json.loads((Path(place).expanduser() / "config.json").read_text(encoding="utf-8"))
    return _from_hub(place, revision)


def _from_hub(place: str, revision: str) -> Any:
    """One small file, as https://huggingface.co/docs/hub/api says; a gated model needs HF_TOKEN here too."""
    import urllib3

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
        raise ValueError(f"{endpoint()} does not answer") from error
    if reply.status != 200:
        raise ValueError(f"{endpoint()} answers {reply.status}")
    return json.loads(reply.data)
