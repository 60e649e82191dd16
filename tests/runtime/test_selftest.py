"""The stored self-test finds which stage differs, and `embed doctor` reports it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from embedge import Embedder
from embedge.models import golden
from embedge.models.bundle import file_sha256
from embedge.models.manifest import MANIFEST_NAME, FileEntry, read_manifest
from embedge.runtime import selftest
from embedge.runtime.selftest import SELFTEST_NAME, Stage, write_selftest

Stages = dict[str, Stage]


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path, embedder: Embedder) -> Path:
    """A copy of the tiny bundle with a self-test, free to be damaged."""
    copy = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, copy)
    write_selftest(copy, embedder.loaded.bundle.manifest)
    list_files(copy)
    return copy


def list_files(bundle: Path) -> None:
    """Put the present files into the manifest, as someone would who hides a change."""
    files = {
        file.name: FileEntry(file.stat().st_size, file_sha256(file))
        for file in bundle.iterdir()
        if file.name != MANIFEST_NAME
    }
    (bundle / MANIFEST_NAME).write_text(replace(read_manifest(bundle), files=files).dump())


def verify(bundle: Path, **options: object) -> Stages:
    with Embedder(bundle, cache_dir=bundle.parent / "cache", **options) as embedder:  # type: ignore[arg-type]
        return {stage.name: stage for stage in selftest.verify(embedder)}


def change_selftest(bundle: Path, change: Callable[[dict[str, object]], None]) -> None:
    path = bundle / SELFTEST_NAME
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    list_files(bundle)


@pytest.mark.parametrize("dim", [32, 16])
def test_a_good_bundle_passes_every_stage(bundle: Path, dim: int) -> None:
    stages = verify(bundle, dim=dim)
    assert list(stages) == ["files", "token ids", "stored vectors"]
    assert {stage.outcome for stage in stages.values()} == {"ok"}


def test_stored_vectors_are_those_of_encode(bundle: Path, embedder: Embedder) -> None:
    raw = json.loads((bundle / SELFTEST_NAME).read_text())
    case, vector = raw["cases"][0], raw["vectors"]["fp32"][0]
    found = embedder.encode(case["text"], task=case["task"])
    assert vector == pytest.approx(found.tolist(), abs=2e-6)


def test_other_weights_are_found_at_the_vectors(bundle: Path) -> None:
    weights = bytearray((bundle / "weights.bin").read_bytes())
    weights[: len(weights) // 2] = weights[len(weights) // 2 :][: len(weights) // 2]
    (bundle / "weights.bin").write_bytes(bytes(weights))
    list_files(bundle)
    stages = verify(bundle)
    assert stages["files"].outcome == "ok"
    assert stages["token ids"].outcome == "ok"
    assert stages["stored vectors"].outcome == "differs"


def test_another_tokenizer_is_found_at_the_token_ids(bundle: Path) -> None:
    path = bundle / "tokenizer.json"
    raw = json.loads(path.read_text())
    pieces = raw["model"]["vocab"]
    the = next(n for n, (piece, _) in enumerate(pieces) if piece == "▁the")
    pieces[the], pieces[the + 1] = pieces[the + 1], pieces[the]
    path.write_text(json.dumps(raw))
    list_files(bundle)
    assert verify(bundle)["token ids"].outcome == "differs"


def test_a_file_changed_behind_the_manifest_is_found_at_the_files(bundle: Path) -> None:
    with Embedder(bundle, cache_dir=bundle.parent / "cache") as embedder:
        (bundle / "card.md").write_text("another card")
        stages = {stage.name: stage for stage in selftest.verify(embedder)}
    assert stages["files"].outcome == "differs"
    assert "card.md" in stages["files"].detail


def test_a_bundle_without_a_self_test_says_absent(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, copy)
    (copy / SELFTEST_NAME).unlink(missing_ok=True)
    list_files(copy)
    stages = verify(copy)
    assert stages["token ids"].outcome == stages["stored vectors"].outcome == "absent"


def test_published_facts_are_compared_when_the_revision_is_theirs(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny model is not the published one: token ids, similarity and vectors must differ."""
    facts = golden.read_golden()
    with Embedder(bundle, cache_dir=bundle.parent / "cache") as embedder:
        revision = embedder.loaded.bundle.manifest.revision
        same = replace(facts, weights_revision=revision)
        monkeypatch.setattr(selftest, "read_golden", lambda: same)
        stages = {stage.name: stage for stage in selftest.verify(embedder)}
    assert stages["token ids"].outcome == "differs"
    assert stages["published similarity"].outcome == "differs"
    assert stages["published vectors"].outcome == "differs"


def test_published_similarity_is_left_out_at_smaller_sizes(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Embedder(bundle, dim=16, cache_dir=bundle.parent / "cache") as embedder:
        revision = embedder.loaded.bundle.manifest.revision
        same = replace(golden.read_golden(), weights_revision=revision)
        monkeypatch.setattr(selftest, "read_golden", lambda: same)
        stages = {stage.name: stage for stage in selftest.verify(embedder)}
    assert stages["published similarity"].outcome == "absent"


@pytest.fixture
def doctor(bundle: Path) -> Callable[..., tuple[int, str]]:
    """Run `embed doctor` on the bundle; returns exit code and stdout."""
    import typer

    from embedge.cli.doctor import register
    from embedge.models.errors import EmbedgeError

    app = typer.Typer()
    register(app)
    app.callback()(lambda: None)

    def run(*arguments: str) -> tuple[int, str]:
        flags = ["--model", str(bundle), "--cache-dir", str(bundle.parent / "cache")]
        result = CliRunner().invoke(app, ["doctor", *flags, *arguments])
        error = result.exception
        code = error.exit_code if isinstance(error, EmbedgeError) else result.exit_code
        return code, result.stdout

    return run


def test_doctor_reports_machine_model_and_reason(
    doctor: Callable[..., tuple[int, str]], bundle: Path
) -> None:
    code, out = doctor("--json")
    report = json.loads(out)
    assert code == 0
    assert report["model"]["path"] == str(bundle)
    assert report["model"]["reason"] == "tiny holds only fp32"
    assert report["telemetry"].startswith("off")
    assert report["cpu"]["int8_sums"] in ("exact", "saturate")
    assert report["threads"]["threads"] >= 1
    assert report["paths"]["free_bytes"] > 0
    libraries = {"embedge", "python", "onnxruntime", "tokenizers", "numpy", "sqlite"}
    assert set(report["versions"]) == libraries


def test_doctor_verify_prints_every_stage(doctor: Callable[..., tuple[int, str]]) -> None:
    code, out = doctor("--verify")
    assert code == 0
    for stage in ("files", "token ids", "stored vectors"):
        assert stage in out


def test_doctor_verify_ends_with_4_and_names_the_stage(
    doctor: Callable[..., tuple[int, str]], bundle: Path
) -> None:
    def negate(raw: dict[str, object]) -> None:
        raw["vectors"]["fp32"][0] = [-v for v in raw["vectors"]["fp32"][0]]  # type: ignore[index]

    change_selftest(bundle, negate)
    code, out = doctor("--verify", "--json")
    assert code == 4
    outcomes = {stage["name"]: stage["outcome"] for stage in json.loads(out)["stages"]}
    assert outcomes == {"files": "ok", "token ids": "ok", "stored vectors": "differs"}


def test_doctor_still_reports_the_machine_when_there_is_no_model(
    doctor: Callable[..., tuple[int, str]],
) -> None:
    code, out = doctor("--model", "no-such-model", "--json")
    assert code == 5
    report = json.loads(out)
    assert "no-such-model" in report["problem"]
    assert report["cpu"]["model"]
