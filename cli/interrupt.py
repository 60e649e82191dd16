"""Ctrl-C and SIGTERM: the first one cancels the run, the second one ends at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol


class Cancellable(Protocol):
    """What a run hands over to be cancelled: a `CancelToken`."""

    def cancel(self) -> None: ...


class Interrupted(KeyboardInterrupt):
    """A signal ended the command; `signum` says which (SIGINT 2, SIGTERM 15)."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class _State:
    received: int | None = None
    token: Cancellable | None = None
    waiting = False


_state = _State()  # one process has one set of signals


@contextmanager
def cancelling(token: Cancellable) -> Iterator[None]:
    """Let a signal cancel `token` within the block, instead of raising in the middle of a record.

    Raises:
        Interrupted: at the end of the block, if a signal came.
    """
    _state.token = token
    try:
        yield
    finally:
        _state.token = None
        if _state.received is not None:
            raise Interrupted(_state.received)


@contextmanager
def waiting_for_input() -> Iterator[None]:
    """Let a signal raise out of a blocking read, although there is a token to cancel."""
    _state.waiting = True
    try:
        if _state.received is not None:
            raise Interrupted(_state.received)
        yield
    finally:
        _state.waiting = False


def _handle(signum: int, frame: FrameType | None) -> None:
    if _state.received is not None:
        os._exit(128 + signum)
    _state.received = signum
    if _state.token is not None:
        _state.token.cancel()
    if _state.token is None or _state.waiting:
        raise Interrupted(signum)


def handle_signals() -> None:
    """Install the handlers for the life of the process."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _handle)
