"""What `embed models pull` does: download, export, quantize, each step only where it is needed."""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.cli.pipeline import Precision, convert_checkpoint, quantize_parent
from embedge.models.bundle import move_bundle, open_bundle, scratch_folder
from embedge.models.disk_space import require_space
from embedge.models.download import left_to_fetch
from embedge.models.errors import InvalidOption, MissingExtra
from embedge.models.hub import (
    KNOWN_MODELS,
    RemoteCheckpoint,
    fetch_checkpoint,
    find_checkpoint,
    resolve_name,
)
from embedge.models.manifest import MANIFEST_NAME, read_manifest
from embedge.models.steps import StepProgress, no_progress
from embedge.models.store import clean_store, models_dir, store_path

if TYPE_CHECKING:
    from embedge.models.source import SourceOverrides

# Graphs, tokenizer, licence texts and statistics beside the weights; 17 MB tokenizers included.
_SMALL_FILES_BYTES = 40_000_000
# int8 weights with their scales, as part of the same weights in fp32; rounded up.
_INT8_PART = 0.27


@dataclass(frozen=True)
class PullOptions:
    """What to install, and what to keep of the way there.

    Attributes:
        revision: None takes the pinned revision of a known model, else the head of `main`.
        dims: sizes that get a graph of their own; none means all trained sizes.
        keep_parent: keep the fp32 bundle in the store too.
        keep_download: keep the checkpoint, for a later pull of another form.
        measure: measure the distance between int8 and fp32.
    """

    precision: Precision = "int8"
    revision: str | None = None
    dims: tuple[int, ...] = ()
    keep_parent: bool = False
    keep_download: bool = False
    measure: bool = True
    offline: bool = False
    cache_dir: Path | None = None


@dataclass(frozen=True)
class Pulled:
    """Where the model lies, and whether it had to be made."""

    path: Path
    is_new: bool


def pull(name_or_id: str, options: PullOptions, *, progress: StepProgress = no_progress) -> Pulled:
    """Install a model into the store, and return at once when it is there already.

    Raises:
        ModelNotFound, OfflineError: the model is unknown, or the network is forbidden.
        EmbedgeError: the download or a conversion failed, or too little space is free; finished
            parts of a download are kept for the next try.
    """
    if options.precision == "fp32" and options.dims:
        raise InvalidOption("--dim chooses int8 graphs; an fp32 bundle always holds every size")
    _require_export_extra()
    clean_store(options.cache_dir)
    repo, revision = resolve_name(name_or_id, options.revision)
    name = _likely_name(repo)
    installed = store_path(name, revision, options.precision, cache_dir=options.cache_dir)
    if _holds(installed, options.dims):
        return Pulled(installed, is_new=False)
    parent = store_path(name, revision, "fp32", cache_dir=options.cache_dir)
    if options.precision == "int8" and (parent / MANIFEST_NAME).is_file():
        _quantize_stored(parent, installed, options, progress)
        return Pulled(installed, is_new=True)
    remote = find_checkpoint(repo, revision, offline=options.offline)
    if remote.revision != revision:  # a branch: its commit may be here already
        return pull(repo, replace(options, revision=remote.revision), progress=progress)
    return Pulled(_download_and_convert(remote, name, options, progress), is_new=True)


def _require_export_extra() -> None:
    """Find out before a long download that the conversion could not run."""
    for package in ("onnx", "onnx_ir", "onnxscript", "safetensors"):
        if find_spec(package) is None:
            raise MissingExtra(
                f"pulling converts a checkpoint and needs {package}, which is not installed. "
                f"Run: pip install 'embedge[export]'"
            )


def _likely_name(repo: str) -> str:
    known = {known_repo: name for name, (known_repo, _) in KNOWN_MODELS.items()}
    return known.get(repo) or repo.rpartition("/")[2]


def _holds(path: Path, dims: Sequence[int]) -> bool:
    if not (path / MANIFEST_NAME).is_file():
        return False
    manifest = read_manifest(path)
    wanted = dims or manifest.matryoshka
    return set(wanted) <= {graph.dim for graph in manifest.graphs}


def _quantize_stored(parent: Path, out: Path, options: PullOptions, progress: StepProgress) -> None:
    manifest = read_manifest(parent)
    fp32_bytes = sum(entry.size for entry in manifest.files.values())
    require_space(out, {"int8 result": int(fp32_bytes * _INT8_PART) + _SMALL_FILES_BYTES})
    with scratch_folder(out) as scratch:
        quantize_parent(
            open_bundle(parent, cache_dir=options.cache_dir).path,
            scratch / "int8",
            dims=_with_held(out, options.dims),
            measure=options.measure,
            progress=progress,
        )
        move_bundle(scratch / "int8", out)


def _download_and_convert(
    remote: RemoteCheckpoint, name: str, options: PullOptions, progress: StepProgress
) -> Path:
    root = models_dir(options.cache_dir).parent
    organisation, _, repo_name = remote.repo.partition("/")
    # The folder has the model's name, which is its default name in the manifest.
    download = root / "downloads" / organisation / remote.revision / repo_name
    require_space(root, _needs(remote, download, options.precision))
    fetch_checkpoint(remote, download, progress=progress)
    source = _source(remote)
    name = _name_of(download, source)
    out = store_path(name, remote.revision, options.precision, cache_dir=options.cache_dir)
    if _holds(out, options.dims):  # it calls itself otherwise than its repository does
        return out
    parent_out = store_path(name, remote.revision, "fp32", cache_dir=options.cache_dir)
    with scratch_folder(out) as scratch:
        convert_checkpoint(
            download,
            scratch / options.precision,
            precision=options.precision,
            dims=_with_held(out, options.dims),
            source=source,
            measure=options.measure,
            parent_out=parent_out if options.keep_parent else None,
            progress=progress,
        )
        move_bundle(scratch / options.precision, out)
    if not options.keep_download:
        _remove_download(download)
    return out


def _remove_download(folder: Path) -> None:
    shutil.rmtree(folder)
    for parent in (folder.parent, folder.parent.parent):
        with contextlib.suppress(OSError):  # not empty: other downloads
            parent.rmdir()


def _needs(remote: RemoteCheckpoint, download: Path, precision: Precision) -> dict[str, int]:
    needs = {"download": left_to_fetch(remote.files, download)}
    fp32 = remote.fp32_bytes + _SMALL_FILES_BYTES
    if precision == "fp32":
        return needs | {"fp32 result": fp32}
    int8 = int(remote.fp32_bytes * _INT8_PART) + _SMALL_FILES_BYTES
    return needs | {"fp32 parent": fp32, "int8 result": int8}


def _with_held(out: Path, dims: tuple[int, ...]) -> tuple[int, ...]:
    """Add the sizes of the bundle that will be replaced; no size at all means every size."""
    if not dims or not (out / MANIFEST_NAME).is_file():
        return dims
    held = {graph.dim for graph in read_manifest(out).graphs}
    return tuple(sorted(held | set(dims), reverse=True))


def _source(remote: RemoteCheckpoint) -> "SourceOverrides":
    from embedge.models.source import SourceOverrides

    return SourceOverrides(revision=remote.revision)


def _name_of(checkpoint: Path, overrides: "SourceOverrides") -> str:
    """Return the name that the export will write, before it costs minutes."""
    from embedge.models.config import read_config
    from embedge.models.source import read_source

    return read_source(checkpoint, read_config(checkpoint), overrides).name
