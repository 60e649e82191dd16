"""What a command reads and writes: inputs, and one record per text or failed input."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from embedge.runtime.results import Vectors

Fields = Mapping[str, object]


@dataclass(frozen=True)
class TextInput:
    """One text to embed.

    Attributes:
        text: what is embedded, without prefix.
        fields: the first fields of its record: id, path, chunk, offsets, ...
        own_prefix: whether the text may bring its own prefix (never for contents of files).
        last: the text ends its file, or stands for itself.
        size: bytes of the file that this text ends, for the time left.
        n_tokens: what the model sees, prefix and special tokens included, where it is known.
    """

    text: str
    fields: Fields
    own_prefix: bool = False
    last: bool = True
    size: int = 0
    n_tokens: int | None = None


@dataclass(frozen=True)
class FailedInput:
    """An input that cannot be embedded; its record appears at its place in the stream."""

    id: str
    path: str | None
    code: str
    message: str
    size: int = 0
    own_prefix: bool = False
    last: bool = True


Input = TextInput | FailedInput


@dataclass(frozen=True)
class Record:
    """One result, in the order of the inputs.

    Attributes:
        fields: all fields but the vector, in the order in which they are printed; a failed input
            has `id`, `path` and `error`.
        vector: (dim,) in the chosen precision; None for a failed input.
        last: no further record belongs to the same input.
        size: bytes of the input that this record ends.
    """

    fields: Fields
    vector: "Vectors | None" = None
    last: bool = True
    size: int = 0

    @property
    def failed(self) -> bool:
        """True if this record stands for an input without a vector."""
        return self.vector is None


class Blocks:
    """Cuts a run into blocks of whole inputs, each embedded on its own.

    Neighbours in a batch can move the last digit of a vector (by 1e-7), so what `--resume` writes
    is equal byte for byte only if it batches the same texts together. It starts at a block's
    end, and the rule needs nothing but the records, so both sides find the same ends.
    """

    def __init__(self, texts_per_block: int) -> None:
        self._size = texts_per_block
        self._texts = 0

    def count(self, *, has_vector: bool, last: bool) -> bool:
        """Count one record; True if it ends a block."""
        self._texts += has_vector
        if not last or self._texts < self._size:
            return False
        self._texts = 0
        return True


# How many failures a manifest lists one by one; the count is always exact.
LISTED_FAILURES = 1000


@dataclass
class Counts:
    """What a run did; `failures` are the records of failed inputs, the first thousand of them."""

    vectors: int = 0
    failed: int = 0
    tokens: int = 0
    truncated: int = 0
    failures: list[Fields] = field(default_factory=list)

    def add_vector(self, tokens: int, truncated: bool) -> None:
        """Count one vector."""
        self.vectors += 1
        self.tokens += tokens
        self.truncated += truncated

    def add_failure(self, fields: Fields) -> None:
        """Count one failed input."""
        self.failed += 1
        if len(self.failures) < LISTED_FAILURES:
            self.failures.append(fields)


RecordField = Literal[
    "id", "path", "chunk", "n_chunks", "char_start", "char_end", "line_start", "line_end", "page",
    "heading", "n_tokens", "truncated", "n_windows", "task", "dim", "precision", "space", "text",
    "metadata", "error", "embedding",
]  # fmt: skip


def speakable(path: str) -> str:
    """Return a path as records spell it; bytes that are no Unicode are shown in hex."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def failure_record(failed: FailedInput) -> Record:
    """Return the record of a failed input."""
    error = {"code": failed.code, "message": failed.message}
    return Record({"id": failed.id, "path": failed.path, "error": error}, size=failed.size)
