"""Progress of conversion steps (download, export, calibrate, quantize, measure)."""

from collections.abc import Callable

StepProgress = Callable[[str, int, int | None], None]
"""Called with the step's name, how much is done and the total (None while unknown)."""


def no_progress(step: str, done: int, total: int | None) -> None:
    """Report nothing."""
