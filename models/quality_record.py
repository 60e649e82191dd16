"""A bundle with its own scores in it: what `embed eval --record` writes."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from embedge.models.bundle import Bundle, new_bundle
from embedge.models.card import CARD_NAME, EVALUATION, model_card
from embedge.models.manifest import MANIFEST_NAME, Json, Manifest


def copy_with_scores(bundle: Bundle, out: Path, scores: Mapping[str, Json]) -> Bundle:
    """Write a copy of `bundle` whose manifest and card carry `scores`.

    Vectors do not change, so the fingerprints stay. Scores of other groups that the bundle
    already carries are kept.

    Args:
        bundle: any bundle; it is not changed.
        out: folder to make.
        scores: group of tasks -> `kind`, `measure`, `tasks`, and `points`: variant (or `bm25`) ->
            size as a string -> points.

    Raises:
        BundleError: `out` exists.
    """
    manifest = bundle.manifest
    before = manifest.measured.get(EVALUATION, {})
    assert isinstance(before, dict)
    measured: dict[str, Json] = {**manifest.measured, EVALUATION: {**before, **scores}}
    manifest = replace(manifest, measured=measured)
    with new_bundle(out) as draft:
        for file in bundle.path.iterdir():
            if file.is_file() and file.name not in (MANIFEST_NAME, CARD_NAME):
                shutil.copyfile(file, draft.folder / file.name)
        (draft.folder / CARD_NAME).write_bytes(model_card(manifest).encode("utf-8"))
        return draft.finish(manifest)


def what_a_cut_costs(manifest: Manifest, variant: str, dim: int) -> str | None:
    """Say what the sizes around an untrained one score: `xquad nDCG@10: 90.0 at 384, 88.3 at 256`.

    None where the bundle carries no scores of `variant` at two sizes or more.
    """
    groups = cast("Mapping[str, Mapping[str, Json]]", manifest.measured.get(EVALUATION, {}))
    for name, group in groups.items():
        scores = cast("Mapping[str, Mapping[str, float]]", group["points"]).get(variant, {})
        sizes = sorted((int(size) for size in scores), reverse=True)
        if len(sizes) > 1:
            above = [size for size in sizes if size > dim][-1:]
            below = [size for size in sizes if size < dim][:1]
            shown = list(dict.fromkeys([sizes[0], *above, *below]))
            if len(shown) == 1:
                shown = sizes[-2:]
            figures = ", ".join(f"{scores[str(size)]:.1f} at {size}" for size in shown)
            return f"{name} {group['measure']}: {figures}"
    return None
