"""GELU outputs in unsigned codes: the range below zero ends at -0.17, so symmetry wastes a bit.

With c0 >= 0.17 each row takes the integer zero point `z = floor(L c0 / (M + c0))`, M its maximum
and L the largest code, and the step `s = c0 / z`. Then `g = s q - c0` with q >= 0 for every row,
and the constant `-c0` leaves the sum as a vector that is known in advance:

    y_j = s sw_j sum_k q_k W_kj  -  c0 sw_j sum_k W_kj  +  b_j

Only vectors of one number per row are computed; the tensor is read twice, as without the shift.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.graph_edit import GraphEdit
from embedge.quantize.codes import ActivationCodes
from embedge.quantize.integer_product import (
    add_bias,
    as_rows,
    finish_linear,
    integer_product,
    scale_rows,
)
from embedge.quantize.linears import Linear, find_linears
from embedge.quantize.weights import Float32, QuantizedWeight, WeightQuantizer

# gelu(x) >= -0.16998, reached at x = -0.7518.
GELU_SHIFT = 0.17
# Room above the calibrated maximum before the zero point reaches its lower end, 1.
_ROOM = 1.5


def shift_for(maximum: float, codes: ActivationCodes) -> float:
    """Return c0: 0.17, or more where rows are so large that z would fall below 1.

    Args:
        maximum: largest GELU output over calibration.
        codes: z >= 1 represents at most `(largest - 1) c0`.
    """
    return float(np.float32(max(GELU_SHIFT, _ROOM * maximum / (codes.largest - 1))))


def shifted_gelu(
    model: ir.Model,
    maxima: Mapping[str, float],
    codes: ActivationCodes,
    weights: WeightQuantizer,
) -> None:
    """Replace the linears behind a GELU by integer products over shifted codes.

    Args:
        model: changed in place.
        maxima: per site, the largest GELU output over calibration; other sites stay in float.
        codes: of the activations.
        weights: shared by the graphs of one bundle.
    """
    edit = GraphEdit(model.graph)
    for group in find_linears(model.graph).by_source():
        if group[0].kind != "gelu" or group[0].site not in maxima:
            continue
        shift = shift_for(maxima[group[0].site], codes)
        source = as_rows(edit, group[0].source, group[0].sizes[0])
        quantized, steps = _quantize_shifted(edit, source, shift, codes)
        for linear in group:
            _replace(edit, linear, quantized, steps, shift, weights)
    edit.finish()


def _replace(
    edit: GraphEdit,
    linear: Linear,
    quantized: ir.Value,
    steps: ir.Value,
    shift: float,
    weights: WeightQuantizer,
) -> None:
    for number, rows in enumerate(linear.gathers):
        quantized = edit.op("Gather", [quantized, rows], f"{linear.name}.codes.{number}", axis=0)
        steps = edit.op("Gather", [steps, rows], f"{linear.name}.steps.{number}", axis=0)
    weight = weights(linear)
    product = integer_product(edit, linear, weight, quantized)
    product = scale_rows(edit, linear, product, steps)
    product = add_bias(edit, linear, product, compensation(weight, shift, weights.bias(linear)))
    finish_linear(edit, linear, product)


def compensation(weight: QuantizedWeight, shift: float, bias: Float32 | None) -> Float32:
    """Return `-c0 sw_j sum_k W_kj + b_j`, from the sums of the quantized weights: (outputs,)."""
    sums: NDArray[np.float64] = weight.column_sums.astype(np.float64)
    offset = -float(shift) * weight.scale.astype(np.float64) * sums
    return (offset if bias is None else offset + bias).astype(np.float32)


def _quantize_shifted(
    edit: GraphEdit, g: ir.Value, shift: float, codes: ActivationCodes
) -> tuple[ir.Value, ir.Value]:
    """Return codes uint8 (rows, inputs) and steps float32 (rows,)."""
    name, largest = str(g.name), codes.largest

    def number(label: str, value: float) -> ir.Value:
        return edit.constant(f"{label}.{np.float32(value)!s}", np.array(value, np.float32))

    last = edit.constant("axis.-1", np.array([-1], np.int64))
    c0 = number("shift", shift)
    maximum = edit.op("ReduceMax", [g, last], f"{name}.row_max", keepdims=0)
    span = edit.op("Add", [maximum, c0], f"{name}.row_span")
    z = edit.op("Div", [number("shift_codes", largest * shift), span], f"{name}.zero_real")
    z = edit.op("Floor", [z], f"{name}.zero_floor")
    limits = [number("zero_low", 1.0), number("zero_high", float(codes.steps))]
    z = edit.op("Clip", [z, *limits], f"{name}.zero_float")
    step = edit.op("Div", [c0, z], f"{name}.step_of_zero")
    # A row beyond the calibrated room (z = 1) keeps its codes in range; it loses the exact shift.
    needed = edit.op("Mul", [maximum, number("needed", 1 / (largest - 1))], f"{name}.step_needed")
    step = edit.op("Max", [step, needed], f"{name}.steps")
    zero = edit.op("Cast", [z], f"{name}.zeros", to=int(ir.DataType.UINT8))
    return edit.op("QuantizeLinear", [g, step, zero], f"{name}.codes", axis=0), step
