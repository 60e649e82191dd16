"""The files of a bundle that people read."""

from dataclasses import replace
from pathlib import Path

from embedge.export.documents import write_documents
from embedge.models.manifest import read_manifest


def test_a_source_is_named_first_whatever_order_its_keys_came_in(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    manifest = read_manifest(tiny_bundle)
    source = {"what": "weights", "from": "somewhere", "license": "MIT", "year": "2026"}
    backwards = dict(sorted(source.items(), reverse=True))
    notices = []
    for number, one in enumerate((source, dict(sorted(source.items())), backwards)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_documents(folder, replace(manifest, sources=(one,)), tmp_path / "no checkpoint")
        notices.append((folder / "NOTICE").read_text(encoding="utf-8"))
    assert "- what: weights, from: somewhere, license: MIT, year: 2026\n" in notices[0]
    assert len(set(notices)) == 1
