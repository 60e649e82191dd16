"""Which scheme each site gets, decided by the calibrated statistics and by nothing else.

A norm-fed input gets a constant range where no validation text leaves it, because that is as
accurate as a range per row and saves two passes. Clipping is what hurts: a range 10 % too low
costs ten times the accuracy of one 50 % too high.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.bundle import Bundle
from embedge.models.graph_file import read_graph
from embedge.models.manifest import Json
from embedge.quantize.codes import EIGHT_BITS, SEVEN_BITS
from embedge.quantize.linears import Linear, find_linears
from embedge.quantize.shifted_gelu import shift_for
from embedge.quantize.smooth import shared_weight_max, smoothing_scale
from embedge.quantize.statistics import Moments, Peaks, Statistics
from embedge.quantize.weights import float_weight

Float32 = NDArray[np.float32]
Method = Literal["static", "row", "shifted"]

# A mean over fewer tokens is noise; a rare expert then keeps its bias.
_ENOUGH_ROWS = 100


@dataclass(frozen=True)
class Options:
    """The recipe's numbers; the defaults are `int8/1`.

    Attributes:
        alphas: smoothing exponents to choose from at sites with a constant range.
        row_alpha: smoothing exponent of norm-fed sites with a range per row.
        margin: room above the calibrated range.
        largest_margin: more room than this costs more than a range per row.
    """

    alphas: tuple[float, ...] = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
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
        alpha: exponent that the smoothing was made with.
    """

    method: Method
    reason: str
    margin: float = 0.0
    largest: float = 0.0
    smoothing: Float32 | None = None
    alpha: float | None = None

    def to_json(self) -> dict[str, Json]:
        """Return what a manifest keeps; the smoothing follows from the statistics."""
        entry: dict[str, Json] = {"method": self.method, "reason": self.reason}
        if self.alpha is not None:
            entry["alpha"] = self.alpha
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
            moments = statistics.moments[group[0].name]
            schemes[site] = _norm_scheme(group, statistics.norms[site], moments, options)
        elif group[0].kind == "gelu" and site in statistics.gelus:
            peaks = statistics.gelus[site]
            largest = float(max(peaks.calibration.max(), peaks.validation.max()))
            schemes[site] = SiteScheme("shifted", f"GELU output up to {largest:.3g}", 0.0, largest)
        else:
            schemes[site] = SiteScheme("row", _unexplained(group[0]))
    return schemes


def _unexplained(linear: Linear) -> str:
    """Name the node whose output has no calibrated range."""
    node = linear.source.producer()
    made_by = "an input of the graph" if node is None else f"{node.op_type} {node.name}"
    return f"its input comes from {made_by}, neither a norm nor a GELU"


def _norm_scheme(
    linears: Sequence[Linear], peaks: Peaks, moments: Moments, options: Options
) -> SiteScheme:
    weight_max = shared_weight_max(linears)
    scales = {
        alpha: smoothing_scale(peaks.calibration, weight_max, alpha)
        for alpha in (*options.alphas, options.row_alpha)
    }
    ranges_ = {alpha: _range_of(peaks, scales[alpha], options) for alpha in options.alphas}
    fitting = {alpha: r for alpha, r in ranges_.items() if r.margin <= options.largest_margin}
    if not fitting:
        ratio = min(r.ratio for r in ranges_.values())
        reason = f"validation reaches {ratio:.3f} of the calibrated range, beyond any margin"
        row_scale = scales[options.row_alpha]
        return SiteScheme("row", reason, smoothing=row_scale, alpha=options.row_alpha)
    alpha = best_alpha(linears, {a: (scales[a], r.largest) for a, r in fitting.items()}, moments)
    chosen = fitting[alpha]
    reason = f"validation reaches {chosen.ratio:.3f} of the calibrated range"
    if chosen.margin > options.margin:
        reason += f", so the margin is {chosen.margin:.2f} instead of {options.margin:g}"
    return SiteScheme("static", reason, chosen.margin, chosen.largest, scales[alpha], alpha)


@dataclass(frozen=True)
class _Range:
    """A constant range: the ratio of validation to calibration, margin, and the largest value."""

    ratio: float
    margin: float
    largest: float


def _range_of(peaks: Peaks, scale: Float32, options: Options) -> _Range:
    calibrated = float((peaks.calibration / scale).max())
    ratio = float((peaks.validation / scale).max()) / calibrated if calibrated else 1.0
    margin = options.margin
    if ratio > margin:
        # 2 % above what the validation texts need, on a grid that hides the last digits.
        margin = float(np.ceil(ratio * 1.02 * 50) / 50)
    return _Range(ratio, margin, float(f"{margin * calibrated:.4g}"))


def best_alpha(
    linears: Sequence[Linear],
    candidates: Mapping[float, tuple[Float32, float]],
    moments: Moments,
) -> float:
    """Return the exponent that leaves the smallest expected error of the outputs.

    Rounding errors are uniform, so their variance is step^2 / 12. Errors of the weights meet the
    variance of the inputs (the mean is corrected), errors of the inputs meet the squared weights.

    Args:
        linears: all that share the input.
        candidates: by exponent, the scale (channels,) and the largest magnitude after it.
        moments: of the input before smoothing.
    """
    expected = dict.fromkeys(candidates, 0.0)
    for linear in linears:
        magnitude = np.abs(float_weight(linear))
        energy = np.square(magnitude, dtype=np.float64).sum(axis=1)  # per input
        for alpha, (scale, largest) in candidates.items():
            squared = scale.astype(np.float64) ** 2
            columns = (magnitude * scale[:, None]).max(axis=0).astype(np.float64)
            weights = np.square(columns / 127).sum() * (moments.variance / squared).sum()
            inputs = (energy * squared).sum() * (largest / EIGHT_BITS.steps) ** 2
            expected[alpha] += float(weights + inputs)
    return min(expected, key=lambda alpha: (float(f"{expected[alpha]:.6e}"), alpha))


def mean_inputs(
    model: ir.Model, statistics: Statistics, schemes: Mapping[str, SiteScheme]
) -> dict[str, Float32]:
    """Return the mean input of every linear as it is quantized, smoothing included: (inputs,).

    Linears with too few tokens behind their mean are left out.
    """
    means = {}
    for linear in find_linears(model.graph).found:
        moments = statistics.moments.get(linear.name)
        if moments is None or moments.rows < _ENOUGH_ROWS:
            continue
        smoothing = schemes[linear.site].smoothing
        means[linear.name] = moments.mean if smoothing is None else moments.mean / smoothing
    return means


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
