"""Calibration: run the fp32 graph once over sample texts and keep only peaks and moments.

The values are reduced inside the graph, and weights stay in mapped pages because prepacking is
off, so memory stays near the activations of one batch.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.bundle import Bundle
from embedge.models.graph_file import read_graph
from embedge.models.sample_texts import SampleText
from embedge.models.steps import StepProgress, no_progress
from embedge.quantize.probes import Probe, What, add_probes
from embedge.quantize.statistics import Moments, Peaks, Statistics, round_to, round_up
from embedge.quantize.token_batches import TokenBatch, texts_sha256, token_batches
from embedge.runtime.engine import Session, open_session

Float64 = NDArray[np.float64]
Totals = dict[tuple[str, What], Float64]
"""Reduced values by name of the probed value and kind of reduction."""

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
    """Measure every norm and GELU that feeds a linear.

    Args:
        bundle: an fp32 bundle.
        texts: of at least four languages; every fourth language validates.
        threads: of ONNX Runtime.
        progress: told the tokens done, under the step `calibrate`.
    """
    model = read_graph(bundle.graph_path("fp32", bundle.manifest.full_dim)[0])
    probes = add_probes(model)
    session = open_over(model, bundle.path, threads, keep_mapped=True)
    sets = [token_batches(bundle, part) for part in split_by_language(texts)]
    total = sum(batch.tokens for batches in sets for batch in batches)
    done = 0

    def count(tokens: int) -> None:
        nonlocal done
        done += tokens
        progress("calibrate", done, total)

    calibration, validation = (_totals(session, batches, probes, count) for batches in sets)
    return summarise(probes, calibration, validation, texts_sha256(texts), total)


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


def _totals(
    session: Session,
    batches: Sequence[TokenBatch],
    probes: Sequence[Probe],
    count: Callable[[int], None],
) -> Totals:
    totals: Totals = {}
    names = [probe.output for probe in probes]
    for batch in batches:
        feed = {"input_ids": batch.ids, "attention_mask": batch.mask}
        for probe, value in zip(probes, session.run(names, feed), strict=True):
            key, new = (probe.source, probe.what), np.asarray(value, np.float64).reshape(-1)
            combine = np.maximum if probe.what == "peak" else np.add
            totals[key] = combine(totals[key], new) if key in totals else new
        count(batch.tokens)
    return totals


def summarise(
    probes: Sequence[Probe],
    calibration: Totals,
    validation: Totals,
    text_sha256: str,
    tokens: int,
) -> Statistics:
    """Turn the totals of both sets into rounded statistics."""
    peaks: dict[str, dict[str, Peaks]] = {"norm": {}, "gelu": {}}
    moments: dict[str, Moments] = {}
    for probe in probes:
        if probe.what == "peak":
            new = Peaks(
                *(
                    round_up(part[probe.source, "peak"].tolist())
                    for part in (calibration, validation)
                )
            )
            known = peaks[probe.kind].get(probe.site, new)
            # The experts of a layer share a site.
            peaks[probe.kind][probe.site] = Peaks(
                np.maximum(known.calibration, new.calibration),
                np.maximum(known.validation, new.validation),
            )
        elif probe.what == "sum":
            own = _moments(probe.source, calibration, validation)
            moments |= dict.fromkeys(probe.linears, own)
    return Statistics(peaks["norm"], peaks["gelu"], moments, text_sha256, tokens)


def _moments(source: str, calibration: Totals, validation: Totals) -> Moments:
    def total(what: What) -> Float64:
        return calibration[source, what] + validation[source, what]

    seen = float(total("rows")[0])
    mean = total("sum") / max(seen, 1.0)
    variance = np.zeros(0)
    if (source, "square") in calibration:
        variance = np.maximum(total("square") / max(seen, 1.0) - mean**2, 0.0)
    return Moments(round_to(mean), round_to(variance), int(seen))
