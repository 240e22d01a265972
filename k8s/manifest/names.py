"""Names of a run's objects: readable, valid for Kubernetes, the same for the same run."""

import re
from collections.abc import Mapping, Sequence

from job.artifacts import digest_of
from job.spec import JobSpec
from job.spec.canonical import canonical

LONGEST = 52
"""A Job's name is used in labels and host names of 63 characters, followed by `-<index>` and five random characters."""
_HASH = 8


def slug(text: str, longest: int) -> str:
    """A DNS label (RFC 1123) from a text; `run` if no valid character is left."""
    found = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:longest].strip("-")
    return found if re.match(r"[a-z]", found) else f"run-{found}"[:longest].strip("-")


def job_name(title: str, specs: Sequence[JobSpec], salt: str = "") -> str:
    """`<title>-<hash>`: equal for the same run, so that a repeated launch finds it. A `salt` starts a second run."""
    digest = digest_of([[canonical(spec) for spec in specs], salt])[:_HASH]
    return f"{slug(title, LONGEST - _HASH - 1)}-{digest}"


def config_map_name(job: str, data: Mapping[str, str]) -> str:
    """`<job>-<hash>`: other content gets another ConfigMap, since ConfigMaps are immutable here."""
    return f"{job}-{digest_of(dict(data))[:_HASH]}"
