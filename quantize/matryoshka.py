"""Smaller trained sizes: the same graph with another cut before the unit length."""

import numpy as np
import onnx_ir as ir

from embedge.models.graph_edit import GraphEdit, constant, first_input, producer, remove_unused

EMBEDDING = "embedding"


def cut(model: ir.Model, dim: int) -> ir.Model:
    """Return a copy of `model` whose `embedding` keeps the first `dim` features.

    The cut comes before the unit length and after the mean, without a norm in between; all
    constants are shared with `model`, so both can lie over one weight file.

    Args:
        model: gives `embedding` through LpNormalization, cut to no less than `dim`.
        dim: features to keep.

    Raises:
        ValueError: the graph does not end in a normalisation, or is narrower than `dim`.
    """
    copy = model.clone()
    outputs = {value.name: value for value in copy.graph.outputs}
    normalise = producer(outputs[EMBEDDING], "LpNormalization") if EMBEDDING in outputs else None
    if normalise is None:
        raise ValueError(
            f"the graph's output {EMBEDDING!r} does not come from LpNormalization; "
            f"it cannot be cut to {dim} features"
        )
    pooled = _uncut(first_input(normalise))
    width = pooled.shape[-1] if pooled.shape is not None else None
    if isinstance(width, int) and dim > width:
        raise ValueError(f"the graph gives {width} features, so it cannot be cut to {dim}")
    edit = GraphEdit(copy.graph)
    x = pooled
    if dim != width:
        bounds = [
            edit.constant(f"cut.{label}.{value}", np.array([value], np.int64))
            for label, value in (("start", 0), ("end", dim), ("axis", 1))
        ]
        x = edit.op("Slice", [pooled, *bounds], f"cut.{dim}")
    normalise.replace_input_with(0, x)
    outputs[EMBEDDING].shape = ir.Shape([*_leading(outputs[EMBEDDING]), dim])
    copy.graph.sort()
    remove_unused(copy.graph)
    return copy


def _uncut(value: ir.Value) -> ir.Value:
    slicing = producer(value, "Slice")
    if slicing is None or constant(slicing.inputs[2]) is None:
        return value
    return first_input(slicing)


def _leading(value: ir.Value) -> list[int | str | None]:
    if value.shape is None:
        return [None]
    return [size if isinstance(size, int) else size.value for size in value.shape[:-1]]
