"""The launcher's own faults, codes 10 to 20; a run's codes (job/errors.py) begin at 64, so the two never overlap."""

from collections.abc import Iterator
from typing import ClassVar

from job.errors import Fault


class LauncherError(Fault):
    """A fault of the launcher itself."""

    code: ClassVar[int] = 19


class ClusterUnreachable(LauncherError):
    """No cluster: no kubeconfig, no such context, or an API server that does not answer."""

    code = 10


class AccessDenied(LauncherError):
    """The API server does not know this user, or does not allow a verb on a resource."""

    code = 11


class ObjectNotFound(LauncherError):
    """A run, a namespace, a queue or a Secret does not exist."""

    code = 12


class AlreadyThere(LauncherError):
    """The same run exists already, or something was changed meanwhile."""

    code = 13


class AdmissionRefused(LauncherError):
    """A quota or an admission rule of the cluster refuses the Job or its pods."""

    code = 14


class GpuUnavailable(LauncherError):
    """This cluster has no such GPU, or none that the run fits into."""

    code = 15


class SettingsInvalid(LauncherError):
    """The deployment settings or the command line are wrong (a wrong spec is 64, as in the run)."""

    code = 16


class WaitedTooLong(LauncherError):
    """--timeout has passed; the run itself goes on."""

    code = 17


class RunAborted(LauncherError):
    """The run ended without an exit code of its own: cancelled, past its deadline, its pods lost."""

    code = 18


class LauncherBug(LauncherError):
    """An unexpected error: a bug."""

    code = 19


class ImageUnavailable(LauncherError):
    """A pod of the run has not been able to pull its image for 15 minutes. It holds its node."""

    code = 20


def every_error() -> Iterator[type[LauncherError]]:
    """Each fault that has an exit code of its own, by code."""
    return iter(sorted(LauncherError.__subclasses__(), key=lambda error: error.code))
