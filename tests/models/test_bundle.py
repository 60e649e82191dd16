"""A bundle opens only when every file is what its manifest says."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

import embedge.models.bundle as bundle_module
from embedge.models.bundle import (
    file_sha256,
    open_bundle,
)
from embedge.models.errors import BundleError, ModelIntegrityError
from embedge.models.manifest import read_manifest

FILES = ("model.onnx", "model-4.onnx", "model-avx2.onnx", "tokenizer.json", "weights.bin")


def test_a_new_bundle_opens_with_its_files_hashed(toy_bundle: Path) -> None:
    bundle = open_bundle(toy_bundle, verify="full")
    assert bundle.manifest.files.keys() == {*FILES, "LICENSE"}
    for name, entry in bundle.manifest.files.items():
        assert entry.sha256 == file_sha256(toy_bundle / name)
    assert bundle.size_bytes == sum(
        (toy_bundle / name).stat().st_size for name in (*FILES, "LICENSE")
    )
    assert bundle.graph_path("int8", 3)[0] == toy_bundle / "model-4.onnx"
    assert bundle.tokenizer_path.is_file()


def test_only_plain_files_for_everyone_to_read_remain(toy_bundle: Path) -> None:
    assert [entry.name for entry in toy_bundle.parent.iterdir()] == ["toy"]
    assert {entry.name for entry in toy_bundle.iterdir()} == {*FILES, "LICENSE", "embedge.json"}
    for entry in toy_bundle.iterdir():
        assert stat.S_ISREG(entry.lstat().st_mode)
        assert entry.stat().st_mode & 0o044 == 0o044


@pytest.mark.parametrize("name", [*FILES, "LICENSE"])
def test_a_file_cut_anywhere_is_refused(toy_bundle: Path, name: str) -> None:
    whole = (toy_bundle / name).read_bytes()
    for length in sorted({0, 1, len(whole) // 2, len(whole) - 1}):
        (toy_bundle / name).write_bytes(whole[:length])
        with pytest.raises(ModelIntegrityError, match=f"{name} has {length} bytes, expected"):
            open_bundle(toy_bundle)


def test_a_manifest_cut_anywhere_is_refused(toy_bundle: Path) -> None:
    path = toy_bundle / "embedge.json"
    whole = path.read_bytes()
    # The last byte is the newline; without it the manifest is still whole.
    for length in [*range(0, len(whole) - 1, 37), len(whole) - 2]:
        path.write_bytes(whole[:length])
        with pytest.raises(BundleError):
            open_bundle(toy_bundle)


@pytest.mark.parametrize("name", [*FILES, "LICENSE"])
def test_one_changed_byte_anywhere_is_refused(toy_bundle: Path, name: str) -> None:
    whole = (toy_bundle / name).read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        (toy_bundle / name).write_bytes(changed)
        with pytest.raises(ModelIntegrityError, match=f"{name} has SHA-256"):
            open_bundle(toy_bundle)


def test_every_damaged_file_is_named_in_one_message(toy_bundle: Path) -> None:
    (toy_bundle / "weights.bin").unlink()
    (toy_bundle / "model.onnx").write_bytes(b"")
    (toy_bundle / "tokenizer.json").unlink()
    (toy_bundle / "tokenizer.json").mkdir()
    with pytest.raises(ModelIntegrityError) as failure:
        open_bundle(toy_bundle)
    for said in ("weights.bin cannot be read", "model.onnx has 0 bytes", "json is not a plain"):
        assert said in str(failure.value)
    assert failure.value.exit_code == 4


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_in_place_of_a_file_is_refused(toy_bundle: Path) -> None:
    moved = toy_bundle.parent / "weights-elsewhere.bin"
    (toy_bundle / "weights.bin").rename(moved)
    (toy_bundle / "weights.bin").symlink_to(moved)
    with pytest.raises(ModelIntegrityError, match=r"weights.bin is a link"):
        open_bundle(toy_bundle)


def test_further_files_are_ignored_until_a_full_check(toy_bundle: Path) -> None:
    (toy_bundle / "notes.txt").write_text("mine", encoding="utf-8")
    open_bundle(toy_bundle)
    with pytest.raises(ModelIntegrityError, match=r"notes\.txt is not part of the bundle"):
        open_bundle(toy_bundle, verify="full")


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    hashed: list[str] = []

    def counting(path: Path) -> str:
        hashed.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(bundle_module, "file_sha256", counting)
    return hashed


def test_files_are_hashed_once_while_size_time_and_inode_stay(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = count_hashes(monkeypatch)
    open_bundle(toy_bundle, cache_dir=tmp_path / "cache")
    assert sorted(hashed) == sorted((*FILES, "LICENSE"))
    hashed.clear()
    open_bundle(toy_bundle, cache_dir=tmp_path / "cache")
    assert hashed == []
    open_bundle(toy_bundle, cache_dir=tmp_path / "cache", verify="full")
    assert len(hashed) == 6
    hashed.clear()
    open_bundle(toy_bundle)
    assert len(hashed) == 6, "without a cache folder nothing is remembered"


@pytest.mark.parametrize("how", ["time", "inode"])
def test_a_file_of_another_time_or_inode_is_hashed_again(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    open_bundle(toy_bundle, cache_dir=tmp_path / "cache")
    weights = toy_bundle / "weights.bin"
    before = weights.stat()
    if how == "time":
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    else:
        copy = toy_bundle.parent / "copy"
        copy.write_bytes(weights.read_bytes())
        os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
        copy.replace(weights)
    hashed = count_hashes(monkeypatch)
    open_bundle(toy_bundle, cache_dir=tmp_path / "cache")
    assert hashed == ["weights.bin"]


def test_a_remembered_hash_does_not_excuse_another_manifest(
    toy_bundle: Path, tmp_path: Path
) -> None:
    open_bundle(toy_bundle, cache_dir=tmp_path / "cache")
    manifest = read_manifest(toy_bundle)
    entry = replace(manifest.files["weights.bin"], sha256="0" * 64)
    other = replace(manifest, files={**manifest.files, "weights.bin": entry})
    (toy_bundle / "embedge.json").write_bytes(other.dump().encode("utf-8"))
    with pytest.raises(ModelIntegrityError, match=r"weights.bin has SHA-256"):
        open_bundle(toy_bundle, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"\xff", b'{"weights.bin": 3}', b"[" * 99999])
def test_a_damaged_memory_only_costs_hashing_again(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    open_bundle(toy_bundle, cache_dir=tmp_path / "cache")
    (memory,) = (tmp_path / "cache" / "verified").iterdir()
    memory.write_bytes(content)
    hashed = count_hashes(monkeypatch)
    open_bundle(toy_bundle, cache_dir=tmp_path / "cache")
    assert len(hashed) == 6


def test_a_cache_folder_that_cannot_be_written_does_no_harm(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions do not bind root, so a file stands in the way, and then a refused write."""
    (tmp_path / "file").write_bytes(b"")
    assert open_bundle(toy_bundle, cache_dir=tmp_path / "file").path == toy_bundle

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("embedge.models.verified.write_atomically", refuse)
    assert open_bundle(toy_bundle, cache_dir=tmp_path / "cache").path == toy_bundle


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_read_only_cache_folder_does_no_harm(toy_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    assert open_bundle(toy_bundle, cache_dir=tmp_path / "cache").path == toy_bundle
