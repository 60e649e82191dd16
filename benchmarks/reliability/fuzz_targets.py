"""What is fed with damaged bytes: each target may only answer or raise one of our own errors."""

import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import checkpoints  # the generator of the tests' small checkpoints

from embedge.models.errors import EmbedgeError

if TYPE_CHECKING:
    from embedge import Embedder
    from embedge.runtime.tokens import Tokens

Target = Callable[[bytes], None]


def _folder() -> Path:
    return Path(_temporary().name)


@cache
def _temporary() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="fuzz-")


@cache
def checkpoint() -> Path:
    """A small checkpoint, made once."""
    config = checkpoints.tiny_config()
    side = {"name": "tiny", "license": "MIT", "matryoshka": [32, 16],
            "prompts": checkpoints.PROMPTS}  # fmt: skip
    return Path(
        checkpoints.write_checkpoint(
            _folder() / "checkpoint", config, checkpoints.random_tensors(config), side_file=side
        )
    )


@cache
def bundle() -> Path:
    """Its fp32 bundle, made once."""
    from embedge.export import export_checkpoint

    return export_checkpoint(checkpoint(), _folder() / "bundle").path


def close() -> None:
    """Remove everything made here."""
    if _embedder.cache_info().currsize:
        _embedder().close()
    _temporary().cleanup()


def manifest(data: bytes) -> None:
    """`embedge.json`: read, checked, and asked for what the runtime asks."""
    from embedge.models.manifest import read_manifest

    folder = _folder() / "manifest"
    folder.mkdir(exist_ok=True)
    (folder / "embedge.json").write_bytes(data)
    try:
        found = read_manifest(folder)
    except EmbedgeError:
        return
    for variant in found.variants():
        for dim in found.matryoshka:
            found.space(variant, dim)


def safetensors(data: bytes) -> None:
    """A weight file: header, placement, and every value of every tensor."""
    from embedge.models.tensor_file import TensorFile

    path = _folder() / "weights.safetensors"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    try:
        file = TensorFile(path)
        for name in file.entries:
            file.rows(name)
    except EmbedgeError:
        return


def tokenizer(data: bytes) -> None:
    """`tokenizer.json`: loaded, and used on a text."""
    from embedge.runtime.tokens import Tokens

    path = _folder() / "tokenizer.json"
    path.write_bytes(data)
    try:
        tokens = Tokens.from_file(path, 64)
        tokens.ids("the river, das Haus, река 42")
    except EmbedgeError:
        return


def config(data: bytes) -> None:
    """`config.json` of a checkpoint."""
    from embedge.models.config import read_config

    folder = _folder() / "config"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes(data)
    try:
        read_config(folder)
    except EmbedgeError:
        return


@cache
def _embedder() -> "Embedder":
    from embedge import Embedder

    return Embedder(bundle(), threads=1, cache_dir=_folder() / "cache")


@cache
def _tokens() -> "Tokens":
    from embedge.runtime.tokens import Tokens

    return Tokens.from_file(bundle() / "tokenizer.json", 512)


def files(data: bytes) -> None:
    """The bytes as a file of every kind that is read in this process."""
    from embedge.runtime.extract import extract

    for suffix in ("txt", "md", "rst", "html", "csv", "json", "jsonl", "py", "docx", "epub"):
        try:
            document = extract(data, path=f"file.{suffix}")
        except EmbedgeError:
            continue
        document.text.encode("utf-8")


def text(data: bytes) -> None:
    """Any string: embedded to a finite vector of unit length, cut into chunks that join again."""
    import numpy as np

    from embedge.runtime.chunking import chunk_text

    string = data.decode("utf-8", "surrogateescape")
    vector = _embedder().encode(string)
    assert np.isfinite(vector).all()
    assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5
    chunks = chunk_text(string, _tokens(), max_tokens=24, overlap=4)
    joined = "".join(chunk.text[chunk.overlap_chars :] for chunk in chunks)
    shown = re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", string)
    assert "".join(joined.split()) == "".join(shown.split()), (joined, string)


TARGETS: dict[str, Target] = {
    "manifest": manifest,
    "safetensors": safetensors,
    "tokenizer": tokenizer,
    "config": config,
    "files": files,
    "text": text,
}


def seed(name: str) -> bytes:
    """A valid input of the target."""
    if name == "manifest":
        return (bundle() / "embedge.json").read_bytes()
    if name in ("text", "files"):
        return "The river rises. Das Haus\n\n# Über\nди 一 في 🚀 e\u0301 \u200d x".encode()
    file = {"safetensors": "model.safetensors", "tokenizer": "tokenizer.json"}.get(
        name, "config.json"
    )
    return (checkpoint() / file).read_bytes()
