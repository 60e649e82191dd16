"""Checkpoint to the bundle that was asked for: export, and quantize where int8 is wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from embedge.models.bundle import Bundle, move_bundle, open_bundle, scratch_folder
from embedge.models.steps import StepProgress, no_progress

if TYPE_CHECKING:
    from embedge.models.source import SourceOverrides
    from embedge.quantize import QuantizeReport

Precision = Literal["fp32", "int8"]
ExportEngine = Literal["native", "optimum", "onnx"]


@dataclass(frozen=True)
class Converted:
    """The bundle that was made, and what quantizing it cost (None for fp32)."""

    bundle: Bundle
    report: "QuantizeReport | None"


def convert_checkpoint(
    checkpoint: Path,
    out: Path,
    *,
    precision: Precision,
    engine: ExportEngine = "native",
    dims: Sequence[int] = (),
    source: "SourceOverrides | None" = None,
    flavor: Literal["ort", "standard"] = "ort",
    opset: int | None = None,
    checks: bool = True,
    calibrate: Sequence[Path] = (),
    measure: bool = True,
    parent_out: Path | None = None,
    progress: StepProgress = no_progress,
) -> Converted:
    """Export a checkpoint folder, and quantize the result where `precision` is int8.

    Args:
        checkpoint: folder with config, tokenizer and safetensors weights.
        out: the bundle folder to make; it appears only when it is complete.
        precision: form of the weights.
        engine: `native` traces Nomic's architecture, `optimum` dense encoders, `onnx` takes the
            graph that the folder holds.
        dims: sizes that get a graph of their own (int8); none means all trained sizes.
        source: values that the folder does not give.
        flavor: `standard` writes no operator outside the ONNX standard.
        opset: version of the standard operators; None takes the engine's own.
        checks: compare with published values, or with what the graph was traced from.
        calibrate: texts to calibrate with instead of the packaged ones.
        measure: fix the ranges of `precision="int8"`, and for int8 measure the distance between
            the two bundles; a parent that is not kept needs no ranges.
        parent_out: where the fp32 bundle between the two steps is kept; None removes it.
        progress: told about every step.

    Raises:
        EmbedgeError: as `export_checkpoint`, `export_dense` and `quantize_bundle`; nothing is left.
    """

    def export(place: Path) -> Bundle:
        ranges = measure and (precision == "fp32" or parent_out is not None)
        if engine == "native":
            from embedge.export import export_checkpoint
            from embedge.export.trace import DEFAULT_OPSET

            return export_checkpoint(
                checkpoint, place, source=source, flavor=flavor, opset=opset or DEFAULT_OPSET,
                checks=checks, measure=ranges, progress=progress,
            )  # fmt: skip
        from embedge.export.dense import export_dense

        return export_dense(
            checkpoint, place, engine=engine, source=source, flavor=flavor, opset=opset,
            checks=checks, measure=ranges, progress=progress,
        )  # fmt: skip

    if precision == "fp32":
        return Converted(export(out), None)
    with scratch_folder(out) as scratch:
        parent = export(scratch / "fp32")
        converted = quantize_parent(
            parent.path, out, dims=dims, calibrate=calibrate, measure=measure, progress=progress
        )
        if parent_out is not None:
            move_bundle(parent.path, parent_out)
    return converted


def quantize_parent(
    parent: Path,
    out: Path,
    *,
    dims: Sequence[int] = (),
    calibrate: Sequence[Path] = (),
    measure: bool = True,
    progress: StepProgress = no_progress,
) -> Converted:
    """Quantize an fp32 bundle that stays where it is.

    Raises:
        EmbedgeError: as `quantize_bundle`; nothing is left.
    """
    from embedge.quantize import quantize_bundle

    report = quantize_bundle(
        parent,
        out,
        variant="int8",
        dims=list(dims) or None,
        calibrate=calibrate,
        measure=measure,
        progress=progress,
    )
    return Converted(open_bundle(out), report)
