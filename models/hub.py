"""Checkpoints from a model hub: the only code of the package that opens a socket."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.models.disk_space import require_space
from embedge.models.download import (
    RemoteFile,
    fetch_file,
    is_disk_error,
    left_to_fetch,
    network_error,
)
from embedge.models.errors import CheckpointError, EmbedgeError, ModelNotFound, OfflineError
from embedge.models.file_lock import FileLock
from embedge.models.steps import StepProgress, no_progress

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

# Name -> hub id and the revision that our conversion was made for (design: pinned, never `main`).
KNOWN_MODELS: Mapping[str, tuple[str, str]] = {
    "nomic-embed-text-v2-moe": (
        "nomic-ai/nomic-embed-text-v2-moe",
        "1066b6599d099fbb93dfcb64f9c37a7c9e503e85",
    ),
}

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_REQUIRED = ("config.json", "tokenizer.json")
_OPTIONAL = (
    "embedge-source.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "modules.json",
    "1_Pooling/config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "README.md",
    "LICENSE",
    "NOTICE",
)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRUE = ("1", "true", "yes", "on")


@dataclass(frozen=True)
class RemoteCheckpoint:
    """What a hub offers at one commit, reduced to the files that we read.

    Attributes:
        revision: the full commit hash, also when a branch was asked for.
        parameters: number of values in the weights, None where the hub does not say.
    """

    repo: str
    revision: str
    files: tuple[RemoteFile, ...]
    parameters: int | None

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole download."""
        return sum(file.size for file in self.files)

    @property
    def fp32_bytes(self) -> int:
        """Bytes of the weights as float32; for unknown types the double of the files."""
        weights = sum(file.size for file in self.files if file.name.endswith(".safetensors"))
        return 2 * weights if self.parameters is None else 4 * self.parameters


def is_offline(flag: bool | None = None) -> bool:
    """Say whether the network is forbidden: by flag, `EMBED_OFFLINE` or `HF_HUB_OFFLINE`."""
    variables = ("EMBED_OFFLINE", "HF_HUB_OFFLINE")
    return bool(flag) or any(os.environ.get(name, "").lower() in _TRUE for name in variables)


def resolve_name(name_or_id: str, revision: str | None) -> tuple[str, str]:
    """Return hub id and revision for a known name or a hub id.

    Known models are pinned; other ids without a revision mean the head of `main`, whose commit
    `find_checkpoint` resolves and records.

    Raises:
        ModelNotFound: neither a known name nor of the form `organisation/name`.
    """
    for name, (repo, pinned) in KNOWN_MODELS.items():
        if name_or_id in (name, repo):
            return repo, revision or pinned
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name_or_id):
        return name_or_id, revision or "main"
    raise ModelNotFound(
        f"{name_or_id} is no known model ({', '.join(KNOWN_MODELS)}) and no hub id "
        f"of the form organisation/name"
    )


def find_checkpoint(repo: str, revision: str | None, *, offline: bool) -> RemoteCheckpoint:
    """Ask the hub which commit `revision` is and which files it holds.

    Raises:
        OfflineError: offline mode forbids the network.
        ModelNotFound: the hub knows no such repository or revision, or wants a token.
        CheckpointError: the repository lacks a file, or holds only pickled weights.
        EmbedgeError: the hub cannot be reached or answers nonsense.
    """
    if is_offline(offline):
        raise OfflineError(
            f"{repo} would have to be downloaded, and offline mode is on. Leave out --offline, "
            f"EMBED_OFFLINE and HF_HUB_OFFLINE, or pull it on another machine and copy the folder "
            f"that `embed models path NAME` prints there."
        )
    repo, revision = resolve_name(repo, revision)
    with _hub_errors(repo, revision):
        info = _model_info(repo, revision)
    commit = info.sha or revision
    if not _COMMIT.fullmatch(commit) or (_COMMIT.fullmatch(revision) and commit != revision):
        raise EmbedgeError(
            f"{repo}: the hub names the commit {commit!r} for revision {revision!r}. "
            f"Give the full commit hash with --revision."
        )
    safetensors = info.safetensors
    return RemoteCheckpoint(
        repo=repo,
        revision=commit,
        files=_chosen_files(repo, info),
        parameters=safetensors.total if safetensors is not None else None,
    )


def fetch_checkpoint(
    remote: RemoteCheckpoint, dest: Path, *, progress: StepProgress = no_progress
) -> Path:
    """Download into the folder `dest` and check sizes and hashes; continues where it stopped.

    Args:
        remote: what to fetch.
        dest: a folder for this repository and commit alone.
        progress: called with the step `download` and bytes.

    Raises:
        ModelNotFound: a file vanished from the hub.
        EmbedgeError: the connection failed, or another process downloads into `dest`.
        ModelIntegrityError: a file arrived with another hash than the hub announced.
        OSError: the disk is full or cannot be written.
    """
    dest.mkdir(parents=True, exist_ok=True)
    lock = FileLock(dest / ".lock")
    if not lock.acquire():
        raise EmbedgeError(f"another process downloads {remote.repo} into {dest}; wait for it")
    try:
        done = 0
        for file in remote.files:
            with _hub_errors(remote.repo, remote.revision):
                url, headers = _address(remote, file.name)
                fetch_file(file, url, headers, dest, _shifted(progress, done, remote.size_bytes))
            done += file.size
    finally:
        lock.release()
    return dest


