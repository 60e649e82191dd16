"""INT8 linears: one constant scale for the input where calibrated, else one scale per row.

A single run-time scale for the whole batch would let one text change the vectors of its
neighbours, so it is never used.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

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
from embedge.quantize.weights import WeightQuantizer

_SMALLEST = 1e-8  # magnitude given to a row of zeros


def int8_linears(
    model: ir.Model,
    ranges: Mapping[str, float],
    codes: ActivationCodes,
    weights: WeightQuantizer,
) -> list[str]:
    """Replace every float linear by an integer product.

    Args:
        model: changed in place; routers stay in float.
        ranges: per site, the largest magnitude that the input takes; such inputs are quantized
            with the constant step `range / steps`. All others get a step per row at run time.
        codes: of the activations.
        weights: shared by the graphs of one bundle.

    Returns:
        Names of the linears with a step per row.
    """
    edit = GraphEdit(model.graph)
    per_row = []
    for group in find_linears(model.graph).by_source():
        source = as_rows(edit, group[0].source, group[0].sizes[0])
        largest = ranges.get(group[0].site)
        if largest is None:
            quantized, steps = _quantize_rows(edit, source, codes)
            per_row += [linear.name for linear in group]
        else:
            step = np.float32(largest) / np.float32(codes.steps)
            quantized, steps = _quantize_static(edit, source, float(step), codes), None
        for linear in group:
            _replace(edit, linear, quantized, steps or float(step), codes, weights)
    edit.finish()
    return per_row


def _replace(
    edit: GraphEdit,
    linear: Linear,
    quantized: ir.Value,
    step: ir.Value | float,
    codes: ActivationCodes,
    weights: WeightQuantizer,
) -> None:
    for number, rows in enumerate(linear.gathers):
        quantized = edit.op("Gather", [quantized, rows], f"{linear.name}.codes.{number}", axis=0)
        if isinstance(step, ir.Value):
            step = edit.op("Gather", [step, rows], f"{linear.name}.steps.{number}", axis=0)
    weight, bias = weights(linear), weights.bias(linear)
    if isinstance(step, ir.Value):
        product = integer_product(edit, linear, weight, quantized, zero=codes.zero)
        product = scale_rows(edit, linear, product, step)
        if bias is not None:
            product = add_bias(edit, linear, product, bias)
    else:
        product = integer_product(
            edit, linear, weight, quantized, zero=codes.zero, step=step, bias=bias
        )
    finish_linear(edit, linear, product)


def _quantize_static(edit: GraphEdit, x: ir.Value, step: float, codes: ActivationCodes) -> ir.Value:
    """Quantize with one constant: `q = round(x / step) + zero`, uint8 (rows, inputs)."""
    zero = edit.constant(f"code_zero.{codes.zero}", np.array(codes.zero, np.uint8))
    scale = edit.constant(f"step.{np.float32(step)!s}", np.array(step, np.float32))
    quantized = edit.op("QuantizeLinear", [x, scale, zero], f"{x.name}.codes")
    if codes.may_exceed:
        # Beyond the calibrated range a code would leave the range that cannot saturate.
        low = edit.constant("code.0", np.array(0, np.uint8))
        high = edit.constant(f"code.{codes.largest}", np.array(codes.largest, np.uint8))
        quantized = edit.op("Clip", [quantized, low, high], f"{x.name}.clipped_codes")
    return quantized


def _quantize_rows(
    edit: GraphEdit, x: ir.Value, codes: ActivationCodes
) -> tuple[ir.Value, ir.Value]:
    """Quantize each row with its own step: `s_t = max_k |x_tk| / steps`.

    Returns:
        uint8 (rows, inputs) and float32 (rows,).
    """
    name = str(x.name)
    last = edit.constant("axis.-1", np.array([-1], np.int64))
    magnitude = edit.op("Abs", [x], f"{name}.magnitude")
    largest = edit.op("ReduceMax", [magnitude, last], f"{name}.row_max", keepdims=0)
    smallest = edit.constant("smallest_range", np.array(_SMALLEST, np.float32))
    largest = edit.op("Max", [largest, smallest], f"{name}.row_range")
    inverse = edit.constant(f"one_step.{codes.steps}", np.array(1 / codes.steps, np.float32))
    step = edit.op("Mul", [largest, inverse], f"{name}.steps")
    rows = edit.op("Shape", [step], f"{name}.row_count")
    zero = edit.op(
        "ConstantOfShape",
        [rows],
        f"{name}.zeros",
        value=ir.tensor(np.array([codes.zero], np.uint8)),
    )
    return edit.op("QuantizeLinear", [x, step, zero], f"{name}.codes", axis=0), step
