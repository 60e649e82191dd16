"""Fill batches to a token budget, longest texts first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedge.runtime.tokens import Tokens


# Sequences are filled up to a multiple of this. ONNX Runtime's matrix-vector kernel adds four
# products at a time and the rest one by one, so that the mean over 7 tokens differed in the last
# bit from the mean over the same 7 of 8; `tests/runtime/test_batch_invariance.py`.
_LENGTH_STEP = 4


def plan_batches(
    lengths: Sequence[int], *, budget_tokens: int, max_texts: int | None = None
) -> list[list[int]]:
    """Group sequences of similar length so that padding stays small.

    The padded size of a batch, longest sequence times count, stays within `budget_tokens`; a
    sequence above the budget goes alone. The longest come first: the memory peak is reached in the
    first batch instead of the last.

    Args:
        lengths: tokens of each sequence.
        budget_tokens: padded tokens per batch.
        max_texts: upper limit of sequences per batch.

    Returns:
        Positions in `lengths`; every position once.
    """
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    batches: list[list[int]] = []
    room = 0
    for position in order:
        if room == 0:
            longest = max(1, lengths[position])
            room = max(1, budget_tokens // longest)
            room = min(room, max_texts) if max_texts is not None else room
            batches.append([])
        batches[-1].append(position)
        room -= 1
    return batches


def pad_batch(
    pieces: Sequence["NDArray[np.int32]"], tokens: "Tokens"
) -> tuple["NDArray[np.int64]", "NDArray[np.int64]"]:
    """Put the special tokens around each piece and fill up to the longest, or a little more.

    Args:
        pieces: ids of each sequence without special tokens.
        tokens: gives the special ids and the id of the fill.

    Returns:
        ids and mask, both (sequences, width); the mask is 1 on real tokens.
    """
    import numpy as np

    longest = max(len(piece) for piece in pieces) + tokens.n_special
    # Not beyond the limit: learned positions end there.
    width = max(longest, min(-longest % _LENGTH_STEP + longest, tokens.max_tokens))
    ids = np.full((len(pieces), width), tokens.pad_id, dtype=np.int64)
    mask = np.zeros((len(pieces), width), dtype=np.int64)
    start = len(tokens.head)
    for row, piece in enumerate(pieces):
        end = start + len(piece)
        ids[row, :start] = tokens.head
        ids[row, start:end] = piece
        ids[row, end : end + len(tokens.tail)] = tokens.tail
        mask[row, : end + len(tokens.tail)] = 1
    return ids, mask
