"""Reading a graph backwards: constants, ranks, and what kind of values reach a linear."""

import onnx_ir as ir

from embedge.models.graph_edit import constant, first_input, producer

# Ops whose output has the shape of their first input.
_SHAPE_KEEPING = {
    "Abs", "Cast", "Clip", "Dropout", "Erf", "Gelu", "Identity", "LayerNormalization", "Relu",
    "RotaryEmbedding", "SkipLayerNormalization", "Softmax", "Tanh", "TopK", "QuantizeLinear",
    "DequantizeLinear", "BiasGelu", "FastGelu", "LpNormalization", "MultiHeadAttention",
}  # fmt: skip
_BROADCASTING = {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where", "Equal"}


def rank_of(value: ir.Value, depth: int = 64) -> int | None:
    """Return the number of dimensions, from the recorded shape or from the ops behind it.

    Shape inference stops at operators of other domains; these rules do not.
    """
    if value.shape is not None:
        return value.shape.rank()
    tensor = constant(value)
    if tensor is not None:
        return tensor.shape.rank()
    node = value.producer()
    if node is None or depth == 0:
        return None
    return _rank_behind(node, depth - 1)


def _rank_behind(node: ir.Node, depth: int) -> int | None:
    if node.op_type == "Gemm":
        return 2
    if node.op_type in _SHAPE_KEEPING or node.op_type == "MatMul":
        return rank_of(first_input(node), depth)
    if node.op_type == "Reshape":
        shape = node.inputs[1]
        target = constant(shape)
        if target is not None:
            return target.size
        return None if shape is None or shape.shape is None else _length(shape.shape)
    ranks = [rank_of(value, depth) for value in node.inputs if value is not None]
    if node.op_type in _BROADCASTING:
        return None if None in ranks else max(rank for rank in ranks if rank is not None)
    if node.op_type == "Gather" and ranks[0] is not None and ranks[1] is not None:
        return ranks[0] + ranks[1] - 1
    return None


def _length(shape: ir.Shape) -> int | None:
    size = shape[0] if shape.rank() == 1 else None
    return size if isinstance(size, int) else None


def is_gelu(value: ir.Value) -> bool:
    """Say whether `value` is a GELU output: one node, or `0.5 x (1 + erf(x / sqrt 2))` spelt out.

    Every form has its minimum at -0.17, which is all that the shifted quantizer relies on.
    """
    node = value.producer()
    if node is None:
        return False
    if node.op_type in {"Gelu", "BiasGelu", "FastGelu"}:
        return True
    return node.op_type == "Mul" and _is_erf_product(node)


def _is_erf_product(product: ir.Node) -> bool:
    """Match the product of x, 0.5 and `1 + erf(x / sqrt 2)` in any order of multiplication."""
    factors: list[ir.Value] = []
    pending = [value for value in product.inputs if value is not None]
    while pending:
        value = pending.pop()
        inner = producer(value, "Mul")
        if inner is not None and len(factors) < 3:
            pending += [operand for operand in inner.inputs if operand is not None]
        else:
            factors.append(value)
    halves = [value for value in factors if _is_number(value, 0.5)]
    gates = [value for value in factors if _erf_argument(value) is not None]
    others = [value for value in factors if value not in halves and value not in gates]
    if not (len(halves) == len(gates) == len(others) == 1):
        return False
    return _erf_argument(gates[0]) is others[0]


def _erf_argument(gate: ir.Value) -> ir.Value | None:
    """Return x of `1 + erf(x / sqrt 2)`."""
    total = producer(gate, "Add")
    if total is None:
        return None
    for erf_side, one_side in (tuple(total.inputs), tuple(reversed(total.inputs))):
        erf = None if erf_side is None else producer(erf_side, "Erf")
        if erf is not None and _is_number(one_side, 1.0):
            return _unscaled(first_input(erf))
    return None


def _unscaled(argument: ir.Value) -> ir.Value | None:
    scaled = producer(argument, "Div", "Mul")
    if scaled is None:
        return None
    factor = 2**0.5 if scaled.op_type == "Div" else 0.5**0.5
    return first_input(scaled) if _is_number(scaled.inputs[1], factor) else None


def _is_number(value: ir.Value | None, expected: float) -> bool:
    tensor = constant(value)
    if tensor is None or tensor.size != 1:
        return False
    return abs(float(tensor.numpy().reshape(())) - expected) < 1e-4
