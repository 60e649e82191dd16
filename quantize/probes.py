"""Extra outputs of the float graph: peaks and sums of the values that linears read.

All reductions run inside the graph and skip padding, so a batch leaves behind a few vectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from embedge.models.graph_edit import GraphEdit
from embedge.quantize.linears import Linear, find_linears
from embedge.quantize.trace import rank_of

What = Literal["peak", "sum", "square", "rows"]


@dataclass(frozen=True)
class Probe:
    """One output and what it means.

    Attributes:
        output: name in the graph.
        what: peak (channels,) or (1,), sum and sum of squares (channels,), or number of rows (1,).
        source: name of the value; probes of one value share it.
        site: of the linears that read the value.
        linears: their names.
        kind: `norm` or `gelu`.
    """

    output: str
    what: What
    source: str
    site: str
    linears: tuple[str, ...]
    kind: Literal["norm", "gelu"]


def add_probes(model: ir.Model) -> list[Probe]:
    """Add the outputs for every norm and GELU that feeds linears; `model` is changed in place."""
    edit = GraphEdit(model.graph)
    linears = find_linears(model.graph)
    behind = {linear.output: linear for linear in linears.found}
    mask = _mask_rows(edit)
    probes: list[Probe] = []
    for group in linears.by_source():
        first = group[0]
        if first.kind == "other":
            continue
        rows = mask
        for number, index in enumerate(_gathers_before(first.source, behind)):
            rows = edit.op("Gather", [rows, index], f"{first.name}.probe_rows.{number}", axis=0)
        for what, value in _reductions(edit, first, rows).items():
            value.type = ir.TensorType(ir.DataType.FLOAT)
            model.graph.outputs.append(value)
            names = tuple(linear.name for linear in group)
            probes.append(
                Probe(str(value.name), what, str(first.source.name), first.site, names, first.kind)
            )
    edit.finish()
    return probes


def _mask_rows(edit: GraphEdit) -> ir.Value:
    """Return the mask as float, one number per row of the flattened batch."""
    mask = next(value for value in edit.graph.inputs if value.name == "attention_mask")
    flat = edit.constant("probe.flat", np.array([-1], np.int64))
    rows = edit.op("Reshape", [mask, flat], "probe.mask_rows")
    return edit.op("Cast", [rows], "probe.mask", to=int(ir.DataType.FLOAT))


def _reductions(edit: GraphEdit, linear: Linear, mask: ir.Value) -> dict[What, ir.Value]:
    name, width = linear.name, linear.sizes[0]
    x = linear.source
    if rank_of(x) != 2:
        shape = edit.constant(f"probe.{width}", np.array([-1, width], np.int64))
        x = edit.op("Reshape", [x, shape], f"{name}.probe_flat")
    last = edit.constant("probe.flat", np.array([-1], np.int64))
    first = edit.constant("probe.first", np.array([0], np.int64))
    # A product with the mask sums the real rows without another pass, and gives 0 for no row.
    row = edit.op("Unsqueeze", [mask, first], f"{name}.probe_row")
    sums: dict[What, ir.Value] = {
        "sum": edit.op("MatMul", [row, x], f"{name}.probe_sum"),
        "rows": edit.op("ReduceSum", [mask, first], f"{name}.probe_count", keepdims=1),
    }
    if linear.kind == "norm":
        squares = edit.op("Mul", [x, x], f"{name}.probe_squares")
        sums["square"] = edit.op("MatMul", [row, squares], f"{name}.probe_square")
        column = edit.constant("probe.column", np.array([1], np.int64))
        real = edit.op("Unsqueeze", [mask, column], f"{name}.probe_column")
        magnitude = edit.op("Abs", [x], f"{name}.probe_magnitude")
        masked = edit.op("Mul", [magnitude, real], f"{name}.probe_real")
    else:
        largest = edit.op("ReduceMax", [x, last], f"{name}.probe_largest", keepdims=0)
        masked = edit.op("Mul", [largest, mask], f"{name}.probe_real")
        # An expert without a token has nothing to reduce.
        zero = edit.constant("probe.zero", np.array([0], np.float32))
        masked = edit.op("Concat", [masked, zero], f"{name}.probe_some", axis=0)
    return {
        "peak": edit.op("ReduceMax", [masked, first], f"{name}.probe_peak", keepdims=0),
        **sums,
    }


def _gathers_before(
    value: ir.Value, behind: Mapping[ir.Value, Linear], depth: int = 8
) -> Sequence[ir.Value]:
    """Return the row selection of the linear that a value was computed from."""
    if value in behind:
        return behind[value].gathers
    node = value.producer()
    if node is None or depth == 0 or node.op_type in {"LayerNormalization", "Add"}:
        # Experts have no norm and no residual inside; whatever has sees every row.
        operands: Sequence[ir.Value | None] = () if node is None else _erf_operands(node)
    else:
        operands = node.inputs
    for operand in operands:
        if operand is not None and operand.producer() is not None:
            found = _gathers_before(operand, behind, depth - 1)
            if found:
                return found
    return ()


def _erf_operands(node: ir.Node) -> Sequence[ir.Value | None]:
    """Return the operands of the `1 + erf` inside a spelt-out GELU, else nothing."""
    erf = [v for v in node.inputs if v is not None and v.producer() is not None]
    return [v for v in erf if v.producer().op_type == "Erf"]  # type: ignore[union-attr]  # filtered above
