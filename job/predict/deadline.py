"""The Job's deadline. It imports nothing: what only lists runs needs no prediction."""

WEEK_S = 7 * 24 * 3600


def deadline_s(most: float | None) -> int:
    """The Job's activeDeadlineSeconds: seven days, or three times the estimate at most if that is more. It includes the
    time that a pod is pending, and starts again at each resume."""
    return max(WEEK_S, int(3 * (most or 0)))
