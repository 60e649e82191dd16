"""What calibration measured: everything that the scheme and the bytes of a bundle follow from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedge.models.manifest import Json

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Peaks:
    """Largest values over two disjoint sets of texts, rounded up to three significant digits.

    Attributes:
        calibration: over the texts that set the range; (channels,) for a norm's magnitudes,
            (1,) for a GELU's maximum.
        validation: over texts of other languages, which only check the range.
    """

    calibration: Float32
    validation: Float32


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each channel over all real tokens, three significant digits.

    Attributes:
        mean: (channels,).
        variance: (channels,); empty behind a GELU, where nothing is smoothed.
        rows: number of tokens behind them.
    """

    mean: Float32
    variance: Float32
    rows: int


@dataclass(frozen=True)
class Statistics:
    """Statistics of every place where a linear's input comes from a norm or a GELU.

    Attributes:
        norms: peaks per norm that feeds linears, a magnitude for each channel.
        gelus: peaks per layer, the largest output of its GELU, all experts together.
        moments: of the input of each linear, by its name; linears behind one norm share them.
        text_sha256: hash of the calibration texts.
        tokens: number of real tokens seen, special tokens included.
    """

    norms: Mapping[str, Peaks]
    gelus: Mapping[str, Peaks]
    moments: Mapping[str, Moments]
    text_sha256: str
    tokens: int

    def to_json(self) -> dict[str, Json]:
        """Return plain numbers and strings."""
        return {
            "norms": {name: _peaks_to_json(peaks) for name, peaks in self.norms.items()},
            "gelus": {name: _peaks_to_json(peaks) for name, peaks in self.gelus.items()},
            "moments": {name: _moments_to_json(m) for name, m in self.moments.items()},
            "text_sha256": self.text_sha256,
            "tokens": self.tokens,
        }


def _peaks_to_json(peaks: Peaks) -> Json:
    return {
        "calibration": _numbers(peaks.calibration),
        "validation": _numbers(peaks.validation),
    }


def _moments_to_json(moments: Moments) -> Json:
    variance: dict[str, Json] = {}
    if moments.variance.size:
        variance = {"variance": _numbers(moments.variance)}
    return {"mean": _numbers(moments.mean), "rows": moments.rows, **variance}


def _numbers(values: Float32) -> list[Json]:
    return [float(f"{value:.3g}") for value in values.tolist()]


def round_up(values: Float32 | Sequence[float], digits: int = 3) -> Float32:
    """Round non-negative values up to so many significant digits.

    Two machines whose sums differ in the last bits then agree on almost every number, and the
    result is never below what was measured.
    """
    return np.array([_round_up(float(value), digits) for value in values], np.float32)


def round_to(values: NDArray[np.float64], digits: int = 3) -> Float32:
    """Round to so many significant digits."""
    return np.array([float(f"{value:.{digits - 1}e}") for value in values.tolist()], np.float32)


def _round_up(value: float, digits: int) -> float:
    if value <= 0:
        return 0.0
    text = f"{value:.{digits - 1}e}"
    if float(text) < value:
        mantissa, exponent = text.split("e")
        scaled = round(float(mantissa) * 10 ** (digits - 1)) + 1
        text = f"{scaled}e{int(exponent) - digits + 1}"
    return float(text)
