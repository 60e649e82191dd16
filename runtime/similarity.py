"""Cosine similarity of vectors in any precision."""

from typing import TYPE_CHECKING

from embedge.models.errors import InvalidOption

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


def cosine_matrix(a: "ArrayLike", b: "ArrayLike") -> "NDArray[np.float32]":
    """Return the cosine of every row of `a` with every row of `b`, (n, m) float32.

    uint8 arrays are packed signs; any other type is taken as numbers. A zero row has cosine 0.

    Raises:
        InvalidOption: the lengths of the vectors differ.
    """
    first, second = _unit_rows(a), _unit_rows(b)
    if first.shape[1] != second.shape[1]:
        raise InvalidOption(
            f"vectors of {first.shape[1]} and of {second.shape[1]} features do not compare; "
            f"use the same dim and precision for both"
        )
    cosine: NDArray[np.float32] = first @ second.T
    return cosine


def _unit_rows(vectors: "ArrayLike") -> "NDArray[np.float32]":
    import numpy as np

    array = np.atleast_2d(np.asarray(vectors))
    if array.dtype == np.uint8:
        array = np.unpackbits(array, axis=-1).astype(np.float32) * 2 - 1
    rows: NDArray[np.float32] = array.astype(np.float32)
    norms: NDArray[np.float32] = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    norms[norms == 0] = 1
    unit: NDArray[np.float32] = rows / norms
    return unit
