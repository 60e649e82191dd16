"""The threads behind HTTP: two tokenize, short texts and long ones, and one runs the graph.

None ever waits for a client. Requests share batches; a large one is tokenized and computed in
slices between the others.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from embedge.models.errors import BackendError, EmbedgeError, Overloaded
from embedge.runtime.cancel import CancelToken
from embedge.runtime.serve.batch_queue import BatchQueue, Window
from embedge.runtime.serve.failures import stopping
from embedge.runtime.serve.job import Encoder, Job

# One turn of a request at the tokenizer.
_SLICE_TEXTS = 64
_SLICE_CHARS = 20_000
# Weight of the newest batch in the smoothed rate.
_SMOOTHING = 0.2
_LONGEST_RETRY_S = 60
# A batch ends so long after it was cancelled, and some more.
_CANCEL_S = 1.0

OnBatch = Callable[[int, int], None]
"""Called after every batch with its sequences and its tokens."""


class Compute:
    """Takes jobs while it runs; refuses more than it can finish in time."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        n_special: int,
        budget_tokens: int,
        max_texts: int | None = None,
        max_jobs: int = 512,
        max_wait_s: float = 60.0,
        on_batch: OnBatch | None = None,
    ) -> None:
        """Start the threads.

        Args:
            encoder: tokenizer and graph.
            n_special: special tokens around every sequence.
            budget_tokens: padded tokens of one batch.
            max_texts: sequences of one batch at most.
            max_jobs: jobs that wait or compute at one time.
            max_wait_s: no job is taken that would wait longer for its turn, by the measured rate.
            on_batch: for metrics.
        """
        self._encoder = encoder
        self._n_special = n_special
        self._max_jobs = max_jobs
        self._max_wait_s = max_wait_s
        self._on_batch = on_batch
        self._budget = budget_tokens
        self._queue = BatchQueue(budget_tokens, max_texts)
        self._jobs: set[Job] = set()
        # Not tokenized yet; a long text must not stand before short ones.
        self._raw: tuple[deque[Job], deque[Job]] = (deque(), deque())
        self._raw_tokens: dict[Job, int] = {}  # estimated
        self._rate: float | None = None  # tokens per second
        self._is_stopped = False
        self._cancel = CancelToken()
        self._changed = threading.Condition(threading.RLock())
        self._threads = [
            threading.Thread(target=target, args=args, name=f"embedge-{name}", daemon=True)
            for name, target, args in (
                ("tokens", self._tokenize, (self._raw[0],)),
                ("long-tokens", self._tokenize, (self._raw[1],)),
                ("batches", self._compute, ()),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting_tokens(self) -> int:
        """Tokens that wait, those of texts that are not tokenized yet estimated."""
        with self._changed:
            return self._queue.tokens + sum(self._raw_tokens.values())

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            Overloaded: too many wait; `retry_after` follows from the measured rate.
            Unavailable: the server stops.
        """
        with self._changed:
            if self._is_stopped:
                raise stopping()
            wait = self._expected_wait()
            if len(self._jobs) >= self._max_jobs or (self._jobs and wait > self._max_wait_s):
                seconds = min(_LONGEST_RETRY_S, max(1, math.ceil(wait)))
                raise Overloaded(
                    f"{len(self._jobs)} requests wait already; try again in {seconds} s",
                    seconds,
                )
            self._jobs.add(job)
            self._raw[job.is_long].append(job)
            self._raw_tokens[job] = sum(job.sizes)
            self._changed.notify_all()

    def drop(self, job: Job) -> None:
        """Forget a job that nobody waits for any more."""
        job.abandon()
        self._forget(job)

    def stop(self) -> None:
        """Let the running batch end, then fail every other job. Returns at once."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._queue.close()

    def join(self, timeout_s: float) -> None:
        """Wait for the threads after `stop`; a batch that takes longer is ended inside.

        A thread that runs native code while Python ends would take the process down with it.
        """
        end = time.monotonic() + timeout_s
        for last_wait in (False, True):
            for thread in self._threads:
                thread.join(_CANCEL_S if last_wait else max(0.0, end - time.monotonic()))
            self._cancel.cancel()

    def _expected_wait(self) -> float:
        """Return the seconds until a new job has its turn: one batch of each job before it."""
        if not self._rate:
            return 0.0
        waiting = self._queue.waiting_of_jobs()
        turns = (
            min(self._budget, waiting.get(job, 0) + self._raw_tokens.get(job, 0))
            for job in self._jobs
        )
        return sum(turns) / self._rate

    def _forget(self, job: Job) -> None:
        self._queue.drop(job)
        with self._changed:
            self._jobs.discard(job)
            self._raw_tokens.pop(job, None)
            for lane in self._raw:
                if job in lane:
                    lane.remove(job)

    def _end(self, job: Job, error: EmbedgeError) -> None:
        job.fail(error)
        self._forget(job)

    # --- the threads of the tokenizer ---

    def _tokenize(self, lane: deque[Job]) -> None:
        while (job := self._next_raw(lane)) is not None:
            try:
                windows = self._slice(job)
            except EmbedgeError as error:
                self._end(job, error)
                continue
            except Exception as error:  # a fault of ours must not end the thread; chained
                self._end(job, _fault("tokenizer", error))
                continue
            with self._changed:
                if not job.is_prepared and not job.has_ended:
                    lane.append(job)
            if not job.has_ended:
                self._queue.put(windows)
                if job.has_ended:  # dropped meanwhile
                    self._queue.drop(job)

    def _next_raw(self, lane: deque[Job]) -> Job | None:
        with self._changed:
            while not lane and not self._is_stopped:
                self._changed.wait()
            return None if self._is_stopped else lane.popleft()

    def _slice(self, job: Job) -> list[Window]:
        """Tokenize the next texts of a job."""
        import numpy as np

        work, start = job.work, job.next_text
        end, chars = start, 0
        while end < work.count and end - start < _SLICE_TEXTS and chars < _SLICE_CHARS:
            chars += 4 * job.sizes[end]
            end += 1
        with self._changed:
            if job in self._raw_tokens:
                self._raw_tokens[job] -= sum(job.sizes[start:end])
        if work.ids:
            prepared = [
                self._encoder.prepare_ids(np.array(ids, dtype=np.int32), work.settings)
                for ids in work.ids[start:end]
            ]
        else:
            texts = work.texts[start:end]
            self._encoder.learn(texts)
            prepared = [
                self._encoder.prepare(text, work.settings, keep_end=work.keep_end) for text in texts
            ]
        return [window for each in prepared for window in job.add(each, self._n_special)]

    # --- the graph's thread ---

    def _compute(self) -> None:
        while (batch := self._queue.take()) is not None:
            begun = time.perf_counter()
            try:
                pooled = self._encoder.pool([window.ids for window in batch], self._cancel)
            except EmbedgeError as error:
                for job in {window.job for window in batch}:
                    self._end(job, error)
                continue
            except Exception as error:  # as above
                for job in {window.job for window in batch}:
                    self._end(job, _fault("graph", error))
                continue
            tokens = sum(window.length for window in batch)
            self._measure(tokens, time.perf_counter() - begun)
            for window, row in zip(batch, pooled, strict=True):
                window.job.store(window.row, row)
                if window.job.has_ended:
                    self._forget(window.job)
            if self._on_batch is not None:
                self._on_batch(len(batch), tokens)
        for job in list(self._jobs):
            self._end(job, stopping())

    def _measure(self, tokens: int, seconds: float) -> None:
        rate = tokens / max(seconds, 1e-9)
        self._rate = rate if self._rate is None else self._rate + _SMOOTHING * (rate - self._rate)


def _fault(where: str, error: Exception) -> BackendError:
    fault = BackendError(f"{where}: {type(error).__name__}. This is a bug; please report it")
    fault.__cause__ = error
    return fault
