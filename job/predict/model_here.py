"""What is read of a model to plan with it, on any machine: config.json and the headers of its weights.

The job waits and retries if the Hub is slow; planning does not, and needs no huggingface_hub.
"""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from job.errors import NotFound, RemoteUnavailable
from job.safetensors_files import INDEX, SINGLE, Tensor, listed, shards_of
from job.spec.places import STORES, model_place
from job.store import open_store

TIMEOUT_S = 4.0
TEXT_LIMIT = 64 << 20
"""Bytes of a JSON file that are read at most."""


class ModelHere(NamedTuple):
    """A model at its place, with `revision` on the Hub."""

    place: str
    revision: str = "main"

    def text(self, name: str) -> str | None:
        """The text of a small file; None if there is no such file."""
        found = self._start(name, TEXT_LIMIT)
        return None if found is None else found.decode(errors="replace")

    def tensors(self) -> dict[str, Tensor]:
        """What the headers of its weights list. Raises NotFound if there are none."""
        start = self._start(SINGLE, 8)
        if start is not None:
            names = [SINGLE]
        elif (index := self.text(INDEX)) is not None:
            names = shards_of(index, self.place)
        else:
            raise NotFound(f"{self.place} has no {SINGLE} and no {INDEX}")
        return listed(names, self._header, self.place)

    def _header(self, name: str, count: int) -> bytes:
        return self._start(name, count) or b""

    def _start(self, name: str, count: int) -> bytes | None:
        where = model_place(self.place)
        if where == "hub":
            return _from_hub(self.place, self.revision, name, count)
        if where in STORES:
            store = open_store(self.place)
            found = store.head(name)
            return found and (store.start_of(name, count) if found.size else b"")
        path = Path(self.place).expanduser() / name
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(count)


def _from_hub(place: str, revision: str, name: str, count: int) -> bytes | None:
    """The start of a file of a branch, by https://huggingface.co/docs/hub/api. A gated model needs HF_TOKEN here too;
    another host that the Hub sends us to does not get it."""
    import urllib3

    from job.hub.calls import endpoint, token

    headers = {"Range": f"bytes=0-{count - 1}"} | ({"Authorization": f"Bearer {known}"} if (known := token()) else {})
    try:
        reply = urllib3.PoolManager().request(
            "GET",
            f"{endpoint()}/{place}/resolve/{quote(revision, safe='')}/{name}",
            headers=headers,
            timeout=urllib3.Timeout(TIMEOUT_S),
            retries=urllib3.Retry(2, backoff_factor=0.2),
            preload_content=False,
        )
        start = reply.read(count) if reply.status in (200, 206) else b""
        reply.release_conn()
    except urllib3.exceptions.HTTPError as error:
        raise RemoteUnavailable(f"{endpoint()} does not answer") from error
    if reply.status == 404:
        return None
    if reply.status not in (200, 206):
        raise RemoteUnavailable(f"{endpoint()} answers {reply.status}")
    return bytes(start)
