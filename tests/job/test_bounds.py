"""Files that would take all of the time or the memory are refused: Parquet, chat templates, patterns, YAML, headers."""

import json
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from job import bounds
from job.bounds import Exceeded, bounded
from job.chat import rendering
from job.dataset import arrow_rows, card, parquet_rows
from job.dataset.readers import read_rows
from job.errors import DataInvalid, IntegrityViolated, SpecInvalid
from job.export import peft_adapter
from job.fetch import safety
from job.tokens.renderer import Renderer
from tests import ROOT

BACKTRACKS = ("(a+)+$", "a" * 60 + "b")


def test_work_is_ended_after_its_time_and_memory() -> None:
    with pytest.raises(Exceeded, match="more than 1 s"), bounded(1, 1 << 30):
        re.match(*BACKTRACKS)
    with pytest.raises(Exceeded, match="more than 64 MB"), bounded(10, 64 << 20):
        bytes(1 << 30)
    with bounded(10, 64 << 20):
        bytes(1 << 20)
    assert len(bytes(1 << 28)) == 1 << 28, "the limit ends with the block"


def test_a_library_that_catches_every_exception_is_ended_too() -> None:
    with pytest.raises(Exceeded), bounded(1, 1 << 30):
        while True:
            with suppress(Exception):
                re.match(*BACKTRACKS)


def test_a_call_that_never_returns_ends_its_process() -> None:
    program = (
        "import hashlib; from job.bounds import bounded, killed_after\n"
        "with killed_after(2), bounded(1, 1 << 30): sum(range(9))\n"
        "print('on', flush=True)\n"
        "with killed_after(2), bounded(1, 1 << 30): hashlib.pbkdf2_hmac('sha256', b'', b'', (1 << 31) - 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert (done.returncode, done.stdout) == (-signal.SIGXCPU, "on\n"), done.stderr


def test_outside_the_main_thread_memory_is_bounded() -> None:
    caught: list[BaseException] = []

    def work() -> None:
        try:
            with bounded(1, 64 << 20):
                bytes(1 << 30)
        except Exceeded as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [(30, "to decode 128 of its rows, it needs more than 256 MB"), (100_000, "decode to more than 300 times")],
)
def test_a_small_parquet_file_of_gigabytes_is_refused(
    tmp_path: Path, rows: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    text = "a" * (20_000_000 if rows == 30 else 10_000)
    monkeypatch.setattr(parquet_rows, "MAX_DECODED", 32 << 20)
    column = pa.array(pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text])))
    parquet.write_table(pa.table({"text": column}), tmp_path / "bomb.parquet", compression="zstd", store_schema=False)
    assert (tmp_path / "bomb.parquet").stat().st_size < 20_000
    with pytest.raises(DataInvalid, match=f"looks like a bomb: .*{said}"):
        for _ in read_rows(tmp_path / "bomb.parquet"):
            pass


def test_a_small_arrow_file_of_much_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    monkeypatch.setattr(arrow_rows, "BATCH_MEMORY", 32 << 20)
    table, path = pa.table({"text": ["a" * 1_000_000] * 100}), tmp_path / "bomb.arrow"
    with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as file:
        file.write_table(table)
    assert path.stat().st_size < 100_000
    with pytest.raises(DataInvalid, match="looks like a bomb: to read a part of it, it needs more than 32 MB"):
        for _ in read_rows(path):
            pass


class Templated:
    """Of a tokenizer, what a renderer asks for."""

    special_tokens_map: ClassVar = {"eos_token": "</s>"}

    def __init__(self, template: str) -> None:
        self.chat_template = template

    def get_chat_template(self, tools: Any = None) -> str:
        return self.chat_template


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
LARGE = "{{ 'a' * 3000000000 }}"


@pytest.mark.parametrize("template", [ENDLESS, LARGE, "{% set a = 'b' * 4000000000 %}"])
@pytest.mark.parametrize("is_own", [True, False])
def test_a_template_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch, template: str, is_own: bool) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 1.0)
    renderer = Renderer(Templated(template), rendering.Budget(is_own=is_own))
    with pytest.raises(SpecInvalid if is_own else DataInvalid, match=r"chat.template: to render the rows, it"):
        renderer.render([{"role": "user", "content": "Hello"}])


def test_many_quick_renderings_are_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 0.5)
    budget, started = rendering.Budget(is_own=False), time.process_time()
    while time.process_time() - started < 1:
        with budget.rendering():
            sum(range(10_000))


def test_all_renderings_of_a_run_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 0.5)
    budget = rendering.Budget(is_own=False)
    with pytest.raises(DataInvalid, match="to render the rows, it takes more than"):
        for _ in range(10):
            with budget.rendering():
                started = time.process_time()
                while time.process_time() - started < 0.2:
                    sum(range(10_000))


def test_an_adapters_pattern_that_backtracks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from safetensors.torch import save_file

    monkeypatch.setattr(peft_adapter, "PATTERN_S", 1)
    pattern, name = BACKTRACKS
    config: dict[str, Any] = {"peft_type": "LORA", "lora_alpha": 8, "r": 1, "alpha_pattern": {pattern: 4}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    parts = {f"base_model.model.{name}.lora_{part}.weight": torch.ones(1, 1) for part in "AB"}
    save_file(parts, tmp_path / "adapter_model.safetensors")
    with pytest.raises(DataInvalid, match="alpha_pattern cannot be used: it takes more than 1 s"):
        peft_adapter.PeftAdapter(tmp_path)


def merges(levels: int) -> str:
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, levels)]
    return "\n".join(lines)


def lists(levels: int) -> str:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join([*lines, f"license: *a{levels - 1}", f"language: *a{levels - 1}"])


@pytest.mark.parametrize("bomb", [merges, lists])
def test_a_yaml_bomb_in_a_card_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bomb: Callable[[int], str]
) -> None:
    from job.fetch.stage import _card

    monkeypatch.setattr(card, "CARD_S", 2)
    (tmp_path / "README.md").write_text(f"---\n{bomb(12)}\n---\n# A model\n")
    started = time.process_time()
    assert len(json.dumps(_card(tmp_path))) < 1000
    assert card.card_configs((tmp_path / "README.md").read_text()) == []
    assert time.process_time() - started < 20


def test_a_header_that_is_larger_than_any_model_needs_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    header = b'{"__metadata__": {"a": "' + b"a" * 94_000_000 + b'"}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(IntegrityViolated, match="has a header of 94000027 bytes, more than any model needs"):
        safety.check_safetensors(path, "someone/model")


def test_no_template_is_rendered_in_the_parent() -> None:
    """Only the tokens stage renders, and no module that runs there calls into it."""
    for room in ("pipeline", "run", "publish", "store"):
        for path in (ROOT / "job" / room).glob("*.py"):
            assert not re.search(r"apply_chat_template|render_jinja|tokens.(renderer|encoder)", path.read_text()), path
    assert sys.modules["job.bounds"] is bounds
