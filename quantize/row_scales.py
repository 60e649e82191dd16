"""Fewer passes over expert outputs: per-row factors meet each other before they meet the rows.

Two rewrites, each exact up to float rounding:

* `(y s) w` with columns s and w becomes `y (s w)`: one multiplication of (rows, outputs) less.
* the constant row K_e that each expert adds before its gate weight w_te leaves the experts as one
  product `m_t += sum_e w_te K_e` over all of them.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from embedge.models.graph_edit import GraphEdit, constant, first_input, producer


def merge_row_scales(model: ir.Model) -> int:
    """Multiply the columns first wherever a product is scaled by two of them; return how often."""
    edit = GraphEdit(model.graph)
    merged = 0
    for outer in list(model.graph):
        if outer.op_type != "Mul":
            continue
        scaled, gate = _product_and_column(outer)
        inner = None if scaled is None else producer(scaled, "Mul")
        if scaled is None or gate is None or inner is None or len(scaled.uses()) != 1:
            continue
        rows, step = _product_and_column(inner)
        if rows is None or step is None:
            continue
        column = edit.op("Mul", [step, gate], f"{scaled.name}.column")
        outer.replace_input_with(0, rows)
        outer.replace_input_with(1, column)
        merged += 1
    edit.finish()
    return merged


def _product_and_column(mul: ir.Node) -> tuple[ir.Value | None, ir.Value | None]:
    first, second = mul.inputs[0], mul.inputs[1]
    for rows, column in ((first, second), (second, first)):
        if column is not None and producer(column, "Unsqueeze") and _adds_last_axis(column):
            return rows, column
    return None, None


def _adds_last_axis(column: ir.Value) -> bool:
    node = column.producer()
    axes = None if node is None else constant(node.inputs[1])
    return axes is not None and axes.numpy().tolist() in ([1], [-1])


@dataclass(frozen=True)
class _Mixture:
    """The sum over experts of one layer, as recorded by the exporter.

    Attributes:
        weighted: per expert, in order of their numbers: the Mul by the gate weight.
        rows: per expert, the Add of its constant row.
        top_k: chooses the experts from (tokens, experts) probabilities.
        add: the Add of the layer's constant bias, behind the sum.
    """

    weighted: tuple[ir.Node, ...]
    rows: tuple[ir.Node, ...]
    top_k: ir.Node
    add: ir.Node


def join_expert_offsets(model: ir.Model) -> list[str]:
    """Replace the constants of each mixture's experts by one product; return the mixtures' names.

    A mixture that is not exactly as expected keeps its additions: they are correct, only slower.
    """
    edit = GraphEdit(model.graph)
    joined = []
    for node in list(model.graph):
        if node.op_type == "Concat":
            mixture = _match(node)
            if mixture is not None:
                _join(edit, mixture)
                joined.append(str(mixture.top_k.outputs[1].name))
    edit.finish()
    return joined


def _join(edit: GraphEdit, mixture: _Mixture) -> None:
    name = str(mixture.top_k.outputs[1].name)
    gate_weight, expert = mixture.top_k.outputs
    probability = first_input(mixture.top_k)  # (tokens, experts)
    bias = mixture.add.inputs[1]
    for weighted, added in zip(mixture.weighted, mixture.rows, strict=True):
        position = list(weighted.inputs).index(added.outputs[0])
        weighted.replace_input_with(position, first_input(added))
    offsets = np.stack([_row(added) for added in mixture.rows])  # (experts, outputs)
    shape = edit.op("Shape", [probability], f"{name}.dense_shape")
    zeros = edit.op(
        "ConstantOfShape", [shape], f"{name}.none", value=ir.tensor(np.zeros(1, np.float32))
    )
    dense = edit.op(
        "ScatterElements", [zeros, expert, gate_weight], f"{name}.dense_weights", axis=1
    )
    constants = edit.constant(f"{name}.offsets", offsets)
    total = edit.op("Gemm", [dense, constants, bias], f"{name}.offset")
    mixture.add.replace_input_with(1, total)


def _row(added: ir.Node) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    tensor = constant(added.inputs[1])
    assert tensor is not None
    return tensor.numpy()


def _match(concat: ir.Node) -> _Mixture | None:
    """Recognise Concat -> Gather -> Reshape -> ReduceSum -> Add(bias) and what feeds it."""
    value = concat.outputs[0]
    for op_type in ("Gather", "Reshape", "ReduceSum", "Add"):
        readers = value.consumers()
        if len(readers) != 1 or readers[0].op_type != op_type or readers[0].inputs[0] is not value:
            return None
        node = readers[0]
        value = node.outputs[0]
    if constant(node.inputs[1]) is None:
        return None
    branches = [_branch(source) for source in concat.inputs]
    known = [branch for branch in branches if branch is not None]
    if not known or len(known) != len(branches):
        return None
    known.sort(key=lambda branch: branch[0])
    numbers, weighted, rows, routers = zip(*known, strict=True)
    if numbers != tuple(range(len(known))) or len(set(routers)) != 1:
        return None
    return _Mixture(weighted, rows, routers[0], node)


def _branch(value: ir.Value | None) -> tuple[int, ir.Node, ir.Node, ir.Node] | None:
    """Return expert number, its weighted Mul, its Add of a constant, and its router's TopK."""
    mul = None if value is None else producer(value, "Mul")
    if mul is None:
        return None
    rows, column = _product_and_column(mul)
    added = None if rows is None else producer(rows, "Add")
    gate = None if column is None else producer(first_input(column.producer()), "Gather")  # type: ignore[arg-type]  # made by Unsqueeze
    if added is None or gate is None or constant(added.inputs[1]) is None:
        return None
    slots, equal = gate.inputs[1], None
    while slots is not None:
        step = producer(slots, "Reshape", "NonZero", "Equal")
        if step is None or step.op_type == "Equal":
            equal = step
            break
        slots = first_input(step)
    number = None if equal is None else constant(equal.inputs[1])
    if equal is None or number is None or number.size != 1:
        return None
    weights, experts = _through_reshape(first_input(gate)), _through_reshape(first_input(equal))
    router = producer(weights, "TopK")
    if router is None or experts is not router.outputs[1] or weights is not router.outputs[0]:
        return None
    return int(number.numpy().reshape(())), mul, added, router


def _through_reshape(value: ir.Value) -> ir.Value:
    node = producer(value, "Reshape")
    return value if node is None else first_input(node)
