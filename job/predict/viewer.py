"""The first rows of a data set on the public Hub, and how many there are, from its dataset viewer: for a plan, which
downloads nothing.

Source: https://huggingface.co/docs/dataset-viewer/rows and /splits.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from job.errors import RemoteUnavailable
from job.hub.calls import endpoint, token
from job.spec.places import shown_place
from job.spec.sections import Dataset
from job.strict_json import dumps

VIEWERS = {"https://huggingface.co": "https://datasets-server.huggingface.co"}
"""By the Hub's endpoint. A mirror or an Enterprise Hub has none that is known."""
ROWS = 100
"""The most that it gives at a time."""
TIMEOUT_S = 4.0
MOST_BYTES = 16 << 20


def first_rows(dataset: Dataset, folder: Path) -> int:
    """Writes them into a new file of `folder`, and returns how many rows the split has. Raises RemoteUnavailable, and
    ValueError or KeyError for an answer of another form."""
    viewer = VIEWERS.get(endpoint())
    if viewer is None or dataset.revision != "main":  # it knows no other
        raise RemoteUnavailable(f"{endpoint()} has no dataset viewer")
    name, split = dataset.id.removeprefix("hf://"), dataset.split
    config = dataset.config or _only_config(viewer, name, split)
    query = {"dataset": name, "config": config, "split": split, "offset": 0, "length": ROWS}
    found = _asked(viewer, "rows", query)
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for one in found["rows"]:
            file.write(dumps(one["row"]) + "\n")
    return int(found["num_rows_total"])


def _only_config(viewer: str, name: str, split: str) -> str:
    """The configuration, as a run takes it: the only one, or the one named default."""
    found = {one["config"] for one in _asked(viewer, "splits", {"dataset": name})["splits"] if one["split"] == split}
    if len(found) > 1 and "default" in found:
        return "default"
    (only,) = found
    return str(only)


def _asked(viewer: str, what: str, query: dict[str, Any]) -> Any:
    return json.loads(_answer(f"{viewer}/{what}?{urlencode(query)}", token()))


@lru_cache(maxsize=64)
def _answer(url: str, known: str | None) -> bytes:
    """A plan asks several times for the same: for its table, its price, each run of a sweep."""
    import urllib3

    headers = {"Authorization": f"Bearer {known}"} if known else {}
    try:
        reply = urllib3.PoolManager().request(
            "GET", url, headers=headers, redirect=False, retries=False,
            timeout=urllib3.Timeout(TIMEOUT_S), preload_content=False,
        )  # fmt: skip
        text: bytes = reply.read(MOST_BYTES)
    except urllib3.exceptions.HTTPError as error:
        raise RemoteUnavailable(f"{shown_place(url)} does not answer") from error
    if reply.status != 200:
        raise RemoteUnavailable(f"{shown_place(url)} answers {reply.status}")
    return text
