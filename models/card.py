"""`card.md`: what a bundle is and what it was measured to do, for people."""

from collections.abc import Mapping, Sequence
from typing import cast

from embedge.models.manifest import Json, Manifest

CARD_NAME = "card.md"

EVALUATION = "evaluation"
"""Key below `measured` in the manifest: scores that `embed eval --record` wrote."""


def model_card(manifest: Manifest) -> str:
    """Describe a bundle in Markdown; everything in it follows from the manifest."""
    parts = [_head(manifest), _prompts(manifest), _graphs(manifest), _inputs(manifest)]
    if "against_parent" in manifest.measured:
        parts.append(_measured(manifest))
    if EVALUATION in manifest.measured:
        parts.append(_evaluation(manifest))
    if manifest.sources:
        parts.append(_sources(manifest))
    return "\n".join(parts)


def _head(manifest: Manifest) -> str:
    a = manifest.architecture
    sizes = ", ".join(str(size) for size in manifest.matryoshka)
    vector = "the mean of the hidden states"
    if manifest.identity.pooling == "cls":
        vector = "the hidden state of the first token"
    return f"""# {manifest.name}

Text embedding model: {a["parameters"]:,} parameters, {a["layers"]} layers of {a["hidden"]}
{_kind(a)} Licence: {manifest.license}. Revision: {manifest.revision}.

A vector is {vector}, cut to its first features and scaled to unit length;
compare by cosine. Trained sizes: {sizes}. Longest input: {manifest.identity.max_tokens} tokens,
prefix and special tokens included.
"""


def _kind(a: Mapping[str, Json]) -> str:
    if not a["experts"]:
        return f"features, dense, of the kind {a['kind']}."
    return (
        f"features, {a['experts']} experts of which each token uses {a['experts_per_token']},\n"
        f"{a['positions']} positions."
    )


def _prompts(manifest: Manifest) -> str:
    rows = [f"| {task} | `{text}` |" for task, text in sorted(manifest.identity.prompts.items())]
    return "\n".join(["| Task | Prefix |", "|---|---|", *rows, ""])


def _graphs(manifest: Manifest) -> str:
    rows = [
        f"| `{g.file}` | {g.variant} | {g.dim} | `{manifest.space(g.variant, g.dim)}` |"
        for g in manifest.graphs
    ]
    return "\n".join(["| Graph | Variant | Size | Space |", "|---|---|---|---|", *rows, ""])


def _inputs(manifest: Manifest) -> str:
    a = manifest.architecture
    standard = a["flavor"] == "standard"
    operators = "standard operators only" if standard else "operators of ONNX Runtime"
    return f"""Inputs `input_ids` and `attention_mask`: int64 (batch, sequence), right-padded.
Outputs `embedding`: float32 (batch, size), cut and of unit length; `pooled`: float32
(batch, {manifest.full_dim}), before both. Opset {a["opset"]}, {operators}.
"""


def _measured(manifest: Manifest) -> str:
    """Cosine to the fp32 parent on the packaged measurement texts, per variant."""
    by_variant = cast("Mapping[str, Mapping[str, Json]]", manifest.measured["against_parent"])
    rows = [
        f"| {variant} | {found['texts']} | {found['mean']} | {found['p1']} | {found['min']} |"
        f" {found['language']} | {found['top10_overlap']} |"
        for variant, found in sorted(by_variant.items())
    ]
    return "\n".join(
        [
            "Cosine to the fp32 graph it was made from, on the packaged measurement texts:",
            "",
            "| Variant | Texts | Mean | 1 % quantile | Least | Lowest language | Same top 10 |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _evaluation(manifest: Manifest) -> str:
    """Averages per data set, as `embed eval --record` measured them on this bundle."""
    groups = cast("Mapping[str, Mapping[str, Json]]", manifest.measured[EVALUATION])
    columns: dict[tuple[str, str], None] = {}
    for group in groups.values():
        for variant, by_size in cast("Mapping[str, Mapping[str, Json]]", group["points"]).items():
            columns |= dict.fromkeys((variant, size) for size in by_size)
    ordered = sorted(columns, key=lambda column: (column[0], -int(column[1] or 0)))
    rows = []
    for name, group in groups.items():
        points = cast("Mapping[str, Mapping[str, Json]]", group["points"])
        cells = [points.get(variant, {}).get(size, "") for variant, size in ordered]
        rows.append(f"| {name} | {group['measure']} | {group['tasks']} | {_cells(cells)} |")
    return "\n".join(
        [
            "Measured with `embed eval` on this bundle, in points (values times 100):",
            "",
            f"| Tasks | Measure | Number | {_cells([' '.join(c).strip() for c in ordered])} |",
            "|---" * (3 + len(ordered)) + "|",
            *rows,
            "",
        ]
    )


def _cells(values: Sequence[Json]) -> str:
    return " | ".join(str(value) for value in values)


def _sources(manifest: Manifest) -> str:
    rows = [
        f"| {source.get('what', '')} | {source.get('from', '')} | {source.get('license', '')} |"
        for source in manifest.sources
    ]
    return "\n".join(["| Made from | Source | Licence |", "|---|---|---|", *rows, ""])
