"""The launcher's exit codes."""

from job.errors import every_error as every_error_of_the_run
from k8s.errors import LauncherError, every_error

DOCUMENTED = {
    "ClusterUnreachable": 10,
    "AccessDenied": 11,
    "ObjectNotFound": 12,
    "AlreadyThere": 13,
    "AdmissionRefused": 14,
    "GpuUnavailable": 15,
    "SettingsInvalid": 16,
    "WaitedTooLong": 17,
    "RunAborted": 18,
    "LauncherBug": 19,
    "ImageUnavailable": 20,
}


def test_the_errors_are_those_of_the_table() -> None:
    assert {error.__name__: error.code for error in every_error()} == DOCUMENTED


def test_no_code_is_one_of_the_runs() -> None:
    assert not set(DOCUMENTED.values()) & {error.code for error in every_error_of_the_run()}


def test_an_error_says_what_and_what_next() -> None:
    assert str(LauncherError("what", hint="next")) == "what\nnext"
