"""Which scheme each site gets, decided by the calibrated statistics and by nothing else.

A norm-fed input gets a constant range where no validation text leaves it, because that is as
accurate as a range per row and saves two passes. Clipping is what hurts: a range 10 % too low
costs ten times the accuracy of one 50 % too high.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.bundle import Bundle
from embedge.models.graph_file import read_graph
from embedge.models.manifest import Json
from embedge.quantize.codes import EIGHT_BITS, SEVEN_BITS
from embedge.quantize.linears import find_linears
from embedge.quantize.shifted_gelu import shift_for
from embedge.quantize.smooth import shared_weight_max, smoothing_scale
from embedge.quantize.statistics import Peaks, Statistics

Float32 = NDArray[np.float32]
Method = Literal["static", "row", "shifted"]


@dataclass(frozen=True)
class Options:
    """The recipe's numbers; the defaults are `int8/1`.

    Attributes:
        static_alpha: smoothing exponent of sites with a constant range.
        row_alpha: smoothing exponent of norm-fed sites with a range per row.
        margin: room above the calibrated range.
        largest_margin: more room than this costs more than a range per row.
    """

    static_alpha: float = 0.8
    row_alpha: float = 0.6
    margin: float = 1.1
    largest_margin: float = 1.3


@dataclass(frozen=True)
class SiteScheme:
    """What was chosen for one site, and why.

    Attributes:
        method: constant range, range per row, or shifted GELU codes per row.
        reason: one sentence with the numbers that decided.
        margin: room above the calibrated range, for `static`.
        largest: static: the magnitude that the largest code stands for; shifted: the calibrated
            GELU maximum; row: not used.
        smoothing: factor per channel that a norm's twin divides by, or None.
    """

    method: Method
    reason: str
    margin: float = 0.0
    largest: float = 0.0
    smoothing: Float32 | None = None

    def to_json(self) -> dict[str, Json]:
        """Return what a manifest keeps; the smoothing follows from the statistics."""
        entry: dict[str, Json] = {"method": self.method, "reason": self.reason}
        if self.method == "static":
            entry |= {"margin": self.margin, "range": self.largest}
        if self.method == "shifted":
            entry |= {
                "maximum": self.largest,
                "shift": shift_for(self.largest, EIGHT_BITS),
                "shift_7_bits": shift_for(self.largest, SEVEN_BITS),
            }
        return entry


def choose_schemes(
    model: ir.Model, statistics: Statistics, options: Options
) -> dict[str, SiteScheme]:
    """Return a scheme for every site of the float graph, in graph order."""
    schemes: dict[str, SiteScheme] = {}
    for group in find_linears(model.graph).by_source():
        site = group[0].site
        if group[0].kind == "norm" and site in statistics.norms:
            weight_max = shared_weight_max(group)
            schemes[site] = _norm_scheme(statistics.norms[site], weight_max, options)
        elif group[0].kind == "gelu" and site in statistics.gelus:
            peaks = statistics.gelus[site]
            largest = float(max(peaks.calibration.max(), peaks.validation.max()))
            schemes[site] = SiteScheme("shifted", f"GELU output up to {largest:.3g}", 0.0, largest)
        else:
            schemes[site] = SiteScheme("row", "its input comes from neither a norm nor a GELU")
    return schemes


def _norm_scheme(peaks: Peaks, weight_max: Float32, options: Options) -> SiteScheme:
    scale = smoothing_scale(peaks.calibration, weight_max, options.static_alpha)
    calibrated = float((peaks.calibration / scale).max())
    seen = float((peaks.validation / scale).max())
    ratio = seen / calibrated if calibrated else 1.0
    margin = options.margin
    reason = f"validation reaches {ratio:.3f} of the calibrated range"
    if ratio > margin:
        # 2 % above what the validation texts need, on a grid that hides the last digits.
        margin = float(np.ceil(ratio * 1.02 * 50) / 50)
        reason += f", so the margin is {margin:.2f} instead of {options.margin:g}"
    if margin <= options.largest_margin:
        return SiteScheme("static", reason, margin, float(f"{margin * calibrated:.4g}"), scale)
    reason = f"validation reaches {ratio:.3f} of the calibrated range, beyond any margin"
    row_scale = smoothing_scale(peaks.calibration, weight_max, options.row_alpha)
    return SiteScheme("row", reason, smoothing=row_scale)


def float_graph(parent: Bundle) -> ir.Model:
    """Read the uncut graph of an fp32 bundle."""
    return read_graph(parent.graph_path("fp32", parent.manifest.full_dim)[0])


def smoothing_scales(schemes: Mapping[str, SiteScheme]) -> dict[str, Float32]:
    """Return s of every smoothed site."""
    return {
        site: scheme.smoothing for site, scheme in schemes.items() if scheme.smoothing is not None
    }


def ranges(schemes: Mapping[str, SiteScheme], method: Method) -> dict[str, float]:
    """Return `largest` of every site that has this method."""
    return {site: s.largest for site, s in schemes.items() if s.method == method}
