"""The bundle that an export leaves, and what it leaves when it fails: nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from embedge.export import export_checkpoint
from embedge.models.bundle import file_sha256, open_bundle
from embedge.models.errors import (
    BundleError,
    CheckpointError,
    ConfigError,
    EmbedgeError,
    InvalidOption,
    ModelIntegrityError,
)
from embedge.models.source import SourceOverrides


def test_manifest_says_what_the_bundle_is(tiny_bundle: Path, tiny_checkpoint: Path) -> None:
    manifest = open_bundle(tiny_bundle, verify="full").manifest
    identity = manifest.identity
    assert identity.checkpoint_sha256 == file_sha256(tiny_checkpoint / "model.safetensors")
    assert identity.tokenizer_sha256 == file_sha256(tiny_checkpoint / "tokenizer.json")
    assert (identity.variant, identity.recipe) == ("fp32", "fp32/1")
    assert (identity.dim, identity.max_tokens, identity.pooling) == (32, 512, "mean")
    assert [(g.dim, g.file) for g in manifest.graphs] == [(32, "model.onnx"), (16, "model-16.onnx")]
    assert manifest.matryoshka == (32, 16)
    assert manifest.revision == identity.checkpoint_sha256[:12]
    assert manifest.architecture["vocabulary"] == 640
    assert manifest.architecture["moe_layers"] == [1]
    assert {name: len(ranges) for name, ranges in manifest.output_ranges.items()} == {
        "32": 32,
        "16": 16,
    }
    assert {
        "embedge",
        "onnx",
        "onnx_ir",
        "onnxscript",
        "onnxruntime",
        "cpu",
    } <= manifest.tools.keys()


def test_folder_holds_the_documented_files(tiny_bundle: Path) -> None:
    assert {path.name for path in tiny_bundle.iterdir()} == {
        "LICENSE", "NOTICE", "card.md", "embedge.json", "model-16.onnx", "model.onnx",
        "selftest.json", "tokenizer.json", "weights.bin",
    }  # fmt: skip
    card = (tiny_bundle / "card.md").read_text(encoding="utf-8")
    assert open_bundle(tiny_bundle).manifest.space("fp32", 32).fingerprint in card
    assert "Permission is hereby granted" in (tiny_bundle / "LICENSE").read_text(encoding="utf-8")


def test_one_checkpoint_gives_one_space_in_any_layout_flavour_and_opset(
    tiny_checkpoint: Path, tiny_bundle: Path, tiny_standard_bundle: Path, tmp_path: Path
) -> None:
    other = export_checkpoint(tiny_checkpoint, tmp_path / "o", opset=22, measure=False)
    fingerprints = {
        bundle.manifest.space("fp32", 32).fingerprint
        for bundle in (open_bundle(tiny_bundle), open_bundle(tiny_standard_bundle), other)
    }
    assert len(fingerprints) == 1


def test_two_exports_are_equal_byte_for_byte(
    tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    again = export_checkpoint(tiny_checkpoint, tmp_path / "again").path
    for path in tiny_bundle.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_half_precision_weights_are_widened_without_rounding(
    dtype: str,
    checkpoints: ModuleType,
    reference_of: Callable[..., Any],
    run_graph: Callable[..., list[Any]],
    tmp_path: Path,
) -> None:
    config = checkpoints.tiny_config()
    tensors = checkpoints.random_tensors(config)
    folder = checkpoints.write_checkpoint(tmp_path / "c", config, tensors, dtype=dtype, shards=2)
    bundle = export_checkpoint(folder, tmp_path / "b", measure=False).path
    rows = [[0, 5, 17, 99, 230, 2]]
    (vectors,) = run_graph(bundle / "model.onnx", rows, 1)
    expected = reference_of(folder).encode(rows[0]).unit()
    np.testing.assert_allclose(vectors[0], expected, rtol=0, atol=2e-6)


def test_flags_override_the_side_file(tiny_checkpoint: Path, tmp_path: Path) -> None:
    flags = SourceOverrides(name="other", license="Apache-2.0", matryoshka=(32, 8), revision="r9")
    bundle = export_checkpoint(tiny_checkpoint, tmp_path / "b", source=flags, measure=False)
    manifest = bundle.manifest
    assert (manifest.name, manifest.license, manifest.revision) == ("other", "Apache-2.0", "r9")
    assert (bundle.path / "model-8.onnx").is_file()
    assert "Apache License" in (bundle.path / "LICENSE").read_text(encoding="utf-8")


def test_licence_files_of_the_checkpoint_are_kept(checkpoints: ModuleType, tmp_path: Path) -> None:
    config = checkpoints.tiny_config()
    tensors = checkpoints.random_tensors(config)
    folder = checkpoints.write_checkpoint(tmp_path / "c", config, tensors)
    (folder / "LICENSE").write_text("my own licence")
    (folder / "NOTICE").write_text("my own notice")
    bundle = export_checkpoint(folder, tmp_path / "b", measure=False).path
    assert (bundle / "LICENSE").read_text() == "my own licence"
    assert (bundle / "NOTICE").read_text() == "my own notice"


def test_an_existing_place_is_refused_and_left_alone(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(BundleError, match="exists already"):
        export_checkpoint(tiny_checkpoint, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def broken(checkpoints: ModuleType, tmp_path: Path) -> Path:
    config = checkpoints.tiny_config()
    tensors = checkpoints.random_tensors(config)
    folder: Path = checkpoints.write_checkpoint(tmp_path / "c", config, tensors)
    return folder


def test_a_failed_export_leaves_nothing(broken: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with pytest.raises(InvalidOption, match="opset 7"):
        export_checkpoint(broken, out, opset=7)
    with pytest.raises(InvalidOption, match="flavor 'onnx'"):
        export_checkpoint(broken, out, flavor="onnx")  # type: ignore[arg-type]
    (broken / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        export_checkpoint(broken, out)
    (broken / "config.json").write_text("{}")
    with pytest.raises(ConfigError):
        export_checkpoint(broken, out)
    assert not (tmp_path / "deep").exists()


def test_a_full_disk_is_named_before_anything_is_written(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(EmbedgeError, match=r"needs .*weights"):
        export_checkpoint(tiny_checkpoint, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_nothing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    def stop(step: str, done: int, total: int | None) -> None:
        if step == "write weights" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_checkpoint(tiny_checkpoint, tmp_path / "out", progress=stop)
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_progress_names_the_steps_in_order(tiny_checkpoint: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    export_checkpoint(
        tiny_checkpoint, tmp_path / "out", progress=lambda step, done, total: steps.append(step)
    )
    assert list(dict.fromkeys(steps)) == [
        "hash checkpoint", "write weights", "measure ranges", "finish",
    ]  # fmt: skip


# Checks of the published revision, on a model that passes for it.


@pytest.fixture
def published(
    checkpoints: ModuleType,
    reference: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A small checkpoint that is recognised, and published values computed from the reference."""
    from dataclasses import replace

    import embedge.export.parity as parity
    import embedge.models.source as source
    from embedge.models.config import read_config
    from embedge.models.golden import read_golden

    config = checkpoints.tiny_config(vocab_size=129856 + 64, num_experts=8)
    tensors = checkpoints.random_tensors(config)
    row = np.linspace(-1.499232e-02, 1e-2, 32, dtype=np.float32)
    tensors["embeddings.word_embeddings.weight"][1] = row
    folder: Path = checkpoints.write_checkpoint(tmp_path / "c", config, tensors)
    monkeypatch.setattr(source, "PUBLISHED_CONFIG", read_config(folder))
    built_in = replace(source._PUBLISHED, matryoshka=(32,))
    monkeypatch.setattr(source, "_PUBLISHED", built_in)
    golden = read_golden()
    states, routing = golden.hidden_states, golden.routing
    columns = (0, 1, 2, 29, 30, 31)
    values, expert = states.values.copy(), routing.expert.copy()
    weight = routing.gate_weight.copy()
    model = Probing(reference, tensors, config)
    for n, (ids, mask) in enumerate(zip(states.input_ids, states.attention_mask, strict=True)):
        hidden, chosen, gates = model.run(ids[mask == 1].tolist())
        for r, position in enumerate(states.rows):
            if mask[position]:
                values[n, r] = np.round(hidden[position, columns], 4)
        expert[n, mask == 1], weight[n, mask == 1] = chosen, np.round(gates, 2)
    mine = replace(
        golden,
        hidden_states=replace(states, columns=columns, values=values),
        routing=replace(routing, expert=expert, gate_weight=weight),
    )
    monkeypatch.setattr(parity, "read_golden", lambda: mine)
    return folder


