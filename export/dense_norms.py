"""Layer norms that an exporter spelt out, joined into `LayerNormalization` again.

Only one operator that says what it is can get a smoothed twin, and it runs in one pass.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from embedge.models.graph_edit import GraphEdit, constant, first_input, producer


@dataclass(frozen=True)
class _Norm:
    """`(x - mean) / sqrt(variance + epsilon) * scale + shift` over the last axis."""

    x: ir.Value
    epsilon: float
    scale: ir.Value
    shift: ir.Value
    output: ir.Value


def join_layer_norms(model: ir.Model, states: ir.Value) -> ir.Value:
    """Replace every norm that is spelt out; returns `states`, or what stands for it now.

    A form that is not recognised stays as it is: it computes the same, and the quantizer says that
    its linears get a range per row.
    """
    edit = GraphEdit(model.graph)
    for node in list(model.graph):
        norm = _match(node) if node.op_type == "Div" else None
        if norm is None:
            continue
        name = str(norm.scale.name).removesuffix(".weight")
        joined = edit.op(
            "LayerNormalization", [norm.x, norm.scale, norm.shift], f"{name}.normalized",
            axis=-1, epsilon=norm.epsilon,
        )  # fmt: skip
        joined.shape, joined.type = norm.output.shape, ir.TensorType(ir.DataType.FLOAT)
        ir.convenience.replace_all_uses_with(norm.output, joined)
        if states is norm.output:
            states = joined
    model.graph.outputs.append(states)
    edit.finish()
    model.graph.outputs.clear()
    return states


def _match(div: ir.Node) -> _Norm | None:
    """Recognise the norm whose division this is."""
    centred, root = first_input(div), div.inputs[1]
    square_root = None if root is None else producer(root, "Sqrt")
    if square_root is None or producer(centred, "Sub") is None:
        return None
    variance = producer(first_input(square_root), "Add")
    if variance is None:
        return None
    mean_of_squares, epsilon = _split_constant(variance)
    if mean_of_squares is None or epsilon is None or epsilon.size != 1:
        return None
    x = _source(centred)
    if x is None or not _is_variance(mean_of_squares, x):
        return None
    scaled = _only_reader(div.outputs[0], "Mul")
    shifted = None if scaled is None else _only_reader(scaled.outputs[0], "Add")
    if scaled is None or shifted is None:
        return None
    scale, shift = (_vector(node) for node in (scaled, shifted))
    if scale is None or shift is None:
        return None
    value = float(epsilon.numpy().reshape(()))
    return _Norm(x, value, scale, shift, shifted.outputs[0])


def _source(centred: ir.Value) -> ir.Value | None:
    """Return x of `x - mean(x)`."""
    node = producer(centred, "Sub")
    if node is None or node.inputs[1] is None:
        return None
    x, mean = first_input(node), producer(node.inputs[1], "ReduceMean")
    if mean is None or first_input(mean) is not x or not _over_last_axis(mean):
        return None
    return x


def _is_variance(value: ir.Value, x: ir.Value) -> bool:
    mean = producer(value, "ReduceMean")
    square = None if mean is None else producer(first_input(mean), "Pow", "Mul")
    if mean is None or square is None or not _over_last_axis(mean):
        return False
    base, other = square.inputs[0], square.inputs[1]
    if square.op_type == "Pow":
        exponent = constant(other)
        if exponent is None or float(np.asarray(exponent.numpy()).reshape(())) != 2.0:
            return False
    elif base is not other:
        return False
    return base is not None and _source(base) is x


def _over_last_axis(reduce: ir.Node) -> bool:
    if "axes" in reduce.attributes:
        axes = list(reduce.attributes["axes"].as_ints())
    else:
        tensor = constant(reduce.inputs[1]) if len(reduce.inputs) > 1 else None
        axes = [] if tensor is None else tensor.numpy().tolist()
    keeps = "keepdims" not in reduce.attributes or bool(reduce.attributes["keepdims"].as_int())
    return axes in ([-1], [2]) and keeps


def _split_constant(node: ir.Node) -> tuple[ir.Value | None, ir.TensorProtocol | None]:
    first, second = node.inputs[0], node.inputs[1]
    for value, other in ((first, second), (second, first)):
        if constant(other) is not None:
            return value, constant(other)
    return None, None


def _only_reader(value: ir.Value, op_type: str) -> ir.Node | None:
    readers = value.consumers()
    return readers[0] if len(readers) == 1 and readers[0].op_type == op_type else None


def _vector(node: ir.Node) -> ir.Value | None:
    """Return the constant vector that a Mul or Add takes."""
    for value in node.inputs:
        tensor = constant(value)
        if tensor is not None and tensor.shape.rank() == 1 and value is not None:
            return value
    return None
