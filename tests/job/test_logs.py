"""The log of a process in which several threads speak."""

import json
import sys
import threading
import time
from itertools import count

import pytest

from job import logs


def test_records_are_written_in_the_order_in_which_a_sink_numbers_them(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = count(1)

    def number(record: logs.Record) -> None:
        record["seq"] = next(numbers)
        time.sleep(0.0005)  # lets another thread go first, if it may

    logs.configure(number, stream=sys.stdout)
    threads = [threading.Thread(target=lambda: [logs.log.info("said") for _ in range(25)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()]
    assert written == list(range(1, 201))
