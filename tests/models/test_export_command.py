"""`embed export` from a folder and from a hub on this machine."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedge.cli import run as run_command
from embedge.models.bundle import open_bundle

REPO = "maker/tiny"


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the host's variables, cache and settings out of the tests."""
    for name in [name for name in os.environ if name.startswith("EMBED_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EMBED_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


Export = Callable[..., tuple[int, Any]]


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str]) -> Export:
    """Run `embed export`; gives the exit code and the report, or the error message."""

    def run(*words: object) -> tuple[int, Any]:
        code = run_command(["export", "--json", "--no-measure", *map(str, words)])
        captured = capsys.readouterr()
        if code == 0:
            return code, json.loads(captured.out)
        return code, json.loads(captured.err)["error"]["message"]

    return run


@pytest.mark.usefixtures("no_sockets")
def test_a_folder_becomes_a_bundle_without_the_network(
    export: Export, tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    code, report = export(tiny_checkpoint, tmp_path / "out")
    assert code == 0
    manifest = open_bundle(tmp_path / "out", verify="full").manifest
    fingerprint = open_bundle(tiny_bundle).manifest.space("fp32", 32).fingerprint
    assert manifest.space("fp32", 32).fingerprint == fingerprint
    assert report["fingerprints"]["fp32"]["32"] == fingerprint


def test_flags_say_what_the_folder_does_not(
    export: Export, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    prompts = {"query": "a: ", "document": "b: ", "classification": "", "clustering": ""}
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    code, _ = export(
        tiny_checkpoint, tmp_path / "out", "--name", "mine", "--short-name", "m", "--license",
        "Apache-2.0", "--matryoshka", "32,8", "--prompts", tmp_path / "prompts.json",
        "--revision", "v3", "--flavor", "standard", "--opset", "22",
    )  # fmt: skip
    assert code == 0
    manifest = open_bundle(tmp_path / "out").manifest
    assert (manifest.name, manifest.short_name, manifest.revision) == ("mine", "m", "v3")
    assert (manifest.license, manifest.matryoshka) == ("Apache-2.0", (32, 8))
    assert manifest.identity.prompts == prompts
    assert (manifest.architecture["flavor"], manifest.architecture["opset"]) == ("standard", 22)


@pytest.mark.slow
def test_int8_in_one_go_removes_or_keeps_its_parent(
    export: Export, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    code, report = export(tiny_checkpoint, tmp_path / "a", "--variant", "int8", "--dim", "16")
    assert code == 0
    manifest = open_bundle(tmp_path / "a").manifest
    assert {(g.variant, g.dim) for g in manifest.graphs} == {("int8", 16), ("int8-avx2", 16)}
    assert report["quantization"]["sites"]
    assert export(tiny_checkpoint, tmp_path / "b", "--variant", "int8", "--keep-parent")[0] == 0
    assert open_bundle(tmp_path / "b-fp32").manifest.identity.variant == "fp32"
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"a", "b", "b-fp32"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--variant", "int4"], "int4"),
        (["--flavor", "onnx"], "onnx"),
        (["--opset", "7"], "opset 7"),
        (["--dim", "16"], "--variant int8"),
        (["--matryoshka", "a,b"], "384,256,128"),
        (["--prompts", "nothing.json"], "nothing.json"),
    ],
)
def test_wrong_flags_are_usage_errors(
    words: list[str], told: str, export: Export, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    code, message = export(tiny_checkpoint, tmp_path / "out", *words)
    assert code == 2
    assert told in message
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_cannot_be_exported_is_exit_code_4(
    export: Export, tmp_path: Path
) -> None:
    (tmp_path / "c").mkdir()
    code, message = export(tmp_path / "c", tmp_path / "out")
    assert code == 4
    assert "config.json" in message


def test_a_hub_id_is_downloaded_exported_and_cleared_away(
    export: Export, fake_hub: Any, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    fake_hub.add_folder(REPO, tiny_checkpoint)
    code, _ = export(REPO, tmp_path / "out")
    assert code == 0
    manifest = open_bundle(tmp_path / "out", verify="full").manifest
    assert manifest.revision == fake_hub.commit
    assert [path for path in (tmp_path / "cache").rglob("*.safetensors*")] == []


def test_offline_mode_forbids_the_download(
    export: Export, fake_hub: Any, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    fake_hub.add_folder(REPO, tiny_checkpoint)
    code, message = export(REPO, tmp_path / "out", "--offline")
    assert code == 5
    assert "offline" in message
    assert fake_hub.requests == []


def test_neither_a_folder_nor_a_hub_id_is_exit_code_5(export: Export, tmp_path: Path) -> None:
    code, message = export(tmp_path / "missing", tmp_path / "out")
    assert code == 5
    assert "missing" in message
