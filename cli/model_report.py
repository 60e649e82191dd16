"""What `embed models` prints about models, for people and as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from embedge.models.bundle import open_bundle
from embedge.models.disk_space import readable_size
from embedge.models.errors import EmbedgeError
from embedge.models.manifest import Json, Manifest
from embedge.models.places import cache_dir as user_cache_dir
from embedge.models.store import InstalledModel, find_model

Row = dict[str, Any]

_SHOWN_FIGURES = 5


def installed_rows(
    models: Sequence[InstalledModel], default: str, cache_dir: Path | None
) -> list[Row]:
    """Describe installed models, one row each; damaged ones carry their problem."""
    try:
        chosen = find_model(default, cache_dir=cache_dir).absolute()
    except EmbedgeError:
        chosen = None  # the default was removed; no row is marked
    return [
        {
            "name": model.name,
            "revision": model.revision,
            "precision": model.precision,
            "bundled": model.is_bundled,
            "default": model.path.absolute() == chosen,
            "size_bytes": _size(model.manifest),
            "dims": list(model.manifest.matryoshka) if model.manifest else [],
            "variants": list(model.manifest.variants()) if model.manifest else [],
            "path": str(model.path),
            "problem": model.problem,
        }
        for model in models
    ]


def available_rows(known: Mapping[str, tuple[str, str]], installed: Iterable[str]) -> list[Row]:
    """Describe the models that `pull` knows by name and that are not installed."""
    return [
        {"name": name, "revision": revision, "available": True, "repository": repo}
        for name, (repo, revision) in known.items()
        if name not in set(installed)
    ]


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out in columns."""
    cells = [(" ", "NAME", "REVISION", "FORM", "SIZE", "DIMS", "")]
    for row in rows:
        if row.get("available"):
            cells.append(("", row["name"], row["revision"][:12], "-", "-", "-", "not installed"))
            continue
        note = "bundled" if row["bundled"] else ""
        cells.append(
            (
                "*" if row["default"] else "",
                row["name"],
                row["revision"][:12] or "-",
                row["precision"] or "-",
                readable_size(row["size_bytes"]),
                ",".join(map(str, row["dims"])) or "-",
                f"damaged: {row['problem']}" if row["problem"] else note,
            )
        )
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    return "\n".join(
        "  ".join(
            (*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[6])
        ).rstrip()
        for line in cells
    )


def described(path: Path, manifest: Manifest) -> Row:
    """Collect what `show` says: the manifest, and a fingerprint per variant and size."""
    return {
        "name": manifest.name,
        "precision": manifest.identity.variant,
        "path": str(path.absolute()),
        "size_bytes": _size(manifest),
        "fingerprints": {
            variant: {
                str(dim): manifest.space(variant, dim).fingerprint for dim in _sizes(manifest)
            }
            for variant in manifest.variants()
        },
        "manifest": asdict(manifest),
    }


def description(report: Row) -> str:
    """Write what `described` collected for people."""
    manifest = report["manifest"]
    identity = manifest["identity"]
    lines = [
        f"{report['name']}@{report['precision']}",
        f"  folder       {report['path']}",
        f"  size         {readable_size(report['size_bytes'])}",
        f"  revision     {manifest['revision'] or 'none given'}",
        f"  licence      {manifest['license']}",
        f"  sizes        {', '.join(map(str, manifest['matryoshka']))}",
        f"  max tokens   {identity['max_tokens']}",
    ]
    for variant, spaces in report["fingerprints"].items():
        graphs = sorted(
            (graph["dim"] for graph in manifest["graphs"] if graph["variant"] == variant),
            reverse=True,
        )
        lines.append(f"  {variant:<12} recipe {manifest['recipes'][variant]}, graphs {graphs}")
        lines += [f"    {dim:>6}     {fingerprint}" for dim, fingerprint in spaces.items()]
    lines += ["  prompts"]
    lines += [f"    {task:<16} {text!r}" for task, text in identity["prompts"].items()]
    if manifest["measured"]:
        lines += ["  measured", *_tree(manifest["measured"], 4)]
    if manifest["sources"]:
        lines.append("  sources")
        lines += [
            "    " + ", ".join(f"{key}: {text}" for key, text in source.items())
            for source in manifest["sources"]
        ]
    return "\n".join(lines)


def check_bundles(paths: Sequence[Path], cache_dir: Path | None) -> list[dict[str, str | None]]:
    """Hash all files of each bundle; `problem` is None where they match the manifest."""
    results: list[dict[str, str | None]] = []
    memory = user_cache_dir() if cache_dir is None else cache_dir
    for path in paths:
        problem = None
        try:
            open_bundle(path, verify="full", cache_dir=memory)
        except EmbedgeError as error:  # the others are still checked; the command ends with 4
            problem = str(error)
        results.append({"path": str(path), "problem": problem})
    return results


def _size(manifest: Manifest | None) -> int:
    return sum(entry.size for entry in manifest.files.values()) if manifest else 0


def _sizes(manifest: Manifest) -> tuple[int, ...]:
    return manifest.matryoshka or (manifest.full_dim,)


def _tree(value: Mapping[str, Json], indent: int) -> list[str]:
    """Write nested figures, one line for each figure and for each flat object of figures."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict) and any(isinstance(one, dict) for one in item.values()):
            lines += [f"{' ' * indent}{key}", *_tree(item, indent + 2)]
        else:
            lines.append(f"{' ' * indent}{key:<18} {_flat(item)}")
    return lines


def _flat(item: Json) -> str:
    if not isinstance(item, dict):
        return _plain(item)
    figures = [(one, key) for key, one in item.items() if isinstance(one, int | float)]
    if len(figures) == len(item) > _SHOWN_FIGURES:
        lowest = ", ".join(f"{key} {_plain(one)}" for one, key in sorted(figures)[:_SHOWN_FIGURES])
        return f"lowest of {len(item)}: {lowest}"
    return ", ".join(f"{key} {_plain(one)}" for key, one in item.items())


def _plain(item: Json) -> str:
    if isinstance(item, float):
        return f"{item:.6g}"
    if isinstance(item, list):
        return " ".join(_plain(one) for one in item)
    return str(item)
