"""Matrices that are multiplied in a way the quantizer does not know: named, never passed over."""

from collections.abc import Iterator

import onnx_ir as ir

from embedge.models.graph_edit import constant

# They choose, move or combine elements; a constant there is a table or a term, not a weight.
_NO_PRODUCT = frozenset((
    "Add", "And", "Cast", "Concat", "Constant", "Cos", "Div", "Equal", "Expand", "Flatten",
    "Gather", "GatherElements", "GatherND", "Greater", "Identity", "LayerNormalization", "Less",
    "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pad", "Pow", "Range", "ReduceSum", "Reshape",
    "RotaryEmbedding", "ScatterElements", "ScatterND", "Shape", "Sin", "Slice", "Softmax", "Split",
    "Squeeze", "Sub", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
))  # fmt: skip
# A weight of fewer values is not worth a word; masks and scalars come as small constants.
_SMALLEST = 256


def unexplained_weights(graph: ir.Graph) -> Iterator[tuple[str, str]]:
    """Give name and reason for every weight that is multiplied and that is no known linear."""
    fixed: dict[ir.Value, bool] = {}
    for node in graph:
        if node.op_type in {"MatMul", "Gemm"} and not node.domain:
            yield from _of_product(node, fixed)
        elif node.op_type not in _NO_PRODUCT:
            yield from _of_other(node)


def _of_product(node: ir.Node, fixed: dict[ir.Value, bool]) -> Iterator[tuple[str, str]]:
    """Look at a product whose second operand is no plain constant."""
    left, right = node.inputs[0], node.inputs[1]
    if left is None or right is None or constant(right) is not None:
        return
    if _is_fixed(right, fixed):
        made_by = right.producer()
        assert made_by is not None
        yield str(right.name), f"{made_by.op_type} {made_by.name} computes it from constants"
    elif _is_fixed(left, fixed):
        yield str(left.name), f"it stands first in {node.op_type} {node.name}"


def _is_fixed(value: ir.Value, known: dict[ir.Value, bool]) -> bool:
    """Say whether a value follows from constants alone."""
    if value not in known:
        node = value.producer()
        operands = [] if node is None else [each for each in node.inputs if each is not None]
        known[value] = constant(value) is not None or (
            bool(operands) and all(_is_fixed(each, known) for each in operands)
        )
    return known[value]


def _of_other(node: ir.Node) -> Iterator[tuple[str, str]]:
    kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    for value in (*node.inputs, *_inside(node)):
        tensor = constant(value)
        if value is None or tensor is None or tensor.dtype != ir.DataType.FLOAT:
            continue
        if tensor.shape.rank() >= 2 and tensor.size >= _SMALLEST:
            yield str(value.name), f"{kind} {node.name} holds it, which is no MatMul or Gemm"


def _inside(node: ir.Node) -> Iterator[ir.Value]:
    """Give the constants that the branches of an If or Loop read."""
    for attribute in node.attributes.values():
        if attribute.type != ir.AttributeType.GRAPH:
            continue
        for inner in attribute.as_graph():
            yield from (value for value in inner.inputs if value is not None)
