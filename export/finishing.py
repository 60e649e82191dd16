"""The last steps of every export, whatever traced the graphs."""

from dataclasses import replace

from embedge.export.ranges import measure_output_ranges
from embedge.models.bundle import Bundle, BundleDraft
from embedge.models.manifest import Manifest
from embedge.models.steps import StepProgress
from embedge.runtime.selftest import write_selftest


def finish_export(
    draft: BundleDraft, manifest: Manifest, progress: StepProgress, *, measure: bool
) -> Bundle:
    """Measure the output ranges of a draft whose files are written, add its self-test, finish it.

    Raises:
        BundleError: see `BundleDraft.finish`.
    """
    if measure:
        ranges = measure_output_ranges(draft.folder, manifest, progress)
        manifest = replace(manifest, output_ranges=ranges)
    write_selftest(draft.folder, manifest)
    progress("finish", 0, 1)
    bundle = draft.finish(manifest)
    progress("finish", 1, 1)
    return bundle
