"""Texts above the token limit: average over windows, cut, or refuse (interface 4.1)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from embedge.models.errors import InvalidOption, TextTooLong

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LongText = Literal["mean", "truncate", "error", "chunk"]
LONG_TEXT: tuple[LongText, ...] = ("mean", "truncate", "error", "chunk")

# Below this a window holds too little text to mean anything (interface 3.3, --max-tokens).
MIN_TEXT_TOKENS = 16


@dataclass(frozen=True)
class Limits:
    """How much fits into one sequence.

    Attributes:
        max_tokens: the limit, prefix and special tokens included.
        n_special: special tokens around every sequence.
        overlap: tokens that neighbouring windows share.
    """

    max_tokens: int
    n_special: int
    overlap: int

    def room(self, n_prefix: int) -> int:
        """Return how many tokens of text fit beside the prefix.

        Raises:
            InvalidOption: too few, or no more than the overlap.
        """
        room = self.max_tokens - self.n_special - n_prefix
        if self.max_tokens < MIN_TEXT_TOKENS + n_prefix or room < 1:
            raise InvalidOption(
                f"max_tokens {self.max_tokens} leaves {room} tokens for text beside {n_prefix} of "
                f"prefix; choose at least {MIN_TEXT_TOKENS + n_prefix}"
            )
        if not 0 <= self.overlap < room:
            raise InvalidOption(
                f"overlap {self.overlap} does not fit windows of {room} tokens; "
                f"choose 0 to {room - 1}"
            )
        return room


def lay_out(
    prefix: "NDArray[np.int32]",
    text: "NDArray[np.int32]",
    limits: Limits,
    mode: LongText,
    *,
    keep_end: bool = False,
) -> tuple[list["NDArray[np.int32]"], bool]:
    """Split one tokenized text into sequences that fit.

    Args:
        prefix: ids of the prefix; every sequence starts with them.
        text: ids of the text.
        limits: the token limit and the overlap of windows.
        mode: `mean` makes windows, `truncate` keeps the first tokens, `error` refuses. A text that
            fits is one sequence in every mode.
        keep_end: `truncate` keeps the last tokens instead.

    Returns:
        The sequences without special tokens, and whether tokens were dropped.

    Raises:
        TextTooLong: mode `error` and the text does not fit.
    """
    import numpy as np

    room = limits.room(len(prefix))
    if len(text) <= room:
        return [np.concatenate((prefix, text))], False
    if mode == "truncate":
        kept = text[-room:] if keep_end else text[:room]
        return [np.concatenate((prefix, kept))], True
    if mode == "mean":
        step = room - limits.overlap
        # The last window starts where the remaining text fits.
        starts = range(0, len(text) - limits.overlap, step)
        return [np.concatenate((prefix, text[s : s + room])) for s in starts], False
    raise TextTooLong(
        f"the text has {len(prefix) + len(text) + limits.n_special} tokens with prefix and special "
        f'tokens, the limit is {limits.max_tokens}. Use long_text="mean" or "truncate", or split it'
    )
