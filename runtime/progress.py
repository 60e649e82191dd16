"""Progress events: one contract for callbacks, JSON lines and servers (interface 6)."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal, TextIO

from embedge.models.errors import Cancelled

Event = Literal["start", "progress", "file_error", "done"]
Status = Literal["done", "cancelled", "failed"]

MIN_INTERVAL_S = 0.1
# Weight of the newest interval in the smoothed rate.
_SMOOTHING = 0.3

_FIELDS: dict[Event, tuple[str, ...]] = {
    "start": ("files_total", "chunks_total", "space"),
    "progress": (
        "files_done", "files_total", "chunks_done", "chunks_total", "tokens_done",
        "tokens_per_s", "eta_s", "path",
    ),
    "file_error": ("path", "code", "message"),
    "done": (
        "status", "files_done", "errors", "chunks_done", "chunks_reused", "tokens_done", "seconds",
    ),
}  # fmt: skip

_runs = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class ProgressEvent:
    """One event. Fields that do not belong to its kind keep their defaults.

    Counts never fall; unknown totals are None; rates are tokens per second; times are seconds.
    For `Embedder.encode` a chunk is one text and there are no files.
    """

    event: Event
    run: str
    space: str = ""
    files_done: int = 0
    files_total: int | None = None
    chunks_done: int = 0
    chunks_total: int | None = None
    chunks_reused: int = 0
    tokens_done: int = 0
    tokens_per_s: float | None = None
    eta_s: float | None = None
    path: str | None = None
    code: str = ""
    message: str = ""
    status: Status = "done"
    errors: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, object]:
        """Return the fields of this kind of event, as JSON readers get them."""
        values = asdict(self)
        return {"event": self.event, "run": self.run} | {
            name: values[name] for name in _FIELDS[self.event]
        }


ProgressCallback = Callable[[ProgressEvent], None]


class ProgressMeter:
    """Counts work and calls back: `start` and `done` always, `progress` at most ten times a second.

    Everything runs on the thread that counts. A callback that raises ends the run with its own
    error and is not called again.
    """

    def __init__(
        self,
        callback: ProgressCallback | None,
        *,
        space: str,
        files_total: int | None = None,
        chunks_total: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._callback = callback
        self._space = space
        self._clock = clock
        self.run = f"r{next(_runs)}"
        self.files_total = files_total
        self.chunks_total = chunks_total
        self._files = self._chunks = self._reused = self._tokens = self._errors = 0
        self._path: str | None = None
        self._rate: float | None = None
        self._begun = self._sent_at = self._counted_at = clock()
        self._sent_tokens = 0

    @property
    def chunks_done(self) -> int:
        """Chunks (texts, for `encode`) finished so far."""
        return self._chunks

    @contextmanager
    def running(self) -> Iterator["ProgressMeter"]:
        """Send `start`, and `done` with the status that the block ends with."""
        self._begun = self._sent_at = self._clock()
        self._send("start")
        try:
            yield self
        except (Cancelled, KeyboardInterrupt, GeneratorExit):
            self._send_done("cancelled")
            raise
        except BaseException:
            self._send_done("failed")
            raise
        self._send_done("done")

    def advance(
        self,
        *,
        files: int = 0,
        chunks: int = 0,
        reused: int = 0,
        tokens: int = 0,
        path: str | None = None,
        tokens_left: int | None = None,
    ) -> None:
        """Add finished work; `tokens_left` is what is known to remain, for `eta_s`."""
        self._files += files
        self._chunks += chunks
        self._reused += reused
        self._tokens += tokens
        self._path = path if path is not None else self._path
        now = self._clock()
        passed = now - self._sent_at
        if passed < MIN_INTERVAL_S:
            return
        rate = (self._tokens - self._sent_tokens) / passed
        self._rate = rate if self._rate is None else self._rate + _SMOOTHING * (rate - self._rate)
        self._sent_at, self._sent_tokens = now, self._tokens
        self._send("progress", eta_s=self._eta(tokens_left))

    def file_error(self, path: str, code: str, message: str) -> None:
        """Report one failed input."""
        self._errors += 1
        self._path = path
        self._send("file_error", code=code, message=message)

    def _eta(self, tokens_left: int | None) -> float | None:
        if not self._rate:
            return None
        if tokens_left is None:
            if not self.chunks_total or not self._chunks:
                return None
            left = self.chunks_total - self._chunks
            tokens_left = left * self._tokens // self._chunks
        return round(tokens_left / self._rate, 1)

    def _send_done(self, status: Status) -> None:
        self._send("done", status=status)

    def _send(
        self,
        event: Event,
        *,
        status: Status = "done",
        eta_s: float | None = None,
        code: str = "",
        message: str = "",
    ) -> None:
        callback = self._callback
        if callback is None:
            return
        # Called again only if it returns.
        self._callback = None
        callback(
            ProgressEvent(
                event=event,
                run=self.run,
                space=self._space,
                files_done=self._files,
                files_total=self.files_total,
                chunks_done=self._chunks,
                chunks_total=self.chunks_total,
                chunks_reused=self._reused,
                tokens_done=self._tokens,
                tokens_per_s=None if self._rate is None else round(self._rate, 1),
                eta_s=eta_s,
                path=self._path,
                code=code,
                message=message,
                status=status,
                errors=self._errors,
                seconds=round(self._clock() - self._begun, 3),
            )
        )
        self._callback = callback


def text_bar(stream: TextIO | None = None) -> ProgressCallback:
    """Return a callback that keeps one line on `stream` (stderr) up to date."""

    def show(event: ProgressEvent) -> None:
        out = stream or sys.stderr
        if event.event == "progress":
            total = "" if event.chunks_total is None else f"/{event.chunks_total}"
            rate = f"{event.tokens_per_s or 0:.0f} tokens/s"
            out.write(f"\r{event.chunks_done}{total} texts, {rate}")
        elif event.event == "done":
            out.write(f"\r{event.chunks_done} texts in {event.seconds:.1f} s\n")
        out.flush()

    return show
