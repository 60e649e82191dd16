"""Text to token ids, with the model's own tokenizer and its special tokens.

Special-token strings inside a text (`</s>`) become special tokens, as in Hugging Face's XLM-R
tokenizer: the ids must equal those that the model was trained and published with.
"""

import json
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.models.errors import BundleError
from embedge.runtime.text_pieces import PIECE_CHARS, cut_pieces, safe_breaks
from embedge.runtime.vocabulary import PartialVocabulary, WholeVocabulary
from embedge.runtime.vocabulary_parts import (
    VocabularyParts,
    is_partial_possible,
    read_parts,
    split_parts,
    write_parts,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

_PAD_TOKENS = ("<pad>", "[PAD]")
_GROUP_CHARS = 200_000
# Without a place to cut for so long, a text takes a moment that other threads would notice.
_LONG_RUN = 100_000


class Tokens:
    """A loaded tokenizer. Texts are encoded one by one, so that no thread pool is started.

    Attributes:
        max_tokens: the model's limit, special tokens included.
        head: ids before every text (`<s>`).
        tail: ids after every text (`</s>`).
        pad_id: id that fills a batch; such positions are masked.
        vocabulary: number of ids.
    """

    def __init__(
        self, vocabulary: WholeVocabulary | PartialVocabulary, path: Path, max_tokens: int
    ) -> None:
        self._path = path
        self._pieces = vocabulary
        self.max_tokens = max_tokens
        self.head, self.tail = _special_ids(vocabulary.tokenizer)
        pads = [vocabulary.id_of(token) for token in _PAD_TOKENS]
        self.pad_id: int = next((pad for pad in pads if pad is not None), 0)
        self.vocabulary: int = vocabulary.size
        self._breaks: str | None = None  # where a long text can be cut, once one came
        self._run_vocabulary: WholeVocabulary | None = None
        self._lock = threading.Lock()
        self._run_lock = threading.Lock()
        _live.add(self)

    @classmethod
    def from_file(
        cls, path: Path, max_tokens: int, *, whole: bool = False, cache: Path | None = None
    ) -> "Tokens":
        """Load `tokenizer.json`.

        Args:
            path: the file.
            max_tokens: the model's limit, special tokens included.
            whole: load all pieces at once, also where those of the texts would do.
            cache: where the decoded form is kept; named after the hash of the file.

        Raises:
            BundleError: the file is no tokenizer of a kind that this version reads.
        """
        try:
            parts = None if whole else _read_parts(path, cache)
            if parts is not None:
                return cls(PartialVocabulary(parts), path, max_tokens)
            return cls(_whole(path), path, max_tokens)
        except Exception as error:  # the library raises bare Exception; chained, never swallowed
            raise BundleError(
                f"{path} is not a readable tokenizer: {error}. Install the model again."
            ) from error

    @property
    def n_special(self) -> int:
        """Number of special tokens around every text."""
        return len(self.head) + len(self.tail)

    def learn(self, texts: Iterable[str]) -> None:
        """Prepare for many texts at once, which is cheaper than for one after the other."""
        pieces = (piece for text in texts for _, piece in self._cut(text))
        for group in _groups(piece for piece in pieces if len(piece) <= _LONG_RUN):
            with self._lock:
                self._pieces.learn(map(_encodable, group))

    def ids(self, text: str, *, most: int | None = None) -> "NDArray[np.int32]":
        """Return the ids of `text` without the special tokens around it, (tokens,).

        Args:
            text: of any length.
            most: how many are needed; the end of a text that has more may be left out.
        """
        import numpy as np

        found: list[NDArray[np.int32]] = []
        count = 0
        for _, piece in self._cut(text):
            if len(piece) > _LONG_RUN:
                found.append(np.array(self._encode_run(piece).ids, dtype=np.int32))
            else:
                with self._lock:
                    encoding = self._encode(piece)  # may replace the vocabulary
                    found.append(self._pieces.ids(encoding))
            count += len(found[-1])
            if most is not None and count > most:
                break
        return found[0] if len(found) == 1 else np.concatenate(found)

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, without the special tokens around it."""
        return sum(len(encoding.ids) for _, encoding in self._encoded(text))

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Return one (start, end) pair of code points per token, without special tokens."""
        return [
            (start + at, end + at)
            for at, encoding in self._encoded(text)
            for start, end in encoding.offsets
        ]

    def _encoded(self, text: str) -> "Iterator[tuple[int, Encoding]]":
        for at, piece in self._cut(text):
            if len(piece) > _LONG_RUN:
                encoding = self._encode_run(piece)
            else:
                with self._lock:
                    encoding = self._encode(piece)
            yield at, encoding

    def _cut(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield the pieces of a long text; the lock is free between them."""
        if len(text) > PIECE_CHARS and self._breaks is None:
            with self._lock:
                self._breaks = safe_breaks(self._probe)
        return cut_pieces(text, self._breaks or "")

    def _encode_run(self, piece: str) -> "Encoding":
        """Encode what cannot be cut beside the others: its own vocabulary, the interpreter free.

        Only the library's call for several texts gives the interpreter back.
        """
        with self._run_lock:
            known = self._pieces
            if isinstance(known, WholeVocabulary):  # never changes, so it needs no lock
                self._run_vocabulary = known
            elif self._run_vocabulary is None:
                self._run_vocabulary = _whole(self._path)
            tokenizer = self._run_vocabulary.tokenizer
        return tokenizer.encode_batch([_encodable(piece)], add_special_tokens=False)[0]

    def _probe(self, text: str) -> tuple[Sequence[int], Sequence[tuple[int, int]]]:
        encoding = self._encode(text)
        return self._pieces.ids(encoding).tolist(), encoding.offsets

    def _encode(self, text: str) -> "Encoding":
        text = _encodable(text)
        self._pieces.learn((text,))
        if isinstance(self._pieces, PartialVocabulary):
            # Calls of few texts each, as in a server, come to know the whole vocabulary.
            if self._pieces.rebuilt_pieces > self._pieces.size:
                self._pieces = _whole(self._path)
        return self._pieces.tokenizer.encode(text, add_special_tokens=False)


def _groups(pieces: Iterable[str]) -> Iterator[list[str]]:
    """Put pieces together so that learning a group takes no longer than a moment."""
    group: list[str] = []
    size = 0
    for piece in pieces:
        group.append(piece)
        size += len(piece)
        if size >= _GROUP_CHARS:
            yield group
            group, size = [], 0
    if group:
        yield group


_live: "weakref.WeakSet[Tokens]" = weakref.WeakSet()


def _free_locks() -> None:
    """In a forked child: the thread that held a lock exists only in the parent."""
    for tokens in list(_live):
        tokens._lock = threading.Lock()
        tokens._run_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_locks)


def _read_parts(path: Path, cache: Path | None) -> VocabularyParts | None:
    """Return the decoded file, None if it cannot be used in part."""
    parts = None if cache is None else read_parts(cache)
    if parts is None:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not is_partial_possible(raw):
            return None
        parts = split_parts(raw)
        if cache is not None:
            write_parts(cache, parts)
    return parts


def _whole(path: Path) -> WholeVocabulary:
    from tokenizers import Tokenizer

    return WholeVocabulary(Tokenizer.from_file(str(path)))


def _encodable(text: str) -> str:
    return text if text.isascii() else _without_lone_surrogates(text)


def _without_lone_surrogates(text: str) -> str:
    """Replace code points that UTF-8 cannot carry by U+FFFD; offsets stay the same."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


def _special_ids(tokenizer: "Tokenizer") -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what the tokenizer's template puts before and after a text."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    full = tokenizer.encode("a", add_special_tokens=True).ids
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return tuple(full[:start]), tuple(full[start + len(plain) :])
    raise BundleError(
        f"the tokenizer's template turns {plain} into {full}, expected special tokens only around "
        f"a text. Install the model again."
    )
