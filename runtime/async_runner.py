"""Run blocking calls for an event loop: one thread, a bounded queue, cancellation both ways."""

import asyncio
import os
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from embedge.runtime.cancel import CancelToken

T = TypeVar("T")

# Calls that may wait for the thread per event loop; further ones wait in the loop.
MAX_WAITING = 64


class AsyncRunner:
    """One worker thread for all loops of a process."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedge-async")
        self._slots: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )
        self._pid = os.getpid()

    @property
    def is_mine(self) -> bool:
        """False in a forked child, where the thread does not exist."""
        return self._pid == os.getpid()

    async def run(self, call: Callable[[], T], cancel: CancelToken) -> T:
        """Await `call` on the worker thread; cancelling the task turns `cancel`."""
        loop = asyncio.get_running_loop()
        slots = self._slots.get(loop)
        if slots is None:
            slots = self._slots.setdefault(loop, asyncio.Semaphore(MAX_WAITING))
        async with slots:
            future = loop.run_in_executor(self._executor, call)
            try:
                return await future
            except asyncio.CancelledError:
                cancel.cancel()
                raise

    def close(self) -> None:
        """Take no further calls."""
        self._executor.shutdown(wait=False, cancel_futures=True)
