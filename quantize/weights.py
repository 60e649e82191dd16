"""INT8 weights: one symmetric scale per output column, zero stays exactly zero."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.graph_edit import constant, lazy
from embedge.quantize.linears import Linear

Float32 = NDArray[np.float32]
Int8 = NDArray[np.int8]

_CODES = 127
_TINY = np.float32(1e-12)  # scale of a column that is all zero


@dataclass(frozen=True)
class QuantizedWeight:
    """A linear's weight in the form that the graph stores.

    Attributes:
        codes: int8 (inputs, outputs), computed when it is written.
        scale: float32 (outputs,).
        column_sums: sums of the codes over the inputs, int64 (outputs,).
        correction: what rounding the weights takes from the mean output, to be added to the bias,
            float32 (outputs,); None where the mean input is not known.
    """

    codes: ir.TensorProtocol
    scale: Float32
    column_sums: NDArray[np.int64]
    correction: Float32 | None = None


def quantize_columns(weight: Float32) -> tuple[Int8, Float32]:
    """Quantize each output column symmetrically to -127..127.

    A factor per output column commutes with the sum over the inputs, so it costs nothing at run
    time. The error of a weight is at most half its column's scale.

    Args:
        weight: (inputs, outputs).

    Returns:
        Codes (inputs, outputs) and scales (outputs,).

    Raises:
        ValueError: a column holds NaN or infinity.
    """
    largest = np.abs(weight).max(axis=0)
    if not np.isfinite(largest).all():
        columns = np.flatnonzero(~np.isfinite(largest))[:5].tolist()
        raise ValueError(f"the weight holds NaN or infinity in columns {columns}")
    scale = np.maximum(largest / np.float32(_CODES), _TINY)
    return np.rint(weight / scale).astype(np.int8), scale


def float_weight(linear: Linear) -> Float32:
    """Return the weight as float32 (inputs, outputs); mapped, so do not change it."""
    tensor = constant(linear.weight)
    assert tensor is not None
    values: Float32 = tensor.numpy()
    return values.T if linear.transposed else values


def mean_correction(weight: Float32, codes: Int8, scale: Float32, mean: Float32) -> Float32:
    """Return `mean_k (W_kj - scale_j codes_kj)` summed over k: (outputs,).

    The rounding error of the weights meets the mean input on every token, so it does not average
    out in the pooled vector as the rest does; a constant takes it away.

    Args:
        weight: (inputs, outputs).
        codes: (inputs, outputs).
        scale: (outputs,).
        mean: (inputs,).
    """
    error = weight.astype(np.float64) - codes * scale.astype(np.float64)
    # Summed row by row, which gives the same bits on every machine; a matrix product does not.
    total: NDArray[np.float64] = np.add.reduce(error * mean.astype(np.float64)[:, None], axis=0)
    return total.astype(np.float32)


class WeightQuantizer:
    """Quantizes each linear once and shares scale and sums between the graphs of a bundle."""

    def __init__(self, means: Mapping[str, Float32] | None = None) -> None:
        """Take the mean input (inputs,) of linears by name; others get no correction."""
        self._means = means or {}
        self._known: dict[str, QuantizedWeight] = {}

    def __call__(self, linear: Linear) -> QuantizedWeight:
        """Return the quantized weight of `linear`, from memory if another graph asked before."""
        if linear.name not in self._known:
            self._known[linear.name] = self._quantize(linear)
        return self._known[linear.name]

    def _quantize(self, linear: Linear) -> QuantizedWeight:
        read = _reader(linear)
        weight = read()
        codes, scale = quantize_columns(weight)
        mean = self._means.get(linear.name)
        return QuantizedWeight(
            codes=lazy(
                lambda: quantize_columns(read())[0],
                ir.DataType.INT8,
                codes.shape,
                f"{linear.name}.int8",
            ),
            scale=scale,
            column_sums=codes.sum(axis=0, dtype=np.int64),
            correction=None if mean is None else mean_correction(weight, codes, scale, mean),
        )

    def bias(self, linear: Linear) -> Float32 | None:
        """Return the linear's bias with the correction of its weights: (outputs,), or None."""
        tensor, correction = constant(linear.bias), self(linear).correction
        if tensor is None:
            return correction
        bias: Float32 = tensor.numpy()
        return bias if correction is None else bias + correction


def _reader(linear: Linear) -> Callable[[], Float32]:
    """Return the weight's reader; it keeps the tensor, not the graph."""
    tensor, transposed = constant(linear.weight), linear.transposed
    assert tensor is not None
    return lambda: tensor.numpy().T if transposed else tensor.numpy()
