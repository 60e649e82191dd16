"""Vectors as they are stored: float16 in full, and 8-bit codes of their first features."""

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

from embedge.models.errors import BackendError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ZERO_POINT = 128
"""Stored codes are unsigned, which the scan kernel reads as they are."""

QUERY_LIMIT = 64
"""Codes of a query stay within 7 bits: 255 * 64 * 2 fits the 16-bit sums of AVX2 without VNNI."""


def quantize_rows(
    vectors: "NDArray[np.float32]", width: int
) -> tuple["NDArray[np.uint8]", "NDArray[np.float32]"]:
    """Cut vectors, give them unit length again and code each with 8 bits.

    Args:
        vectors: (n, dim), unit length.
        width: features to keep.

    Returns:
        Codes (n, width), zero at 128, and one scale per row (n,): cut vector = scale * (code - 128)
        to half a step.
    """
    import numpy as np

    cut = _unit(vectors[:, :width])
    scale = np.abs(cut).max(axis=1, keepdims=True) / 127
    scale[scale == 0] = 1.0  # a vector of zeros has no direction, and stays zero
    codes = np.rint(cut / scale) + ZERO_POINT
    return codes.astype(np.uint8), scale[:, 0].astype(np.float32)


def quantize_query(vector: "NDArray[np.float32]", width: int) -> tuple["NDArray[np.int8]", float]:
    """Code a query like `quantize_rows`, within 7 bits.

    Returns:
        Codes (width,) from -64 to 64, and their scale.
    """
    import numpy as np

    cut = _unit(vector[None, :width])[0]
    scale = float(np.abs(cut).max()) / QUERY_LIMIT or 1.0
    return np.rint(cut / scale).astype(np.int8), scale


def store_vectors(
    connection: sqlite3.Connection,
    space_id: int,
    widths: tuple[int, int],
    keys: Sequence[bytes],
    vectors: "NDArray[np.float32]",
    n_tokens: Sequence[int],
    run_id: int | None = None,
) -> None:
    """Insert vectors that are not there yet; within a transaction.

    Args:
        connection: a writer.
        space_id: their space.
        widths: `dim` and `coarse_dim` of the space.
        keys: SHA-256 of each text.
        vectors: (n, dim), unit length.
        n_tokens: that the model saw of each text.
        run_id: the run that made them.

    Raises:
        BackendError: a wrong shape, or a value that is not finite; nothing is written.
    """
    import numpy as np

    dim, coarse_dim = widths
    if vectors.shape != (len(keys), dim) or not np.isfinite(vectors).all():
        raise BackendError(
            f"the model gave vectors of shape {vectors.shape}, expected ({len(keys)}, {dim}) of "
            "finite numbers. Check it with `embed models verify` and `embed doctor --verify`."
        )
    codes, scales = quantize_rows(vectors, coarse_dim)
    fine = vectors.astype("<f2")
    connection.executemany(
        "INSERT INTO vectors(space_id, text_sha256, coarse, coarse_scale, fine, n_tokens, run_id)"
        " VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [
            (
                space_id,
                key,
                codes[row].tobytes(),
                float(scales[row]),
                fine[row].tobytes(),
                n,
                run_id,
            )
            for row, (key, n) in enumerate(zip(keys, n_tokens, strict=True))
        ],
    )


def read_fine(blob: bytes) -> "NDArray[np.float32]":
    """Return a stored vector as float32, unit length to float16."""
    import numpy as np

    return np.frombuffer(blob, dtype="<f2").astype(np.float32)


def _unit(vectors: "NDArray[np.float32]") -> "NDArray[np.float32]":
    import numpy as np

    norms = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    norms[norms == 0] = 1.0
    unit: NDArray[np.float32] = vectors / norms
    return unit
