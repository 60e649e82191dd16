"""A model travels as a folder or zip and is installed on the other side, or not at all."""

import hashlib
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from embedge import BundleError, Embedder, InvalidOption, ModelIntegrityError
from embedge.models.manifest import read_manifest
from embedge.models.offline_copy import INDEX_NAME, SUMS_NAME, write_offline_copy
from embedge.models.offline_install import install_offline_copy, is_offline_copy


@pytest.fixture(params=["copy.zip", "copy"])
def copy(request, tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny model as a copy, in both forms."""
    out = tmp_path / "stick" / request.param
    write_offline_copy(tiny_bundle, out)
    return out


@pytest.fixture
def folder(tiny_bundle: Path, tmp_path: Path) -> Path:
    out = tmp_path / "stick" / "copy"
    write_offline_copy(tiny_bundle, out)
    return out


def bundle_in(copy: Path) -> Path:
    return copy / json.loads((copy / INDEX_NAME).read_text())["bundle"]


def test_a_copy_is_installed_and_gives_the_same_vectors(copy, tiny_bundle, tmp_path):
    assert is_offline_copy(copy)
    path, is_new = install_offline_copy(copy, cache_dir=tmp_path / "cache")
    assert is_new
    revision = read_manifest(tiny_bundle).revision
    assert path == tmp_path / "cache" / "models" / "tiny" / revision / "fp32"
    with Embedder("tiny", cache_dir=tmp_path / "cache") as there, Embedder(tiny_bundle) as here:
        assert np.array_equal(there.encode("bees"), here.encode("bees"))
        assert there.space == here.space
    assert install_offline_copy(copy, cache_dir=tmp_path / "cache") == (path, False)
    assert sorted(p.name for p in path.parent.iterdir()) == ["fp32"]


def test_a_plain_copy_of_the_folder_installs_it_too(folder, tmp_path):
    shutil.copytree(folder / "models", tmp_path / "cache" / "models")
    with Embedder("tiny", cache_dir=tmp_path / "cache") as embedder:
        assert embedder.encode("bees").shape == (32,)


def test_every_file_is_listed_with_its_hash(folder):
    index = json.loads((folder / INDEX_NAME).read_text())
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files - set(index["files"]) == {INDEX_NAME, SUMS_NAME}
    for name, entry in index["files"].items():
        data = (folder / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["size"], entry["sha256"])
    assert index["license"] == "MIT"
    sums = subprocess.run(["sha256sum", "-c", SUMS_NAME], cwd=folder, capture_output=True)
    assert sums.returncode == 0


def test_the_same_model_gives_the_same_zip(tiny_bundle, tmp_path):
    for name in ("a.zip", "b.zip"):
        write_offline_copy(tiny_bundle, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_nothing_that_exists_is_overwritten_and_nothing_half_made_stays(copy, tiny_bundle):
    with pytest.raises(InvalidOption, match="exists already"):
        write_offline_copy(tiny_bundle, copy)
    damaged = copy.parent / "damaged"
    shutil.copytree(tiny_bundle, damaged)
    (damaged / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(ModelIntegrityError, match=r"tokenizer\.json"):
        write_offline_copy(damaged, copy.with_name(f"other-{copy.name}"))
    assert sorted(p.name for p in copy.parent.iterdir()) == sorted([copy.name, "damaged"])


@pytest.mark.parametrize("damage", ["altered", "shorter", "longer", "missing", "link"])
def test_a_damaged_file_is_named_and_nothing_is_installed(folder, tmp_path, damage):
    weights = bundle_in(folder) / "weights.bin"
    data = weights.read_bytes()
    weights.unlink()
    changed = {"altered": data[:-1] + b"\x00", "shorter": data[:-1], "longer": data + b"\x00"}
    if damage == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        weights.symlink_to(tmp_path / "elsewhere")
    elif damage != "missing":
        weights.write_bytes(changed[damage])
    with pytest.raises(ModelIntegrityError, match=r"weights\.bin"):
        install_offline_copy(folder, cache_dir=tmp_path / "cache")
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


def test_an_altered_manifest_is_refused(folder, tmp_path):
    manifest = bundle_in(folder) / "embedge.json"
    manifest.write_text(manifest.read_text().replace('"MIT"', '"BSD"'))
    with pytest.raises(ModelIntegrityError, match="another hash"):
        install_offline_copy(folder, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("place", ["../../outside", "/tmp/outside", "models/../../x/fp32"])
def test_a_place_outside_the_store_is_refused(folder, tmp_path, place):
    index = json.loads((folder / INDEX_NAME).read_text())
    (folder / INDEX_NAME).write_text(json.dumps(index | {"bundle": place}))
    with pytest.raises(BundleError, match="no plain path"):
        install_offline_copy(folder, cache_dir=tmp_path / "cache")


def test_what_is_no_copy_is_said_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InvalidOption, match="no copy of a model"):
        install_offline_copy(tmp_path / "other.zip")
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(BundleError, match="cannot be read as a zip"):
        install_offline_copy(tmp_path / "torn.zip")
    assert not is_offline_copy(tmp_path)


@pytest.mark.usefixtures("no_sockets")
def test_the_commands_make_and_install_a_copy(copy, tiny_bundle, tmp_path, monkeypatch, capsys):
    from embedge.cli import run

    monkeypatch.setenv("EMBED_CACHE_DIR", str(tmp_path / "cache"))
    made = tmp_path / f"made-{copy.name}"
    assert run(["models", "bundle", str(tiny_bundle), str(made), "--no-sbom", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["name"], report["precision"]) == ("tiny", "fp32")
    assert run(["models", "pull", str(made), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_new"] is True
    assert run(["models", "list", "--json"]) == 0
    assert "tiny" in {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert run(["models", "verify", "tiny"]) == 0


def test_without_the_extra_the_bill_of_materials_names_it(
    tiny_bundle, tmp_path, monkeypatch, capsys
):
    import sys

    from embedge.cli import run

    monkeypatch.setitem(sys.modules, "cyclonedx", None)
    assert run(["models", "bundle", str(tiny_bundle), str(tmp_path / "out")]) == 2
    assert "embedge[sbom]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
