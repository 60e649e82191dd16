"""Calibration: run the fp32 graph once over sample texts and keep only maxima.

The maxima are reduced inside the graph, padding is masked out, and weights stay in mapped pages
because prepacking is off, so memory stays near the activations of one batch.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.bundle import Bundle
from embedge.models.graph_file import read_graph
from embedge.models.sample_texts import SampleText
from embedge.models.steps import StepProgress, no_progress
from embedge.quantize.graph_edit import GraphEdit
from embedge.quantize.linears import Linear, find_linears
from embedge.quantize.statistics import Peaks, Statistics, round_up
from embedge.quantize.token_batches import TokenBatch, texts_sha256, token_batches
from embedge.quantize.trace import rank_of
from embedge.runtime.engine import Session, open_session

Float32 = NDArray[np.float32]

# Leaves weights in the file's pages instead of repacked copies; the folder is where a graph that
# is passed as bytes finds its weight file.
_NO_COPIES = "session.disable_prepacking"
_WEIGHT_FOLDER = "session.model_external_initializers_file_folder_path"

# Every fourth language only validates the ranges that the others set.
_VALIDATION_EVERY = 4


def calibrate(
    bundle: Bundle,
    texts: Sequence[SampleText],
    *,
    threads: int,
    progress: StepProgress = no_progress,
) -> Statistics:
    """Measure the peaks of every norm and GELU that feeds a linear.

    Args:
        bundle: an fp32 bundle.
        texts: at least two languages; every fourth language validates.
        threads: of ONNX Runtime.
        progress: told the tokens done, under the step `calibrate`.
    """
    calibration, validation = split_by_language(texts)
    model = read_graph(bundle.graph_path("fp32", bundle.manifest.full_dim)[0])
    names = add_peak_outputs(model)
    session = open_over(model, bundle.path, threads, keep_mapped=True)
    sets = [token_batches(bundle, part) for part in (calibration, validation)]
    total = sum(batch.tokens for batches in sets for batch in batches)
    done = 0

    def count(tokens: int) -> None:
        nonlocal done
        done += tokens
        progress("calibrate", done, total)

    measured = [_peaks(session, batches, names, count) for batches in sets]
    sites = {
        name: Peaks(round_up(measured[0][name]), round_up(measured[1][name]))
        for name in measured[0]
    }
    kinds = {linear.site: linear.kind for linear in find_linears(model.graph).found}
    return Statistics(
        norms={name: peaks for name, peaks in sites.items() if kinds[name] == "norm"},
        gelus={name: peaks for name, peaks in sites.items() if kinds[name] == "gelu"},
        text_sha256=texts_sha256(texts),
        tokens=total,
    )


def split_by_language(
    texts: Sequence[SampleText],
) -> tuple[list[SampleText], list[SampleText]]:
    """Divide texts into a part that sets ranges and one, of other languages, that checks them."""
    languages = sorted({row.language for row in texts})
    checking = set(languages[_VALIDATION_EVERY - 1 :: _VALIDATION_EVERY])
    return (
        [row for row in texts if row.language not in checking],
        [row for row in texts if row.language in checking],
    )


def open_over(model: ir.Model, folder: Path, threads: int, *, keep_mapped: bool) -> Session:
    """Open a changed copy of a graph over the weight file in `folder`.

    Args:
        model: read from `folder`.
        folder: holds the weight file.
        threads: of ONNX Runtime.
        keep_mapped: leave the weights in mapped pages, which is right for float weights; int8
            products need their repacked copies.
    """
    data = ir.to_proto(model).SerializeToString()
    config = {_WEIGHT_FOLDER: str(folder)} | ({_NO_COPIES: "1"} if keep_mapped else {})
    return open_session(data, threads=threads, config=config)


def add_peak_outputs(model: ir.Model) -> dict[str, str]:
    """Add outputs with the peaks of each site over the real tokens of a batch.

    Returns:
        Site by name of the output; the experts of a layer have one output each.
    """
    edit = GraphEdit(model.graph)
    linears = find_linears(model.graph)
    behind = {linear.output: linear for linear in linears.found}
    outputs: dict[str, str] = {}
    for group in linears.by_source():
        first = group[0]
        if first.kind == "norm":
            peak = _channel_peaks(edit, first)
        elif first.kind == "gelu":
            peak = _largest(edit, first, _gathers_before(first.source, behind))
        else:
            continue
        peak.type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.outputs.append(peak)
        outputs[str(peak.name)] = first.site
    edit.finish()
    return outputs


def _mask_rows(edit: GraphEdit) -> ir.Value:
    """Return the mask as float, one number per row of the flattened batch."""
    name = "calibration.mask"
    for node in edit.graph:
        if node.name == name:
            return node.outputs[0]
    mask = next(value for value in edit.graph.inputs if value.name == "attention_mask")
    flat = edit.constant("calibration.flat", np.array([-1], np.int64))
    rows = edit.op("Reshape", [mask, flat], "calibration.mask_ids")
    return edit.op("Cast", [rows], name, to=int(ir.DataType.FLOAT))


def _channel_peaks(edit: GraphEdit, linear: Linear) -> ir.Value:
    """Return the largest magnitude of each channel over the real tokens: (channels,)."""
    name, width = linear.site, linear.sizes[0]
    x = linear.source
    if rank_of(x) != 2:
        shape = edit.constant(f"calibration.{width}", np.array([-1, width], np.int64))
        x = edit.op("Reshape", [x, shape], f"{name}.rows")
    column = edit.constant("calibration.column", np.array([1], np.int64))
    rows = edit.constant("calibration.rows", np.array([0], np.int64))
    mask = edit.op("Unsqueeze", [_mask_rows(edit), column], f"{name}.mask")
    masked = edit.op("Mul", [edit.op("Abs", [x], f"{name}.magnitude"), mask], f"{name}.real")
    return edit.op("ReduceMax", [masked, rows], f"{name}.peaks", keepdims=0)


def _largest(edit: GraphEdit, linear: Linear, gathers: Sequence[ir.Value]) -> ir.Value:
    """Return the largest value over the real tokens, at least 0 and also without rows: (1,)."""
    name = linear.name
    last = edit.constant("calibration.last", np.array([-1], np.int64))
    peak = edit.op("ReduceMax", [linear.source, last], f"{name}.row_peaks", keepdims=0)
    peak = edit.op("Reshape", [peak, last], f"{name}.flat_peaks")
    mask = _mask_rows(edit)
    for number, rows in enumerate(gathers):
        mask = edit.op("Gather", [mask, rows], f"{name}.mask.{number}", axis=0)
    peak = edit.op("Mul", [peak, mask], f"{name}.real_peaks")
    zero = edit.constant("calibration.zero", np.array([0], np.float32))
    # An expert without a token has nothing to reduce.
    peak = edit.op("Concat", [peak, zero], f"{name}.some_peaks", axis=0)
    first = edit.constant("calibration.rows", np.array([0], np.int64))
    return edit.op("ReduceMax", [peak, first], f"{name}.peak", keepdims=1)


def _gathers_before(
    value: ir.Value, behind: Mapping[ir.Value, Linear], depth: int = 8
) -> tuple[ir.Value, ...]:
    """Return the row selection of the linear in front of a GELU."""
    if value in behind:
        return behind[value].gathers
    node = value.producer()
    for operand in () if node is None or depth == 0 else node.inputs:
        if operand is not None and operand.producer() is not None:
            found = _gathers_before(operand, behind, depth - 1)
            if found:
                return found
    return ()


def _peaks(
    session: Session,
    batches: Sequence[TokenBatch],
    names: Mapping[str, str],
    count: Callable[[int], None],
) -> dict[str, Float32]:
    peaks: dict[str, Float32] = {}
    for batch in batches:
        values = session.run(list(names), {"input_ids": batch.ids, "attention_mask": batch.mask})
        for site, value in zip(names.values(), values, strict=True):
            peaks[site] = np.maximum(peaks.get(site, value), value)
        count(batch.tokens)
    return peaks
