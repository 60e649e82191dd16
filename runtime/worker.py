"""One thread that runs jobs in order, so that the callers stay free to receive signals.

Python handles a signal only between two byte codes of the main thread: a graph that ran there
would hold Ctrl-C back until its batch ends.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

# Waiting without a limit cannot be interrupted on Windows.
_WAIT_S = 0.2


class Job(Generic[T]):
    """A call handed to the worker; `result` waits for it."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._finished = threading.Event()
        self._value: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run the call in the worker's thread and keep its value or its error."""
        try:
            self._value.append(self._call())
        except BaseException as error:  # handed to the caller by `result`
            self._error = error
        finally:
            self._finished.set()

    def wait(self) -> None:
        """Return when the call has ended; a signal handler may raise from here."""
        while not self._finished.wait(_WAIT_S):
            pass

    def result(self) -> T:
        """Wait, then return the value or raise the error of the call."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._value[0]


class Worker:
    """A daemon thread that runs jobs first in, first out."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job[object] | None] = SimpleQueue()
        # The thread holds the queue, not the worker, so that an unused worker is collected.
        threading.Thread(
            target=_work, args=(self._jobs,), name="embedge-graph", daemon=True
        ).start()

    def submit(self, call: Callable[[], T]) -> Job[T]:
        """Queue `call`."""
        job = Job(call)
        self._jobs.put(job)  # type: ignore[arg-type]  # a queue of jobs of any type
        return job

    def stop(self) -> None:
        """End the thread after the jobs that wait already."""
        self._jobs.put(None)

    def __del__(self) -> None:
        self.stop()


def _work(jobs: "SimpleQueue[Job[object] | None]") -> None:
    while (job := jobs.get()) is not None:
        job.run()
        del job  # keep no result alive while waiting
