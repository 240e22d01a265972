"""What a run's objects are called: readable, valid for Kubernetes, the same for the same run."""

import re
from collections.abc import Mapping, Sequence

from job.artifacts import digest_of
from job.spec import JobSpec
from job.spec.canonical import canonical

LONGEST = 52
"""A Job's name ends up in labels and host names of 63 characters, with `-<index>` and five random ones behind it."""
_HASH = 8


def slug(text: str, longest: int) -> str:
    """A DNS label (RFC 1123) of what a person wrote; `run` where nothing is left of it."""
    found = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:longest].strip("-")
    return found if re.match(r"[a-z]", found) else f"run-{found}"[:longest].strip("-")


def job_name(title: str, specs: Sequence[JobSpec], salt: str = "") -> str:
    """`<title>-<hash>`: equal for the same run, so that the same run twice is found. `salt` makes another one of it."""
    digest = digest_of([[canonical(spec) for spec in specs], salt])[:_HASH]
    return f"{slug(title, LONGEST - _HASH - 1)}-{digest}"


def config_map_name(job: str, data: Mapping[str, str]) -> str:
    """`<job>-<hash>`: other content is another ConfigMap, since this one never changes."""
    return f"{job}-{digest_of(dict(data))[:_HASH]}"
