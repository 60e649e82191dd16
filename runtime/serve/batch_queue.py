"""Windows of many requests, waiting to be computed together.

A batch starts with the longest window of the request whose turn it is, so that every request goes
on, however large the others are. The rest of the batch is whatever is closest in length below, of
any request, so that padding stays small.
"""

import threading
from bisect import bisect_left, bisect_right, insort
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedge.runtime.serve.job import Job


class Window:
    """One sequence of a request: `ids` without special tokens, `row` its place in the job."""

    __slots__ = ("ids", "is_taken", "job", "length", "row")

    def __init__(self, job: "Job", row: int, ids: "NDArray[np.int32]", length: int) -> None:
        self.job = job
        self.row = row
        self.ids = ids
        self.length = length
        self.is_taken = False


class _Share:
    """What one job still has in the queue: windows by length, taken ones included."""

    def __init__(self) -> None:
        self.windows: list[Window] = []
        self.left = 0
        self.tokens = 0

    def add(self, windows: list[Window]) -> None:
        self.windows += windows
        self.windows.sort(key=_length)
        self.left += len(windows)
        self.tokens += sum(window.length for window in windows)

    def longest(self) -> Window:
        while self.windows[-1].is_taken:
            self.windows.pop()
        return self.windows[-1]


def _length(window: Window) -> int:
    return window.length


class BatchQueue:
    """Thread-safe: any thread puts and drops, one thread takes."""

    def __init__(self, budget_tokens: int, max_texts: int | None = None) -> None:
        """Set the padded tokens, and the sequences, of one batch."""
        self._budget = budget_tokens
        self._most = max_texts or budget_tokens
        self._sorted: list[Window] = []  # by length
        self._shares: dict[Job, _Share] = {}
        self._turns: deque[Job] = deque()
        self._tokens = 0
        self._is_closed = False
        self._changed = threading.Condition()

    @property
    def tokens(self) -> int:
        """Tokens that wait."""
        return self._tokens

    def waiting_of_jobs(self) -> "dict[Job, int]":
        """Return the tokens of each job that wait."""
        with self._changed:
            return {job: share.tokens for job, share in self._shares.items()}

    def put(self, windows: list[Window]) -> None:
        """Add windows of one job; after `close` they are forgotten."""
        if not windows:
            return
        with self._changed:
            if self._is_closed:
                return
            job = windows[0].job
            if job not in self._shares:
                self._shares[job] = _Share()
                self._turns.append(job)
            for window in windows:
                insort(self._sorted, window, key=_length)
                self._tokens += window.length
            self._shares[job].add(windows)
            self._changed.notify()

    def take(self) -> list[Window] | None:
        """Wait for work and return the next batch, None once the queue is closed."""
        with self._changed:
            while not self._sorted and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                return None
            return self._next_batch()

    def drop(self, job: "Job") -> None:
        """Forget the windows of a job."""
        with self._changed:
            if self._shares.pop(job, None) is None:
                return
            self._turns.remove(job)
            self._tokens -= sum(w.length for w in self._sorted if w.job is job)
            self._sorted = [window for window in self._sorted if window.job is not job]

    def close(self) -> None:
        """Give out nothing more."""
        with self._changed:
            self._is_closed = True
            self._shares.clear()
            self._turns.clear()
            self._sorted.clear()
            self._tokens = 0
            self._changed.notify_all()

    def _next_batch(self) -> list[Window]:
        first = self._next_turn()
        lengths = self._sorted
        at = bisect_left(lengths, first.length, key=_length)
        del lengths[lengths.index(first, at)]
        room = min(self._most, max(1, self._budget // max(1, first.length))) - 1
        end = bisect_right(lengths, first.length, key=_length)
        start = max(0, end - room)
        # Nothing shorter left: take longer ones as long as all of them fit when padded.
        while start == 0 and end < len(lengths) and end + 1 < self._most:
            if lengths[end].length * (end + 2) > self._budget:
                break
            end += 1
        batch = [first, *lengths[start:end]]
        del lengths[start:end]
        for window in batch:
            window.is_taken = True
            self._tokens -= window.length
            share = self._shares[window.job]
            share.left -= 1
            share.tokens -= window.length
            if share.left == 0:
                del self._shares[window.job]
                self._turns.remove(window.job)
        return batch

    def _next_turn(self) -> Window:
        """Return the longest window of the next job, and let the job queue up again."""
        job = self._turns.popleft()
        self._turns.append(job)
        return self._shares[job].longest()