def download_checkpoint(
    repo: str,
    revision: str | None,
    dest: Path,
    *,
    offline: bool = False,
    progress: StepProgress = no_progress,
) -> Path:
    """Find and fetch a checkpoint after checking that it fits on the disk; returns `dest`.

    Raises:
        EmbedgeError: as `find_checkpoint` and `fetch_checkpoint`, or too little space is free.
    """
    remote = find_checkpoint(repo, revision, offline=offline)
    require_space(dest, {"download": left_to_fetch(remote.files, dest)})
    return fetch_checkpoint(remote, dest, progress=progress)


def _shifted(progress: StepProgress, start: int, total: int) -> Callable[[int], None]:
    """Report the bytes of one file as bytes of the whole download."""
    return lambda got: progress("download", start + got, total)


def _model_info(repo: str, revision: str) -> "ModelInfo":
    _quiet_hub()
    from huggingface_hub import HfApi

    api = HfApi(endpoint=_endpoint(), library_name="embedge", library_version=_version())
    return api.model_info(repo, revision=revision, files_metadata=True, timeout=30)


def _address(remote: RemoteCheckpoint, name: str) -> tuple[str, dict[str, str]]:
    _quiet_hub()
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # public

    url = hf_hub_url(remote.repo, name, revision=remote.revision, endpoint=_endpoint())
    headers = build_hf_headers(library_name="embedge", library_version=_version())
    # Sizes and offsets are those of the file itself.
    return url, headers | {"Accept-Encoding": "identity"}


def _quiet_hub() -> None:
    """Switch off the telemetry of huggingface_hub, whether or not the host program loaded it.

    With it on, the library reports installed packages, and fetches a list of programs to look for.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True


def _endpoint() -> str | None:
    # Read now, not when huggingface_hub was imported.
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _version() -> str:
    return metadata.version("embedge")


def _chosen_files(repo: str, info: "ModelInfo") -> tuple[RemoteFile, ...]:
    offered = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    weights = [_SINGLE] if _SINGLE in offered else []
    if not weights and _INDEX in offered:
        weights = [_INDEX, *sorted(name for name in offered if _SHARD.fullmatch(name))]
    if not weights:
        raise _no_weights(repo, sorted(offered))
    missing = [name for name in _REQUIRED if name not in offered]
    if missing:
        raise CheckpointError(
            f"{repo} lacks {', '.join(missing)}; embedge needs a whole checkpoint"
        )
    chosen = [*_REQUIRED, *(name for name in _OPTIONAL if name in offered), *weights]
    files = []
    for name in chosen:
        sibling = offered[name]
        if sibling.size is None:
            raise EmbedgeError(f"{repo}: the hub gives no size for {name}")
        sha256 = sibling.lfs["sha256"] if sibling.lfs else None
        files.append(RemoteFile(name, sibling.size, sha256, None if sha256 else sibling.blob_id))
    return tuple(files)


def _no_weights(repo: str, offered: list[str]) -> CheckpointError:
    pickles = [name for name in offered if name.endswith(_PICKLES)]
    if pickles:
        return CheckpointError(
            f"{repo} holds its weights only as Python pickles ({', '.join(pickles)}), which can "
            f"run code when they are loaded. Choose a revision with {_SINGLE}, or convert it."
        )
    return CheckpointError(f"{repo} holds neither {_SINGLE} nor {_INDEX}; it is no checkpoint")


@contextmanager
def _hub_errors(repo: str, revision: str) -> Iterator[None]:
    """Turn the errors of huggingface_hub and of its HTTP client into ours."""
    from huggingface_hub import errors

    where = os.environ.get("HF_ENDPOINT") or "the Hugging Face hub"
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise OfflineError(f"{repo} would have to be downloaded: {error}") from error
    except errors.RevisionNotFoundError as error:
        raise ModelNotFound(f"{repo} has no revision {revision} on {where}") from error
    except errors.EntryNotFoundError as error:
        raise ModelNotFound(f"{repo} at {revision}: {error}; the file is gone") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"{repo} is not on {where}, or is private or gated: then set HF_TOKEN"
        ) from error
    except (network_error(), OSError, ValueError) as error:
        if is_disk_error(error) or isinstance(error, EmbedgeError):
            raise
        if isinstance(error, ValueError) and not isinstance(error, errors.HfHubHTTPError):
            said = f"{repo}: {where} does not answer like a model hub: {error}. Check HF_ENDPOINT."
            raise EmbedgeError(said) from error
        raise EmbedgeError(
            f"{repo}: the download from {where} failed: {error}. Check HF_ENDPOINT and the proxy "
            f"variables, and run the command again; it continues where it stopped."
        ) from error
