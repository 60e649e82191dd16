"""The parts of an int8 bundle around its graphs: manifest, statistics, documents."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from embedge.models.bundle import TOKENIZER_NAME, Bundle
from embedge.models.manifest import GraphEntry, Json, Manifest
from embedge.models.space import canonical_json, short_hash
from embedge.quantize.int8_graph import CODES, graph_file
from embedge.quantize.scheme import Options, SiteScheme
from embedge.quantize.statistics import Statistics
from embedge.runtime.cpu import cpu_model

RECIPE = "int8/1"
# Channel statistics are long lists, so they lie beside the manifest, which holds what they decided.
STATISTICS_NAME = "calibration.json"

_DOCUMENTS = ("LICENSE", "NOTICE")
_TOOLS = ("embedge", "numpy", "onnx", "onnx_ir", "onnxruntime")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the numbers of an int8 bundle, beside its parent."""

    options: Options
    own_texts: bool
    statistics: Statistics

    @property
    def name(self) -> str:
        """`int8/1`, with a hash where options or texts are not the built-in ones."""
        if self.options == Options() and not self.own_texts:
            return RECIPE
        decided = [asdict(self.options), self.statistics.text_sha256]
        return f"{RECIPE}+{short_hash(canonical_json(decided))}"


def write_beside_graphs(parent: Bundle, folder: Path, statistics: Statistics) -> None:
    """Copy tokenizer and documents of the parent, and write the statistics."""
    for name in (TOKENIZER_NAME, *_DOCUMENTS):
        if (parent.path / name).is_file():
            shutil.copyfile(parent.path / name, folder / name)
    text = json.dumps(statistics.to_json(), separators=(",", ":"), sort_keys=True) + "\n"
    (folder / STATISTICS_NAME).write_bytes(text.encode("ascii"))


def int8_manifest(
    parent: Bundle, recipe: Recipe, schemes: Mapping[str, SiteScheme], sizes: Sequence[int]
) -> Manifest:
    """Describe the int8 bundle; nothing is measured yet."""
    manifest = parent.manifest
    calibration: dict[str, Json] = {
        "statistics": STATISTICS_NAME,
        "text_sha256": recipe.statistics.text_sha256,
        "tokens": recipe.statistics.tokens,
        "options": dict(asdict(recipe.options)),
        "sites": {site: scheme.to_json() for site, scheme in schemes.items()},
    }
    return replace(
        manifest,
        identity=replace(manifest.identity, variant="int8", recipe=recipe.name),
        recipes=dict.fromkeys(CODES, recipe.name),
        graphs=tuple(
            GraphEntry(variant, size, graph_file(variant, size, manifest.full_dim))
            for variant in CODES
            for size in sizes
        ),
        files={},
        measured={},
        calibration=calibration,
        parent=_parent_entry(parent),
        tools={**{name: version(name) for name in _TOOLS}, "cpu": cpu_model()},
    )


def _parent_entry(parent: Bundle) -> dict[str, Json]:
    manifest = parent.manifest
    return {
        "name": manifest.name,
        "space": manifest.space("fp32", manifest.full_dim).fingerprint,
        "files": {name: entry.sha256 for name, entry in manifest.files.items()},
    }
