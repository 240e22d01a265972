"""Warnings of libraries and of llama.cpp become events: once each, with their source."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from job import library_warnings, logs
from job.llama_cpp import offload
from job.redaction import MASK


def told(logged: list[Any]) -> list[tuple[str, str]]:
    return [(one["source"], one["message"]) for one in logged if one["event"] == "library.warning"]


def test_a_warning_of_pythons_is_told_with_the_module_that_warns() -> None:
    with capture_logs() as logged:
        library_warnings.forward()
        warnings.warn_explicit("it may be slow", UserWarning, "/x/lib/python3.12/site-packages/peft/tuners/model.py", 3)
        warnings.warn_explicit("it goes away", FutureWarning, "/x/site-packages/trl/__init__.py", 7)
    assert told(logged) == [("peft.tuners.model", "it may be slow"), ("trl", "FutureWarning: it goes away")]
    assert {one["log_level"] for one in logged} == {"warning"}


def test_a_library_that_keeps_its_records_to_itself_is_heard() -> None:
    """As transformers and datasets do: handlers of their own, and no propagation."""
    library = logging.getLogger("somebodys.library")
    library.propagate, library.handlers = False, [logging.NullHandler()]
    with capture_logs() as logged:
        library_warnings.forward()
        library.warning("%d of %d weights are new", 1, 2)
        library.error("it went on without %s", "them")
        library.info("all is well")
    source = "somebodys.library"
    assert told(logged) == [(source, "1 of 2 weights are new"), (source, "it went on without them")]


def test_a_warning_is_told_once_whatever_its_numbers() -> None:
    library = logging.getLogger("somebodys")
    with capture_logs() as logged:
        library_warnings.forward()
        library_warnings.forward()
        for length in (2049, 3000):
            library.warning(f"{length} tokens are longer than 2048")
    assert told(logged) == [("somebodys", "2049 tokens are longer than 2048")]


def test_a_library_that_warns_of_every_row_does_not_fill_the_log() -> None:
    with capture_logs() as logged:
        for number in range(1000):
            library_warnings.tell("somebodys", "odd row: " + "x" * number)
    assert len(told(logged)) == library_warnings.MOST + 1
    assert told(logged)[-1] == ("job", "more than 100 different warnings: the others are left out")


def test_a_record_with_wrong_arguments_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with capture_logs() as logged:
        library_warnings.forward()
        logging.getLogger("somebodys").warning("%d rows", "many")
    assert told(logged) == [("somebodys", "%d rows")]


SEEN = (
    ("transformers.modeling_utils", "FutureWarning: `is_gradient_checkpointing` is deprecated and will be removed"),
    ("bitsandbytes.backends.cpu.ops", "Failed to load CPU gemm_4bit_forward from kernels-community: import halted"),
    ("bitsandbytes.autograd._functions", "MatMul8bitLt: inputs will be cast from torch.float32 to float16"),
    (
        "transformers.trainer_utils",
        "The tokenizer has new PAD/BOS/EOS tokens that differ from the model config and generation config. They were "
        "aligned accordingly. Updated tokens: {'pad_token_id': 2}.",
    ),
    ("transformers.tokenization_utils_base", "Token indices sequence length is longer than the specified maximum (9)"),
    ("transformers.trainer_utils", "mtime may not be reliable on this filesystem, falling back to numerical ordering"),
    ("llama-perplexity", "llama_context: n_ctx is not divisible by n_seq_max - rounding down to 1280"),
    (
        "llama-quantize",
        "warning: blk.0.attn_k.weight - ncols    576 not divisible by 256 (required for type    q4_K) -> falling back",
    ),
    (
        "llama-quantize",
        "WARNING: dry run completed successfully, but actually completing this quantization will require an imatrix!",
    ),
    ("hf-to-gguf", "Unknown RoPE type: default"),
    ("gguf.vocab", "Unknown separator token '<s>' in TemplateProcessing<pair>"),
)


def test_known_noise_stays_in_the_log_with_the_reason() -> None:
    with capture_logs() as logged:
        for source, message in SEEN:
            library_warnings.tell(source, message)
    assert {(one["event"], one["log_level"]) for one in logged} == {("library.noise", "debug")}
    assert [one["why"] for one in logged] == [noise.why for noise in library_warnings.KNOWN]


def test_the_same_words_of_another_source_and_tokens_that_matter_are_told() -> None:
    others = [
        ("llamas", "n_ctx is not divisible by n_seq_max"),
        ("transformers.trainer_utils", "new PAD/BOS/EOS tokens differ. Updated tokens: {'eos_token_id': 7}."),
    ]
    with capture_logs() as logged:
        for source, message in others:
            library_warnings.tell(source, message)
    assert told(logged) == others


def test_a_secret_in_a_warning_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(stream=sys.stdout)
    library_warnings.forward()
    logging.getLogger("somebodys").warning("no access with hf_%s", "a" * 30)
    said = capsys.readouterr().out
    assert MASK in said and "aaaa" not in said


LLAMA = """
0.00.008.922 W llama_context: n_ctx_seq (512) > n_ctx_train (256) -- possible training context overflow
0.00.008.923 I llama_context: n_ctx = 512
0.00.008.924 E common_init: failed to fit params
main: WARNING: 3 of 21 tensor(s) required fallback quantization
[1]5.1,
"""


def test_llama_cpps_warnings_are_told_without_their_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "llama-quantize"
    program.write_text(f"#!{sys.executable}\nimport sys; sys.stderr.write({LLAMA!r})\n")
    program.chmod(0o755)
    monkeypatch.setattr("job.llama_cpp.bundle.program", lambda name: tmp_path / name)
    with capture_logs() as logged:
        for _ in range(2):
            offload.run("llama-quantize", [], gguf=tmp_path / "m.gguf", error=RuntimeError)  # type: ignore[arg-type]
    assert told(logged) == [
        ("llama-quantize", "llama_context: n_ctx_seq (512) > n_ctx_train (256) -- possible training context overflow"),
        ("llama-quantize", "common_init: failed to fit params"),
        ("llama-quantize", "WARNING: 3 of 21 tensor(s) required fallback quantization"),
    ]


def test_a_process_that_forwards_prints_no_warning_itself() -> None:
    script = """
import logging, warnings
from job import library_warnings, logs
logs.configure()
library_warnings.forward()
logging.getLogger("somebodys").warning("one")
warnings.warn("two")
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ, cwd=Path.cwd()
    )
    assert ended.stderr == ""
    assert [line.count('"library.warning"') for line in ended.stdout.splitlines()] == [1, 1]
