"""The errors of a run, each with its exit code and whether a retry can help.

The codes follow sysexits.h where it has one for the case; 2 is what every command line parser exits with. The Job's
podFailurePolicy is derived from `JobError.kubernetes`
(https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy): ``FailJob`` ends the Job,
``Ignore`` starts a new pod that is not counted, ``Count`` counts towards backoffLimit.
"""

import errno
import os
from collections.abc import Iterator
from typing import ClassVar, Literal

Action = Literal["FailJob", "Ignore", "Count"]


class Fault(Exception):
    """A fault with a name and an exit code. `hint` says what to do next, in one or two sentences."""

    code: ClassVar[int]

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class JobError(Fault):
    """An error of a run; `kubernetes`: what its Job does then."""

    code: ClassVar[int] = 70
    kubernetes: ClassVar[Action] = "Count"


class UsageInvalid(JobError):
    """There is no such command, option or value of an option."""

    code = 2  # the command line parser itself exits with it
    kubernetes = "FailJob"


class SpecInvalid(JobError):
    """The spec cannot be used as it is written."""

    code = 64
    kubernetes = "FailJob"


class DataInvalid(JobError):
    """The data set cannot be used: no rows, too many broken rows, an unknown row format."""

    code = 65
    kubernetes = "FailJob"


class NotFound(JobError):
    """A model, a data set, a file or a bucket does not exist."""

    code = 66
    kubernetes = "FailJob"


class RemoteUnavailable(JobError):
    """A remote service does not answer, or answers with an error of its own, after retries."""

    code = 69


class Bug(JobError):
    """An unexpected error: a bug."""

    code = 70


class StorageFailed(JobError):
    """Reading or writing failed here: disk full, file system read-only."""

    code = 74


class StoppedSaved(JobError):
    """Stopped by SIGTERM; the progress is in the store, and the next attempt continues from it."""

    code = 75
    kubernetes = "Ignore"


class StoppedUnsaved(JobError):
    """Stopped by SIGTERM before there was anything new to save.

    It counts: the kubelet ends a pod that exceeds its disk limit with SIGTERM too, and without a DisruptionTarget. What
    a cluster does to a pod by its own will is ignored because of that condition.
    """

    code = 76


class CredentialsRejected(JobError):
    """Credentials are missing, wrong or too weak; a licence is not accepted; a file cannot be read."""

    code = 77
    kubernetes = "FailJob"


class EnvironmentUnfit(JobError):
    """What the job runs on cannot do this: too little memory or disk, an old driver, no llama.cpp."""

    code = 78
    kubernetes = "FailJob"


class DiedSilently(JobError):
    """The job ended at the same point without a message too often, or makes no progress."""

    code = 79
    kubernetes = "FailJob"


class CudaOutOfMemory(JobError):
    """The GPU's memory is too small, even with half the micro-batch."""

    code = 80
    kubernetes = "FailJob"


class QualityRejected(JobError):
    """The result is worse than what the spec allows: NaN loss, a quality gate."""

    code = 81
    kubernetes = "FailJob"


class IntegrityViolated(JobError):
    """A file does not match its hash, or a model repository contains code or pickles, which are never run or read."""

    code = 82
    kubernetes = "FailJob"


class PeerActive(JobError):
    """A live attempt of the same Job holds the lease."""

    code = 83
    kubernetes = "Ignore"


class LeaseHeld(JobError):
    """Another Job holds the lease. Retried: after `helm upgrade` that is the old Job, which is being stopped."""

    code = 84
    kubernetes = "Count"


class CostExceeded(JobError):
    """The run has cost as much as it may; its progress is in the store."""

    code = 85
    kubernetes = "FailJob"


def kind_of(error: JobError) -> type[JobError]:
    """The error's class here, which every process knows: a module may have a narrower one of its own."""
    return next(one for one in type(error).__mro__ if one.__module__ == __name__)


def named(error: Exception) -> JobError:
    """The JobError for an exception that no caller has translated: an OSError with a number is the system's, anything
    else a bug.

    A retry does not change a file's permissions, but may find a disk with free space.
    """
    if isinstance(error, JobError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name and "." not in error.name:  # a package, not a part of one
        return EnvironmentUnfit(
            f"the Python package {error.name} is not installed",
            hint="Install the job with what it needs: pip install '.[job]' in the checkout.",
        )
    if full := _disk_fault(error):
        return StorageFailed(full, hint=DISK_HINT)
    if not isinstance(error, OSError) or error.errno is None:  # libraries raise OSError without a number too
        return Bug(f"{type(error).__name__}: {error}", hint="This is a bug; the log has its traceback.")
    if isinstance(error, PermissionError) and error.filename:
        return CredentialsRejected(
            f"{error.filename}: permission denied to user {os.getuid()}",
            hint="Allow that user or its group to read it (chmod g+rX), or run as its owner.",
        )
    return StorageFailed(f"{type(error).__name__}: {error}", hint="Check whether the disk is full or read-only.")


DISK_HINT = "Free space there, or set FINETUNE_WORK to a folder on another disk."
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
_DISK_TEXT = (
    "No space left on device",
    "Disk quota exceeded",
    "PytorchStreamWriter failed writing",
    "Not enough disk space",
)
"""What libraries say of a full disk in errors without a number: those in Rust and C++, PyTorch, datasets."""


def _disk_fault(error: BaseException | None) -> str:
    """The message about the disk in an error or in what caused it, which libraries wrap; else an empty text."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _DISK:
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{error.strerror or error}"
        if any(text in str(error) for text in _DISK_TEXT):
            return str(error).strip().splitlines()[-1]
        error = error.__cause__ or error.__context__
    return ""


def every_error() -> Iterator[type[JobError]]:
    """Each error that has an exit code of its own, by code."""
    return iter(sorted(JobError.__subclasses__(), key=lambda error: error.code))
