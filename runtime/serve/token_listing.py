"""Tokens one by one, with their text and place; loads the whole vocabulary on first use."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TokenListing:
    """What `/tokenize` and `/decode` answer; embedding itself never needs it."""

    def __init__(self, path: Path) -> None:
        """Name the model's `tokenizer.json`."""
        self._path = path
        self._tokenizer: Tokenizer | None = None
        self._lock = threading.Lock()

    def tokens(self, text: str, add_special: bool) -> list[dict[str, object]]:
        """Return every token; `start` and `stop` count code points, None for special ones."""
        encoding = self._whole().encode(text, add_special_tokens=add_special)
        rows = zip(
            encoding.ids,
            encoding.tokens,
            encoding.special_tokens_mask,
            encoding.offsets,
            strict=True,
        )
        return [
            {
                "id": number,
                "text": token if special else text[start:stop],
                "special": bool(special),
                "start": None if special else start,
                "stop": None if special else stop,
            }
            for number, token, special, (start, stop) in rows
        ]

    def text(self, ids: Sequence[int], skip_special: bool) -> str:
        """Return the text of ids."""
        return self._whole().decode(list(ids), skip_special_tokens=skip_special)

    def _whole(self) -> "Tokenizer":
        with self._lock:
            if self._tokenizer is None:
                from tokenizers import Tokenizer

                self._tokenizer = Tokenizer.from_file(str(self._path))
                self._tokenizer.no_truncation()
                self._tokenizer.no_padding()
            return self._tokenizer
