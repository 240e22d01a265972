"""The exit codes, and what Kubernetes does at each."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from job import errors
from job.errors import JobError, every_error
from k8s.errors import every_error as every_error_of_the_launcher
from tests import ROOT

DOCUMENTED = {
    "UsageInvalid": (2, "FailJob"),
    "SpecInvalid": (64, "FailJob"),
    "DataInvalid": (65, "FailJob"),
    "NotFound": (66, "FailJob"),
    "RemoteUnavailable": (69, "Count"),
    "Bug": (70, "Count"),
    "StorageFailed": (74, "Count"),
    "StoppedSaved": (75, "Ignore"),
    "StoppedUnsaved": (76, "Count"),
    "CredentialsRejected": (77, "FailJob"),
    "EnvironmentUnfit": (78, "FailJob"),
    "DiedSilently": (79, "FailJob"),
    "CudaOutOfMemory": (80, "FailJob"),
    "QualityRejected": (81, "FailJob"),
    "IntegrityViolated": (82, "FailJob"),
    "PeerActive": (83, "Ignore"),
    "LeaseHeld": (84, "Count"),
    "CostExceeded": (85, "FailJob"),
}


def test_the_errors_are_those_of_the_table_with_their_codes_and_what_kubernetes_does() -> None:
    assert {error.__name__: (error.code, error.kubernetes) for error in every_error()} == DOCUMENTED


def test_every_error_class_of_the_module_is_in_the_table() -> None:
    classes = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, JobError)}
    assert classes - {JobError} == set(every_error())


def test_no_two_errors_share_a_code() -> None:
    codes = [error.code for error in every_error()]
    assert len(set(codes)) == len(codes) and codes == sorted(codes)


def test_no_code_is_one_that_a_shell_a_signal_or_the_launcher_uses() -> None:
    taken = {0, 1, *range(10, 20), *range(126, 256)}
    codes = [error.code for error in every_error() if error is not errors.UsageInvalid]
    assert all(code not in taken and 64 <= code <= 113 for code in codes)


def test_the_code_of_a_wrong_command_line_is_the_parsers_own() -> None:
    assert errors.UsageInvalid.code == click.UsageError.exit_code


@pytest.mark.parametrize("program", ["job", "k8s.launch", "push"])
@pytest.mark.parametrize("words", [["no-such-command"], ["--no-such-option"]], ids=" ".join)
def test_a_command_line_that_no_program_has_exits_2_everywhere(program: str, words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", program, *words], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stdout) == (errors.UsageInvalid.code, ""), done.stderr
    assert "No such" in done.stderr


def test_the_page_of_exit_codes_has_each_of_them_once() -> None:
    table = re.findall(r"^\| ([\d, ]+) \|", (ROOT / "docs" / "exit-codes.md").read_text(), flags=re.M)
    codes = [int(code) for cell in table for code in cell.split(",")]
    assert codes == sorted(error.code for error in every_error())


def test_the_launchers_page_has_each_of_the_launchers_codes() -> None:
    table = re.findall(r"^\| ([12]\d) \|", (ROOT / "docs" / "launcher.md").read_text(), flags=re.M)
    assert list(map(int, table)) == [error.code for error in every_error_of_the_launcher()]


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: error.__name__)
def test_each_error_says_what_it_means(error: type[JobError]) -> None:
    assert error.__doc__ and error.__doc__.strip() != (JobError.__doc__ or "").strip()
    assert error.kubernetes in ("FailJob", "Ignore", "Count")


def test_an_error_reads_as_its_message_and_then_what_to_do_next() -> None:
    assert str(errors.NotFound("there is no x", hint="Write y.")) == "there is no x\nWrite y."
    assert str(errors.NotFound("there is no x")) == "there is no x"


def raised(make: Callable[[], Exception], cause: Exception | None) -> Exception:
    try:
        raise make() from cause
    except Exception as error:
        return error


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/work/train/x")


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        raised(lambda: RuntimeError("cannot generate the data set"), FULL),
        raised(lambda: ValueError("cannot save"), raised(lambda: RuntimeError("any"), FULL)),
        Exception("I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:595] . PytorchStreamWriter failed writing file data/0"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
    ids=["bare", "wrapped", "wrapped twice", "by Rust", "by PyTorch", "quota"],
)
def test_a_full_disk_is_told_as_one_whoever_wraps_it(error: Exception) -> None:
    found = errors.named(error)
    assert type(found) is errors.StorageFailed
    assert "FINETUNE_WORK" in found.hint
