"""What is asked for: one frozen model of every option, where it comes from, and how its faults are reported."""

from job.spec.spec import JobSpec

__all__ = ["JobSpec"]
