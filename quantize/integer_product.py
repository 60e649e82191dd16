"""The integer product of a linear, in ONNX Runtime's operator or in standard ones."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.graph_edit import CONTRIB, GraphEdit, first_input
from embedge.quantize.linears import Linear
from embedge.quantize.trace import rank_of
from embedge.quantize.weights import QuantizedWeight

Float32 = NDArray[np.float32]


def integer_product(
    edit: GraphEdit,
    linear: Linear,
    weight: QuantizedWeight,
    codes: ir.Value,
    *,
    zero: int = 0,
    step: float = 1.0,
    bias: Float32 | None = None,
) -> ir.Value:
    """Add `step * scale_j * sum_k (codes_tk - zero) W_kj + bias_j`: (rows, outputs).

    Accumulation is exact in 32 bits, so a row's result does not depend on the other rows, on
    blocking or on threads.

    Args:
        edit: the graph.
        linear: names the new nodes.
        weight: its int8 codes stay int8: unsigned weights would miss the fast kernels.
        codes: uint8 (rows, inputs).
        zero: the code that means zero.
        step: value of one code step, where it is the same for all rows.
        bias: (outputs,).
    """
    name = linear.name
    matrix = edit.lazy_constant(f"{name}.int8", weight.codes)
    zero_point = None
    if zero:
        zero_point = edit.constant(f"code_zero.{zero}", np.array(zero, np.uint8))
    if edit.has_contrib:
        scale = edit.constant(f"{name}.scale", weight.scale)
        one = edit.constant(_step_name(step), np.array(step, np.float32))
        offset = None if bias is None else edit.constant(f"{name}.offset", bias)
        inputs = [codes, matrix, one, scale, zero_point, None, offset]
        while inputs[-1] is None:
            inputs.pop()
        return edit.op("MatMulIntegerToFloat", inputs, f"{name}.product", domain=CONTRIB)
    inputs = [codes, matrix, zero_point] if zero_point else [codes, matrix]
    total = edit.op("MatMulInteger", inputs, f"{name}.sum")
    total = edit.op("Cast", [total], f"{name}.float_sum", to=int(ir.DataType.FLOAT))
    scale = edit.constant(f"{name}.product_scale", weight.scale * np.float32(step))
    product = edit.op("Mul", [total, scale], f"{name}.product")
    if bias is not None:
        product = add_bias(edit, linear, product, bias)
    return product


def add_bias(edit: GraphEdit, linear: Linear, product: ir.Value, bias: Float32) -> ir.Value:
    """Add a constant row: (rows, outputs)."""
    offset = edit.constant(f"{linear.name}.offset", bias)
    return edit.op("Add", [product, offset], f"{linear.name}.biased")


def scale_rows(edit: GraphEdit, linear: Linear, product: ir.Value, step: ir.Value) -> ir.Value:
    """Multiply every row by its own code step: (rows, outputs) by (rows,)."""
    one = edit.constant("axis.1", np.array([1], np.int64))
    column = edit.op("Unsqueeze", [step, one], f"{linear.name}.step_column")
    return edit.op("Mul", [product, column], f"{linear.name}.scaled")


def as_rows(edit: GraphEdit, value: ir.Value, width: int) -> ir.Value:
    """Flatten (..., width) to (rows, width); a matrix stays as it is."""
    if rank_of(value) == 2:
        return value
    shape = edit.constant(f"rows_of.{width}", np.array([-1, width], np.int64))
    rows = edit.op("Reshape", [value, shape], f"{value.name}.rows")
    rows.shape, rows.type = ir.Shape([None, width]), ir.TensorType(ir.DataType.FLOAT)
    return rows


def finish_linear(edit: GraphEdit, linear: Linear, rows: ir.Value) -> None:
    """Give the result its leading dimensions back, and put it where the linear's output was."""
    x = first_input(linear.node)
    if rank_of(x) != 2:
        width = edit.constant(f"width.{linear.sizes[1]}", np.array([linear.sizes[1]], np.int64))
        leading = edit.op("Shape", [x], f"{linear.name}.leading", start=0, end=-1)
        shape = edit.op("Concat", [leading, width], f"{linear.name}.shape", axis=0)
        rows = edit.op("Reshape", [rows, shape], f"{linear.name}.unflattened")
    rows.shape, rows.type = linear.output.shape, ir.TensorType(ir.DataType.FLOAT)
    edit.replace(linear.output, rows)


def _step_name(step: float) -> str:
    return f"step.{np.float32(step)!s}"
