"""One request's texts on their way to vectors."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from embedge.models.errors import BackendError, EmbedgeError
from embedge.models.space import Space
from embedge.runtime.cancel import CancelToken
from embedge.runtime.encode_options import EncodeSettings
from embedge.runtime.encoding import Prepared, join_windows, usable_rows
from embedge.runtime.results import TextInfo
from embedge.runtime.serve.batch_queue import Window

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


LONG_TOKENS = 10_000
"""Tokenizing as many takes a tenth of a second."""


class Encoder(Protocol):
    """The part of `TextEncoder` that serving needs."""

    def learn(self, texts: Sequence[str]) -> None:
        """Prepare for many texts at once."""

    def prepare(self, text: str, settings: EncodeSettings, *, keep_end: bool = False) -> Prepared:
        """Tokenize one text."""

    def prepare_ids(self, ids: "NDArray[np.int32]", settings: EncodeSettings) -> Prepared:
        """Take a text that comes as ids."""

    def pool(
        self, windows: "Sequence[NDArray[np.int32]]", cancel: CancelToken
    ) -> "NDArray[np.float32]":
        """Run one batch, (windows, hidden)."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one request asks for: `texts`, or `ids` of each text."""

    settings: EncodeSettings
    texts: Sequence[str] = ()
    ids: Sequence[Sequence[int]] = ()
    keep_end: bool = False

    @property
    def count(self) -> int:
        """Number of texts."""
        return len(self.texts) or len(self.ids)


@dataclass(frozen=True)
class Embeddings:
    """The answer: (texts, dim) float32, what became of every text, and the space."""

    vectors: "NDArray[np.float32]"
    info: list[TextInfo]
    space: Space


class Job:
    """Work with what is done of it. `finished` is called once, from any thread.

    Attributes:
        sizes: rough tokens of each text, before it is tokenized.
        is_long: one of the texts takes the tokenizer longer than a moment.
        next_text: the first text that is not tokenized yet.
        progressed_at: monotonic seconds of the last batch that held part of it.
    """

    def __init__(self, work: Work, finished: "Callable[[Job], None]") -> None:
        self.work = work
        self.sizes = [len(ids) for ids in work.ids] or [len(text) // 4 + 1 for text in work.texts]
        self.is_long = any(size > LONG_TOKENS for size in self.sizes)
        self.next_text = 0
        self.result: Embeddings | None = None
        self.error: EmbedgeError | None = None
        self.progressed_at = time.monotonic()
        self._finished = finished
        self._prepared: list[Prepared] = []
        self._rows: list[NDArray[np.float32] | None] = []
        self._open_rows = 0
        self._ended = False
        self._lock = threading.Lock()

    @property
    def is_prepared(self) -> bool:
        """True once every text has its tokens."""
        return self.next_text >= self.work.count

    @property
    def has_ended(self) -> bool:
        """True once there is a result or an error, or nobody waits any more."""
        return self._ended

    def add(self, prepared: Prepared, n_special: int) -> list[Window]:
        """Take the next tokenized text and return its windows."""
        with self._lock:
            self._prepared.append(prepared)
            first = len(self._rows)
            self._rows += [None] * len(prepared.windows)
            self._open_rows += len(prepared.windows)
            self.next_text += 1
        return [
            Window(self, first + number, ids, len(ids) + n_special)
            for number, ids in enumerate(prepared.windows)
        ]

    def store(self, row: int, pooled: "NDArray[np.float32]") -> None:
        """Take the mean of one window, (hidden,); the last one ends the job."""
        with self._lock:
            if self._ended:
                return
            # A copy: keeping one row must not keep its batch.
            self._rows[row] = pooled[: self.work.settings.dim].copy()
            self._open_rows -= 1
            self.progressed_at = time.monotonic()
            is_last = self.is_prepared and self._open_rows == 0
        if is_last:
            self._join()

    def fail(self, error: EmbedgeError) -> None:
        """End with an error."""
        self._end(error=error)

    def abandon(self) -> None:
        """Nobody waits any more; `finished` is not called."""
        with self._lock:
            self._ended = True

    def _join(self) -> None:
        import numpy as np

        pooled = np.stack([row for row in self._rows if row is not None])
        if not usable_rows(pooled).all():
            self.fail(
                BackendError(
                    "the model gave a vector with NaN, infinity or only zeros. Check the model "
                    "with `embed models verify` and `embed doctor --verify`."
                )
            )
            return
        settings = self.work.settings
        counts = [len(each.windows) for each in self._prepared]
        vectors = join_windows(pooled, counts, settings.normalize)
        info = [each.info for each in self._prepared]
        self._end(result=Embeddings(vectors, info, settings.space))

    def _end(self, *, result: Embeddings | None = None, error: EmbedgeError | None = None) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self.result, self.error = result, error
        self._finished(self)
