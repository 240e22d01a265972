"""A run's events in the store: write-once pieces `runs/<run id>/events/<attempt>-<n>.jsonl`.

Each record has the run, the attempt and a sequence number, so that a reader that gets a record twice
(from the pod's log and from here) can drop one.
"""

import json
import threading
from typing import Any

from job import strict_json
from job.logs import Record, log
from job.store import Store

EVERY_S = 30.0


class EventLog:
    """A sink for `job.logs.configure`. Pieces are written every 30 seconds and at the end."""

    def __init__(self, store: Store, run: str, attempt: int) -> None:
        self._store, self._prefix = store, f"runs/{run}/events/{attempt:04d}"
        self._fields = {"run": run, "attempt": attempt}
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._seq = self._piece = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write_now_and_then, name="events", daemon=True)
        self._thread.start()

    def __call__(self, record: Record) -> None:
        with self._lock:
            self._seq += 1
            record.update(self._fields, seq=self._seq)
            if record.get("level") != "debug":
                self._lines.append(strict_json.dumps(dict(record), ensure_ascii=False, default=str))

    def _write_now_and_then(self) -> None:
        while not self._closed.wait(EVERY_S):
            try:
                self.flush()
            except Exception:  # noqa: BLE001 - a thread that ended here would lose every later piece
                continue  # the lines are kept for the next piece, and the pod's log has them

    def flush(self) -> None:
        """Writes the records since the last piece."""
        with self._lock:
            lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            self._store.put(f"{self._prefix}-{self._piece:05d}.jsonl", ("\n".join(lines) + "\n").encode())
        except Exception:
            with self._lock:
                self._lines = lines + self._lines
            raise
        self._piece += 1

    def close(self) -> None:
        """Writes the rest. Raises the store's error if that fails."""
        self._closed.set()
        self._thread.join()
        self.flush()


def read_events(store: Store, run: str) -> list[dict[str, Any]]:
    """Every event of a run, in order. A line that is damaged is left out, with a warning that names its piece."""
    events = []
    for key in sorted(store.list(f"runs/{run}/events/")):
        found = store.get(key)
        for line in found[0].decode(errors="replace").splitlines() if found else ():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict) and "event" in record:
                events.append(record)
            else:
                log.warning("events.damaged", piece=f"{store.url}/{key}")
    return events
