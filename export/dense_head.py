"""From hidden states to the two outputs of a bundle: pooled, and cut to unit length."""

import numpy as np
import onnx_ir as ir

from embedge.models.graph_edit import GraphEdit
from embedge.models.pooling import Pooling

MASK = "attention_mask"


def add_head(
    model: ir.Model, states: ir.Value, pooling: Pooling, dim: int, hidden: int
) -> ir.Model:
    """Return a copy of `model` with the outputs `embedding` and `pooled`.

    Args:
        model: without outputs.
        states: its hidden states, (batch, sequence, hidden).
        pooling: `mean` over the real tokens, or `cls`, the first one.
        dim: first features to keep before the unit length.
        hidden: features of a hidden state.
    """
    model.graph.outputs.append(states)
    copy = model.clone()
    model.graph.outputs.clear()
    (states,) = copy.graph.outputs
    copy.graph.outputs.clear()
    edit = GraphEdit(copy.graph)
    pooled = _mean(edit, states) if pooling == "mean" else _first(edit, states)
    cut = pooled if dim == hidden else _cut(edit, pooled, dim)
    embedding = edit.op("LpNormalization", [cut], "embedding", p=2, axis=-1)
    for value, width, meaning in (
        (embedding, dim, "First features, unit length."),
        (pooled, hidden, "Mean over the tokens." if pooling == "mean" else "The first token."),
    ):
        value.shape = ir.Shape(["batch", width])
        value.type = ir.TensorType(ir.DataType.FLOAT)
        value.doc_string = meaning
        copy.graph.outputs.append(value)
    copy.graph.sort()
    return copy


def _mean(edit: GraphEdit, states: ir.Value) -> ir.Value:
    """Mean over the real tokens.

    A product with the mask instead of a reduction: its result does not depend on the batch size.
    """
    mask = next(value for value in edit.graph.inputs if value.name == MASK)
    axis = _ints(edit, "pooling.axis", 1)
    real = edit.op("Cast", [mask], "pooling.real", to=int(ir.DataType.FLOAT))
    row = edit.op("Unsqueeze", [real, axis], "pooling.row")
    total = edit.op("MatMul", [row, states], "pooling.total")  # (batch, 1, hidden)
    count = edit.op("ReduceSum", [real, axis], "pooling.count", keepdims=1)
    least = edit.constant("pooling.least", np.array(1e-9, np.float32))
    count = edit.op("Max", [count, least], "pooling.at_least")
    flat = edit.op("Squeeze", [total, axis], "pooling.sum")
    return edit.op("Div", [flat, count], "pooled")


def _first(edit: GraphEdit, states: ir.Value) -> ir.Value:
    """Hidden state of the token that stands before the text."""
    first = edit.constant("pooling.first", np.array(0, np.int64))
    return edit.op("Gather", [states, first], "pooled", axis=1)


def _cut(edit: GraphEdit, pooled: ir.Value, dim: int) -> ir.Value:
    start, axis = _ints(edit, "cut.start", 0), _ints(edit, "cut.axis", 1)
    return edit.op("Slice", [pooled, start, _ints(edit, "cut.end", dim), axis], f"cut.{dim}")


def _ints(edit: GraphEdit, name: str, value: int) -> ir.Value:
    return edit.constant(name, np.array([value], np.int64))
