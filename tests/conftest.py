"""What every test shares: one thread for torch, the servers' fixtures, a tiny model and its rows."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from job import library_warnings

settings.register_profile("busy machine", deadline=None, derandomize=True)
settings.load_profile("busy machine")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["FINETUNE_ALLOW_PRIVATE_HOSTS"] = "127.0.0.1 localhost"  # the tests' own servers
os.environ["TOKENIZERS_PARALLELISM"] = "false"

MEMORY = 3 << 30
"""Bytes that a process of the tests may hold between two of them; torch, transformers and all else are 0.7 GB."""

pytest_plugins = ["tests.s3_server", "tests.s3_proxy", "tests.hub_server.fixtures", "tests.cluster.fixtures"]


@pytest.fixture(autouse=True)
def _unconfigured_log() -> Iterator[None]:
    """What a test sets the log up to do ends with it: the next test's records go to its own output."""
    yield
    structlog.reset_defaults()
    logging.setLogRecordFactory(logging.LogRecord)
    library_warnings._told.clear()


@pytest.fixture(autouse=True)
def _small_worker() -> Iterator[None]:
    """Workers share the machine's memory: what a test has made must go with it."""
    yield
    held = re.search(r"^RssAnon:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    assert held and int(held[1]) << 10 < MEMORY, "this test, or one before it in this process, keeps what it has made"


@pytest.fixture
def nothing_is_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the job's extra is not installed: the weights of the test's model are only named."""
    monkeypatch.setenv("FINETUNE_LLAMA", "/no/llama.cpp")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of width 256 with two layers, as a Hugging Face folder."""
    from tests.tiny_models import make_llama

    return make_llama(tmp_path_factory.mktemp("tiny") / "tiny-llama")


@pytest.fixture(scope="session")
def quotes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty rows of text."""
    from tests.tiny_models import write_quotes

    return write_quotes(tmp_path_factory.mktemp("rows") / "quotes.jsonl")


@pytest.fixture
def small_spec(tiny_model: Path, quotes: Path, tmp_path: Path) -> dict[str, Any]:
    """Eight steps of NF4 QLoRA on the tiny model, two types, into a folder."""
    return {
        "model": {"id": str(tiny_model)},
        "dataset": {"id": str(quotes), "text": "quote", "eval_fraction": 0.1},
        "training": {
            "max_steps": 8,
            "max_length": 48,
            "save_steps": 2,
            "logging_steps": 1,
            "per_device_train_batch_size": 2,
        },
        "evaluation": {"samples": 1, "max_new_tokens": 4},
        "export": {"types": ["q4_k_m", "q8_0"]},
        "publish": {"name": "tiny", "folder": str(tmp_path / "published")},
        "run": {"store": str(tmp_path / "store")},
    }


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a spec's file and gives its path."""

    def write(content: str | bytes, name: str = "spec.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
