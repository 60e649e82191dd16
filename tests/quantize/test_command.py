"""`embed quantize`: what it prints, and how it ends."""

import json
from pathlib import Path

import pytest

from embedge.cli import run
from embedge.models.manifest import read_manifest


@pytest.fixture
def own_texts(tmp_path: Path) -> Path:
    file = tmp_path / "own.txt"
    file.write_text("\n".join(f"the river house {n}" for n in range(40)), encoding="utf-8")
    return file


def test_command_writes_the_bundle_and_prints_the_report(
    tiny_bundle: Path, tmp_path: Path, own_texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["quantize", str(tiny_bundle), str(tmp_path / "out"), "--no-measure"]
    assert run([*arguments, "--calibrate", str(own_texts), "--dim", "16"]) == 0
    printed = capsys.readouterr()
    assert "encoder.layers.0.norm1: constant range" in printed.out
    assert printed.err == ""
    assert [graph.dim for graph in read_manifest(tmp_path / "out").graphs] == [16, 16]


def test_json_report_names_every_site(
    tiny_bundle: Path, tmp_path: Path, own_texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["quantize", str(tiny_bundle), str(tmp_path / "out"), "--no-measure", "--json"]
    assert run([*arguments, "--calibrate", str(own_texts), "--progress", "json"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["sites"]["encoder.layers.1.mlp.experts.mlp.w2"]["method"] == "shifted"
    assert report["kept_float"] == {"encoder.layers.1.mlp.router.layer.weight": "router"}
    steps = [json.loads(line)["step"] for line in printed.err.splitlines()]
    assert {"calibrate", "write weights"} <= set(steps)


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--dim", "24"], 2), (["--variant", "fp32"], 2), (["--calibrate", "none.txt"], 3)],
)
def test_wrong_options_end_with_their_exit_code(
    tiny_bundle: Path, tmp_path: Path, options: list[str], code: int
) -> None:
    assert run(["quantize", str(tiny_bundle), str(tmp_path / "out"), *options]) == code
    assert not (tmp_path / "out").exists()


def test_folder_that_is_no_bundle_ends_with_4(tmp_path: Path) -> None:
    assert run(["quantize", str(tmp_path), str(tmp_path / "out")]) == 4
