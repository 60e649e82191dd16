"""The last step of a vector: float16, int8 with fixed ranges, or packed bits (interface 4.3)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from embedge.models.errors import InvalidOption

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedge.runtime.results import Vectors

Precision = Literal["float32", "float16", "int8", "ubinary"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8", "ubinary")

# A feature that is zero in the whole measuring text still gets a step.
_SMALLEST_RANGE = 1e-6


def measure_ranges(vectors: "NDArray[np.float32]") -> tuple[float, ...]:
    """Return the largest magnitude of every feature over unit vectors (texts, dim).

    Written into a manifest as `output_ranges`, so that int8 codes of two calls compare; deriving
    them from the batch at hand, as other libraries do, makes codes that do not.
    """
    import numpy as np

    peaks = np.abs(vectors).max(axis=0)
    # Seven digits read back to the same float32 and keep the manifest short.
    return tuple(float(f"{max(peak, _SMALLEST_RANGE):.7g}") for peak in peaks.tolist())


def convert(
    vectors: "NDArray[np.float32]", precision: Precision, ranges: Sequence[float] | None
) -> "Vectors":
    """Give vectors (..., dim) their final form.

    `int8` is `clip(rint(x / range * 127), -127, 127)` per feature; `ubinary` packs the signs of
    eight features into one byte, first feature in the highest bit.

    Raises:
        InvalidOption: `int8` without ranges for this size, or `ubinary` with a size that eight
            does not divide.
    """
    import numpy as np

    check_precision(precision, vectors.shape[-1], ranges)
    if precision == "float16":
        return vectors.astype(np.float16)
    if precision == "int8":
        scaled = np.rint(vectors / np.asarray(ranges, dtype=np.float32) * np.float32(127))
        return np.clip(scaled, -127, 127).astype(np.int8)
    if precision == "ubinary":
        return np.packbits(vectors > 0, axis=-1)
    return vectors


def check_precision(precision: Precision, dim: int, ranges: Sequence[float] | None) -> None:
    """Refuse what `convert` could not do, before anything is computed.

    Raises:
        InvalidOption: as `convert`.
    """
    if precision not in PRECISIONS:
        raise InvalidOption(
            f"precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}"
        )
    if precision == "int8" and ranges is None:
        raise InvalidOption(
            f'precision="int8" needs fixed ranges, and the model has none for unit vectors of '
            f"dim {dim}; choose a trained size, normalize=True, or another precision"
        )
    if precision == "ubinary" and dim % 8:
        raise InvalidOption(f'precision="ubinary" packs eight features per byte; {dim} % 8 != 0')
