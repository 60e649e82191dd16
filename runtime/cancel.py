"""Stop a run from another thread or from a signal handler, also inside a running batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from embedge.models.errors import Cancelled


class CancelToken:
    """A switch that is turned once; give the same token to one or several runs.

    No lock is taken anywhere, so `cancel()` is safe in a signal handler that interrupts the very
    thread that uses the token.
    """

    def __init__(self) -> None:
        self._cancelled = False
        self._stops: dict[int, Callable[[], None]] = {}

    @property
    def cancelled(self) -> bool:
        """True once `cancel()` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """End every run that uses this token: at once inside a batch, else before the next."""
        # The flag comes first: a run that attaches after the loop below sees it by itself.
        self._cancelled = True
        for stop in list(self._stops.values()):
            stop()

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled once the switch is turned."""
        if self._cancelled:
            raise Cancelled("the run was cancelled before it ended; start it again to continue")

    @contextmanager
    def attached(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop` when the token is cancelled within the block, also if it already was."""
        key = id(stop)
        self._stops[key] = stop
        try:
            if self._cancelled:
                stop()
            yield
        finally:
            self._stops.pop(key, None)