class Probing:
    """The reference, which also tells the gate weights of its mixture layer."""

    def __init__(self, reference: ModuleType, tensors: Any, config: Any) -> None:
        gates = self.gates = []

        class Telling(reference.Reference):  # type: ignore[misc,name-defined]
            def gate_weights(self, chosen: Any) -> Any:
                gates.append(chosen)
                return chosen

        self._model = Telling(lambda name: tensors[name].astype(np.float64), config)

    def run(self, ids: list[int]) -> tuple[Any, Any, Any]:
        output = self._model.encode(ids)
        return output.hidden, output.experts[1], self.gates.pop()


def test_published_revision_is_checked_and_the_figures_are_kept(
    published: Path, tmp_path: Path
) -> None:
    bundle = export_checkpoint(published, tmp_path / "b", measure=False)
    assert bundle.manifest.name == "nomic-embed-text-v2-moe"
    checks = json.loads(json.dumps(bundle.manifest.measured))["checks"]
    assert checks["G2 hidden states"] < 1e-4
    assert checks["G3 routing"] < 0.006
    assert not (bundle.path / "debug.onnx").exists()


def test_other_hidden_states_than_published_leave_no_bundle(
    published: Path, checkpoints: ModuleType, tmp_path: Path
) -> None:
    config = json.loads((published / "config.json").read_text())
    tensors = checkpoints.random_tensors(config)
    row = np.linspace(-1.499232e-02, 1e-2, 32, dtype=np.float32)
    tensors["embeddings.word_embeddings.weight"][1] = row
    tensors["encoder.layers.1.mlp.experts.bias"] *= 1.1
    checkpoints.write_safetensors(published / "model.safetensors", tensors)
    with pytest.raises(ModelIntegrityError, match="gate G2"):
        export_checkpoint(published, tmp_path / "b", measure=False)
    assert not (tmp_path / "b").exists()
    tensors["encoder.layers.1.mlp.router.layer.weight"] *= -1
    checkpoints.write_safetensors(published / "model.safetensors", tensors)
    with pytest.raises(ModelIntegrityError, match="gate G3"):
        export_checkpoint(published, tmp_path / "b", measure=False)
    unchecked = export_checkpoint(published, tmp_path / "b", checks=False, measure=False)
    assert unchecked.manifest.measured == {}
