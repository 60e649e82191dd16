"""Text to token ids, with the model's own tokenizer and its special tokens.

Special-token strings inside a text (`</s>`) become special tokens, as in Hugging Face's XLM-R
tokenizer: the ids must equal those that the model was trained and published with.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from embedge.models.errors import BundleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

_PAD_TOKENS = ("<pad>", "[PAD]")


class Tokens:
    """A loaded tokenizer. Texts are encoded one by one, so no thread pool is ever started.

    Attributes:
        max_tokens: the model's limit, special tokens included.
        head: ids before every text (`<s>`).
        tail: ids after every text (`</s>`).
        pad_id: id that fills a batch; such positions are masked.
        vocabulary: number of ids.
    """

    def __init__(self, tokenizer: "Tokenizer", max_tokens: int) -> None:
        # A file may bring its own cutting and padding; both belong to the runtime.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.head, self.tail = _special_ids(tokenizer)
        pads = [tokenizer.token_to_id(token) for token in _PAD_TOKENS]
        self.pad_id: int = next((pad for pad in pads if pad is not None), 0)
        self.vocabulary: int = tokenizer.get_vocab_size(with_added_tokens=True)

    @classmethod
    def from_file(cls, path: Path, max_tokens: int) -> "Tokens":
        """Load `tokenizer.json`.

        Raises:
            BundleError: the file is no tokenizer of a kind that this version reads.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception; chained, never swallowed
            raise BundleError(
                f"{path} is not a readable tokenizer: {error}. Install the model again."
            ) from error
        return cls(tokenizer, max_tokens)

    @property
    def n_special(self) -> int:
        """Number of special tokens around every text."""
        return len(self.head) + len(self.tail)

    def ids(self, text: str) -> "NDArray[np.int32]":
        """Return the ids of `text` without the special tokens around it, (tokens,)."""
        import numpy as np

        return np.array(self._encode(text).ids, dtype=np.int32)

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, without the special tokens around it."""
        return len(self._encode(text).ids)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Return one (start, end) pair of code points per token, without special tokens."""
        return list(self._encode(text).offsets)

    def _encode(self, text: str) -> "Encoding":
        if not text.isascii():
            text = _without_lone_surrogates(text)
        return self._tokenizer.encode(text, add_special_tokens=False)


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
