"""Smoothing: move outliers from a norm's output into the weights behind it, exactly.

`y = (x / s) (diag(s) W)` holds for every positive vector s (SmoothQuant, arXiv 2211.10438). In a
post-norm encoder the norm's output also feeds the residual, so s cannot be folded into the norm.
Instead the sum is normalised twice: once as before, and once by a twin with `gamma / s` and
`beta / s` that only the linears read.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.graph_edit import GraphEdit, constant, first_input, lazy
from embedge.quantize.linears import TWIN_SUFFIX, Linear, find_linears
from embedge.quantize.trace import rank_of
from embedge.quantize.weights import float_weight

Float32 = NDArray[np.float32]

_FLOOR = 1e-5  # smallest channel maximum; a channel that is always zero must not divide by zero


def smoothing_scale(activation_max: Float32, weight_max: Float32, alpha: float) -> Float32:
    """Return s, one positive factor per channel: `A^alpha / w^(1 - alpha)`.

    Rounded to four significant digits, so that the last bit of a power function, which differs
    between platforms, never reaches the file.

    Args:
        activation_max: (channels,), largest magnitude per channel over calibration.
        weight_max: (channels,), largest magnitude per input row over all linears that share s.
        alpha: 1 makes all activation channels equally large, 0 all weight rows.
    """
    a = np.maximum(activation_max.astype(np.float64), _FLOOR)
    w = np.maximum(weight_max.astype(np.float64), _FLOOR)
    return np.array([float(f"{s:.3e}") for s in a**alpha / w ** (1 - alpha)], np.float32)


def shared_weight_max(linears: Sequence[Linear]) -> Float32:
    """Return the largest magnitude per input row over several linears: (inputs,)."""
    rows = [np.abs(float_weight(linear)).max(axis=1) for linear in linears]
    return np.asarray(np.max(rows, axis=0), np.float32)


def smooth(model: ir.Model, scales: Mapping[str, Float32]) -> None:
    """Give each named norm a twin divided by its scale, and its linears the inverse factor.

    The graph computes the same function up to float rounding.

    Args:
        model: changed in place.
        scales: s per site name (`Linear.site`); other sites stay as they are.
    """
    edit = GraphEdit(model.graph)
    for group in find_linears(model.graph).by_source():
        if group[0].kind == "norm" and group[0].site in scales:
            _smooth_group(edit, group, scales[group[0].site])
    edit.finish()


def _smooth_group(edit: GraphEdit, group: Sequence[Linear], scale: Float32) -> None:
    twin = _twin(edit, group[0].source, scale)
    flat = twin
    if rank_of(group[0].source) != 2:
        shape = edit.constant(f"rows_of.{scale.size}", np.array([-1, scale.size], np.int64))
        flat = edit.op("Reshape", [twin, shape], f"{twin.name}.rows")
    for linear in group:
        x = flat if linear.gathers or rank_of(first_input(linear.node)) == 2 else twin
        for number, rows in enumerate(linear.gathers):
            x = edit.op("Gather", [x, rows], f"{linear.name}.smoothed_rows.{number}", axis=0)
        linear.node.replace_input_with(0, x)
        _scale_weight(edit, linear, scale)


def _twin(edit: GraphEdit, source: ir.Value, scale: Float32) -> ir.Value:
    norm = source.producer()
    assert norm is not None
    inputs: list[ir.Value | None] = [norm.inputs[0]]
    for parameter in norm.inputs[1:]:
        tensor = constant(parameter)
        if parameter is None or tensor is None:
            inputs.append(None)
            continue
        name = f"{parameter.name}{TWIN_SUFFIX}"
        inputs.append(edit.constant(name, (tensor.numpy() / scale).astype(np.float32)))
    attributes = {key: attribute.value for key, attribute in norm.attributes.items()}
    twin = edit.op("LayerNormalization", inputs, f"{source.name}{TWIN_SUFFIX}", **attributes)
    twin.shape, twin.type = source.shape, source.type
    return twin


def _scale_weight(edit: GraphEdit, linear: Linear, scale: Float32) -> None:
    tensor = constant(linear.weight)
    assert tensor is not None
    factor = scale[None, :] if linear.transposed else scale[:, None]
    shape = tuple(int(size) for size in tensor.shape)  # type: ignore[arg-type]  # constants have fixed shapes
    scaled = lazy(lambda: tensor.numpy() * factor, ir.DataType.FLOAT, shape, linear.name)
    if linear.name == linear.weight.name:
        linear.weight.const_value = scaled
    else:  # other layers read the same weight behind norms of their own
        linear.node.replace_input_with(1, edit.lazy_constant(linear.name, scaled))
