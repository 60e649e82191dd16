"""A Unigram tokenizer that holds only the pieces that its texts can contain.

The whole vocabulary of XLM-R (250k pieces) costs the tokenizer library about 300 MB and a second
to load (`benchmarks/start_up.py`). Segmentation can only use pieces that occur in the text, so a
model of exactly those, and of the piece with the lowest score, from which the library derives the
score of unknown characters, gives the same tokens. All code that decides about tokens is still the
library's; this module only chooses what to load.
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from embedge.runtime.vocabulary_parts import VocabularyParts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

# Words whose pieces are known; forgetting them only costs looking them up again.
_MOST_WORDS = 100_000
# Texts at once that make rebuilding cheap beside embedding them.
_MANY_TEXTS = 32


class WholeVocabulary:
    """The tokenizer as its file has it."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        # A file may bring its own cutting and padding; both belong to the runtime.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.size: int = tokenizer.get_vocab_size(with_added_tokens=True)

    def learn(self, texts: Iterable[str]) -> None:
        """Nothing to learn."""

    def ids(self, encoding: "Encoding") -> "NDArray[np.int32]":
        """Return the ids of an encoding, (tokens,)."""
        import numpy as np

        return np.array(encoding.ids, dtype=np.int32)

    def id_of(self, token: str) -> int | None:
        """Return the id of a token, None if there is no such token."""
        return self.tokenizer.token_to_id(token)


class PartialVocabulary:
    """Grows with its texts. Ids of the small model are mapped to those of the file.

    Attributes:
        tokenizer: knows every piece of the texts that were learned.
        size: number of ids of the whole vocabulary.
        rebuilt_pieces: pieces loaded again for few texts at a time; once there are more than
            `size`, loading the whole vocabulary would have been cheaper.
    """

    def __init__(self, parts: VocabularyParts) -> None:
        """Take the parts of a `tokenizer.json` for which `is_partial_possible` holds."""
        from tokenizers import Tokenizer

        self.size = len(parts.pieces)
        self.rebuilt_pieces = 0
        self._scores = parts.scores
        self._id = dict(zip(parts.pieces, range(self.size), strict=True))
        self._longest = parts.longest
        outline = parts.outline
        model = cast("dict[str, object]", outline["model"])
        added = cast("list[dict[str, object]]", outline["added_tokens"])
        self._specials = [str(token["content"]) for token in added]
        unknown = cast(int, model["unk_id"])
        # Added tokens come first, so that their ids stay when the rest grows.
        first = [*(self._id[token] for token in self._specials), unknown, parts.lowest]
        self._held = {number: parts.pieces[number] for number in first}
        self._unknown = list(self._held).index(unknown)
        self._words: set[str] = set()
        small = outline | {
            "truncation": None,
            "padding": None,
            "added_tokens": [token | {"id": number} for number, token in enumerate(added)],
            "model": model | {"vocab": self._vocabulary(), "unk_id": self._unknown},
        }
        self.tokenizer = Tokenizer.from_str(json.dumps(small))
        self._full_ids = list(self._held)

    def learn(self, texts: Iterable[str]) -> None:
        """Load the pieces that may occur in these texts."""
        count = 0
        for text in texts:
            count += 1
            for word in self._split(text):
                if word not in self._words:
                    self._add_pieces(word)
        # Not whether this call added some: a fork may have cut another one short.
        if len(self._held) != len(self._full_ids):
            self._rebuild()
            if count < _MANY_TEXTS:
                self.rebuilt_pieces += len(self._held)

    def ids(self, encoding: "Encoding") -> "NDArray[np.int32]":
        """Return the ids of an encoding as the file numbers them, (tokens,)."""
        import numpy as np

        return np.array([self._full_ids[number] for number in encoding.ids], dtype=np.int32)

    def id_of(self, token: str) -> int | None:
        """Return the id of a token, None if there is no such token."""
        return self._id.get(token)

    def _split(self, text: str) -> Iterable[str]:
        """Return the words that the model will see; a special token ends a word."""
        for special in self._specials:
            text = text.replace(special, " ")
        normalizer, splitter = self.tokenizer.normalizer, self.tokenizer.pre_tokenizer
        if normalizer is not None:
            text = normalizer.normalize_str(text)
        if splitter is None:
            return (text,)
        return (word for word, _ in splitter.pre_tokenize_str(text))

    def _add_pieces(self, word: str) -> None:
        for start in range(len(word)):
            for end in range(start + 1, min(len(word), start + self._longest) + 1):
                piece = word[start:end]
                number = self._id.get(piece)
                if number is not None:
                    self._held[number] = piece
        if len(self._words) >= _MOST_WORDS:
            self._words.clear()
        self._words.add(word)

    def _rebuild(self) -> None:
        from tokenizers import models

        self.tokenizer.model = models.Unigram(
            self._vocabulary(), self._unknown, byte_fallback=False
        )
        self._full_ids = list(self._held)

    def _vocabulary(self) -> list[tuple[str, float]]:
        return [(piece, self._scores[number]) for number, piece in self._held.items()]
