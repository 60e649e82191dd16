"""Tiny real models with fixed seeds, exported once per run; no test downloads anything.

`tests/` is not a package, so the modules beside this file reach the tests as fixtures.
"""

import importlib.util
import lzma
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# numpy's idle threads spin: with one, the float64 reference takes a sixth of the CPU time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_HERE = Path(__file__).parent


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"embedge_tests_{name}", _HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def checkpoints() -> ModuleType:
    """tests/checkpoints.py: configs, random tensors, checkpoint folders, a tokenizer."""
    return _load("checkpoints")


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """tests/reference.py: the model in float64 numpy."""
    return _load("reference")


@pytest.fixture(scope="session")
def documents() -> ModuleType:
    """tests/documents.py: PDF, DOCX and EPUB files, good and bad."""
    return _load("documents")


@pytest.fixture(scope="session")
def dense_graphs() -> ModuleType:
    """tests/dense_graphs.py: a tiny BERT-like model in float64, and its files."""
    return _load("dense_graphs")


@pytest.fixture(scope="session")
def int8_sites() -> ModuleType:
    """tests/int8_sites.py: the products of an int8 graph in numpy."""
    return _load("int8_sites")


@pytest.fixture(scope="session")
def make_checkpoint(
    checkpoints: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Make a checkpoint folder called `name` from a config, with random weights."""

    def make(name: str, config: dict[str, Any], seed: int = 0, **options: Any) -> Path:
        folder: Path = tmp_path_factory.mktemp("checkpoint") / name
        hidden = config["n_embd"]
        side_file = {
            "name": name,
            "license": "MIT",
            "matryoshka": [hidden, hidden // 2],
            "prompts": checkpoints.PROMPTS,
        }
        tensors = checkpoints.random_tensors(config, seed)
        checkpoints.write_checkpoint(folder, config, tensors, side_file=side_file, **options)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(checkpoints: ModuleType, make_checkpoint: Callable[..., Path]) -> Path:
    """Hidden 32, 4 experts, 2 layers, rotary positions."""
    return make_checkpoint("tiny", checkpoints.tiny_config())


@pytest.fixture(scope="session")
def tiny_learned_checkpoint(checkpoints: ModuleType, make_checkpoint: Callable[..., Path]) -> Path:
    """The same with learned positions."""
    config = checkpoints.tiny_config(rotary_emb_fraction=0.0, layer_norm_epsilon=1e-12)
    return make_checkpoint("tiny-learned", config, seed=1)


@pytest.fixture(scope="session")
def real_size_checkpoint(checkpoints: ModuleType, make_checkpoint: Callable[..., Path]) -> Path:
    """Two layers as wide as the real model's, with a small vocabulary."""
    return make_checkpoint("wide", checkpoints.real_size_config(), seed=2)


def _export(checkpoint: Path, factory: pytest.TempPathFactory, **options: Any) -> Path:
    from embedge.export import export_checkpoint

    out: Path = factory.mktemp("bundle") / checkpoint.name
    return export_checkpoint(checkpoint, out, **options).path


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fp32 bundle of `tiny_checkpoint`: sizes 32 and 16."""
    return _export(tiny_checkpoint, tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_learned_bundle(
    tiny_learned_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """fp32 bundle of `tiny_learned_checkpoint`: sizes 32 and 16."""
    return _export(tiny_learned_checkpoint, tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_standard_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fp32 bundle of `tiny_checkpoint` in standard operators."""
    return _export(tiny_checkpoint, tmp_path_factory, flavor="standard")


@pytest.fixture(scope="session")
def real_size_bundle(real_size_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fp32 bundle of `real_size_checkpoint`: sizes 768 and 384, no output ranges."""
    return _export(real_size_checkpoint, tmp_path_factory, measure=False)


@pytest.fixture(scope="session")
def xlmr_tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tokenizer.json of the real model, unpacked from tests/data."""
    path: Path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    with lzma.open(_HERE / "data" / "xlmr-tokenizer.json.xz") as packed:
        path.write_bytes(packed.read())
    return path


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when anything opens a socket."""
    import socket

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
