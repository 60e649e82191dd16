"""`quantize_bundle`: calibrate, choose, rewrite, write and measure, in this order."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from embedge.models.bundle import Bundle, new_bundle, open_bundle
from embedge.models.card import CARD_NAME, model_card
from embedge.models.errors import InvalidOption
from embedge.models.graph_file import write_graphs
from embedge.models.sample_texts import calibration_texts
from embedge.models.space import Variant
from embedge.models.steps import StepProgress, no_progress
from embedge.quantize.bundle_parts import Recipe, int8_manifest, write_beside_graphs
from embedge.quantize.calibrate import calibrate as calibrate_on
from embedge.quantize.distance import Distance
from embedge.quantize.int8_graph import int8_graphs
from embedge.quantize.linears import find_linears
from embedge.quantize.measure import measure_draft, require_floors
from embedge.quantize.report import QuantizeReport
from embedge.quantize.scheme import Options, choose_schemes, float_graph, mean_inputs
from embedge.quantize.token_batches import texts_of_files
from embedge.quantize.weights import WeightQuantizer
from embedge.runtime.cpu import plan_threads
from embedge.runtime.selftest import write_selftest


def quantize_bundle(
    bundle: Path,
    out: Path,
    *,
    variant: Variant = "int8",
    dims: Sequence[int] | None = None,
    calibrate: Sequence[Path] = (),
    measure: bool = True,
    progress: StepProgress = no_progress,
    options: Options | None = None,
) -> QuantizeReport:
    """Write the fp32 bundle as a smaller int8 bundle, and say what was chosen and what it cost.

    The new bundle holds `int8` and, over the same weights, `int8-avx2` for CPUs whose 8-bit sums
    saturate. `out` appears only when it is complete and keeps the floors that the source declares.

    Args:
        bundle: folder of an fp32 bundle.
        out: folder to make.
        variant: `int8`, the only precision there is.
        dims: trained sizes to write protos for; all of them if None.
        calibrate: UTF-8 files with one text per line, instead of the packaged texts; the recipe
            then carries a hash of them.
        measure: compare with the parent on the packaged measurement texts.
        progress: told about the steps `calibrate`, `write weights` and `measure`.
        options: numbers of the recipe other than the built-in ones; the recipe carries a hash.

    Raises:
        InvalidOption: another variant, an untrained size, or a bundle that is not fp32.
        InputError: a calibration file cannot be read.
        BundleError, ModelIntegrityError: the parent is damaged, `out` exists, or the measured
            quality misses a declared floor; nothing is left then.
    """
    parent = open_bundle(bundle)
    sizes = _check(parent, variant, dims)
    texts = texts_of_files(calibrate) if calibrate else calibration_texts()
    watch = Watch()
    threads = plan_threads().threads
    # The draft comes first: an `out` that exists is refused before the long work.
    with new_bundle(out) as draft:
        with watch.timing("calibrate"):
            statistics = calibrate_on(parent, texts, threads=threads, progress=progress)
        recipe = Recipe(options or Options(), own_texts=bool(calibrate), statistics=statistics)
        report = write_quantized(parent, draft.folder, sizes, recipe, watch, progress)
        manifest = int8_manifest(parent, recipe, report.schemes, sizes)
        distances: dict[Variant, Distance] = {}
        if measure:
            with watch.timing("measure"):
                manifest, distances = measure_draft(
                    parent, draft.folder, manifest, threads=threads, progress=progress
                )
            require_floors(manifest, distances)
        write_selftest(draft.folder, manifest)
        card = model_card(manifest).encode("utf-8")
        (draft.folder / CARD_NAME).write_bytes(card)
        written = draft.finish(manifest)
    return replace(
        report, bundle=out, size_bytes=written.size_bytes, distances=distances,
        seconds=dict(watch.seconds),
    )  # fmt: skip


class Watch:
    """Durations of the phases, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timing(self, phase: str) -> Iterator[None]:
        """Add the time of the block to `phase`."""
        start = time.perf_counter()
        yield
        self.seconds[phase] = time.perf_counter() - start


def write_quantized(
    parent: Bundle,
    folder: Path,
    sizes: Sequence[int],
    recipe: Recipe,
    watch: Watch,
    progress: StepProgress = no_progress,
) -> QuantizeReport:
    """Write weights, protos, tokenizer, documents and statistics of an int8 bundle to `folder`.

    Everything written follows from the parent and the recipe alone.
    """
    with watch.timing("quantize"):
        model = float_graph(parent)
        schemes = choose_schemes(model, recipe.statistics, recipe.options)
        linears = find_linears(model.graph)
        weights = WeightQuantizer(mean_inputs(model, recipe.statistics, schemes))
        graphs, tables = int8_graphs(lambda: float_graph(parent), schemes, sizes, weights)
        write_graphs(graphs, folder, progress)
        write_beside_graphs(parent, folder, recipe.statistics)
    return QuantizeReport(
        bundle=folder,
        size_bytes=0,
        schemes=schemes,
        kept_float=linears.kept_float,
        tables=tables,
        tokens=recipe.statistics.tokens,
    )


def _check(parent: Bundle, variant: Variant, dims: Sequence[int] | None) -> tuple[int, ...]:
    manifest = parent.manifest
    if variant != "int8":
        raise InvalidOption(
            f"variant {variant!r} cannot be written by itself; choose int8, whose bundle holds "
            f"int8-avx2 too"
        )
    if manifest.identity.variant != "fp32":
        raise InvalidOption(
            f"{parent.path} holds {manifest.identity.variant}, and quantizing starts from fp32. "
            f"Export the model again with `embed export`."
        )
    sizes = tuple(sorted(set(dims or manifest.matryoshka), reverse=True))
    untrained = [size for size in sizes if size not in manifest.matryoshka]
    if untrained:
        raise InvalidOption(
            f"{manifest.name} is not trained for {untrained}; choose among "
            f"{', '.join(map(str, manifest.matryoshka))}"
        )
    return sizes
