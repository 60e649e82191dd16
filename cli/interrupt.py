"""Ctrl-C and SIGTERM: the first one cancels the run, the second one ends at once.

A Python signal handler has to wait for the C call that is running, and one batch may take
seconds. So the C-level handler writes the signal's number to a pipe, and a thread that reads the
pipe cancels the run, which stops ONNX Runtime inside the batch.
"""

import os
import signal
import threading
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
    """What the handler, the thread and the command share."""

    received: int | None = None
    token: Cancellable | None = None
    blocked = False


_state = _State()


def received_signal() -> int | None:
    """Return the number of the first signal of this process, or None."""
    return _state.received


@contextmanager
def cancelling(token: Cancellable) -> Iterator[None]:
    """Let a signal cancel `token` instead of raising, while the block runs.

    Raises:
        Interrupted: after the block, if a signal came and the block ended without an error.
    """
    _state.token = token
    try:
        if _state.received is not None:
            token.cancel()
        yield
    finally:
        _state.token = None
    if _state.received is not None:
        raise Interrupted(_state.received)


@contextmanager
def waiting_for_input() -> Iterator[None]:
    """Let a signal raise out of a blocking read, although a token is there to be cancelled."""
    _state.blocked = True
    try:
        if _state.received is not None:
            raise Interrupted(_state.received)
        yield
    finally:
        _state.blocked = False


def _handle(signum: int, frame: FrameType | None) -> None:
    _state.received = _state.received or signum
    if _state.token is None or _state.blocked:
        raise Interrupted(signum)


def _watch(reader: int) -> None:
    seen = 0
    while data := os.read(reader, 16):
        for signum in data:
            if signum not in (signal.SIGINT, signal.SIGTERM):
                continue
            seen += 1
            if seen > 1:
                os._exit(128 + signum)
            token = _state.token
            if token is not None:
                token.cancel()


@contextmanager
def watch_signals() -> Iterator[None]:
    """Install the handlers for the life of the command."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _handle)
    yield
