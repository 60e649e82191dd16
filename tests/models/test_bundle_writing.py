"""A bundle on disk is whole or absent, whatever happens to its writer."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import embedge.models.bundle as bundle_module
from embedge.models.bundle import (
    file_sha256,
    new_bundle,
    open_bundle,
    remove_bundle,
    remove_leftovers,
    write_atomically,
)
from embedge.models.errors import BundleError
from embedge.models.file_lock import FileLock
from embedge.models.manifest import Manifest, read_manifest


def copy_into(draft: Path, source: Path) -> None:
    for file in source.iterdir():
        if file.name != "embedge.json":
            (draft / file.name).write_bytes(file.read_bytes())


def write_copy(
    out: Path,
    source: Path,
    *,
    spoil: Callable[[Path], object] = lambda folder: None,
    manifest: Manifest | None = None,
) -> None:
    """Write the bundle `source` again as `out`, after `spoil` has changed the draft."""
    with new_bundle(out) as draft:
        copy_into(draft.folder, source)
        spoil(draft.folder)
        draft.finish(manifest or read_manifest(source))


def test_an_existing_place_is_never_overwritten(toy_bundle: Path, tmp_path: Path) -> None:
    before = file_sha256(toy_bundle / "embedge.json")
    with pytest.raises(BundleError, match="exists already"), new_bundle(toy_bundle):
        pass
    assert file_sha256(toy_bundle / "embedge.json") == before
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match="exists already"), new_bundle(tmp_path / "file"):
        pass


def test_a_failed_conversion_leaves_nothing(toy_bundle: Path, tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_copy(tmp_path / "deep" / "out", toy_bundle, spoil=fail)
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "files lacks tokenizer.json"),
        (lambda folder: (folder / "model-4.onnx").unlink(), "files lacks the graph model-4.onnx"),
        (lambda folder: (folder / "sub").mkdir(), "not a plain file"),
        (lambda folder: (folder / "link").symlink_to("weights.bin"), "not a plain file"),
        (lambda folder: (folder / "a b").write_bytes(b""), "not a plain file"),
    ],
)
def test_an_inconsistent_draft_is_refused_and_leaves_nothing(
    toy_bundle: Path, tmp_path: Path, spoil: Any, said: str
) -> None:
    with pytest.raises(BundleError, match=said):
        write_copy(tmp_path / "out", toy_bundle, spoil=spoil)
    assert [entry.name for entry in tmp_path.iterdir()] == ["toy"]


@pytest.mark.parametrize("figure", [float("nan"), {1, 2}])
def test_figures_that_json_cannot_hold_are_refused(
    toy_bundle: Path, tmp_path: Path, figure: Any
) -> None:
    manifest = replace(read_manifest(toy_bundle), measured={"cosine": figure})
    with pytest.raises(BundleError, match="cannot be written"):
        write_copy(tmp_path / "out", toy_bundle, manifest=manifest)


SLOW_WRITER = """
import sys, time
from pathlib import Path
from embedge.models.bundle import new_bundle
from embedge.models.file_lock import FileLock
from embedge.models.manifest import Manifest, read_manifest

source, out = Path(sys.argv[1]), Path(sys.argv[2])
with new_bundle(out) as draft:
    print("writing", flush=True)
    for file in sorted(source.iterdir()):
        if file.name != "embedge.json":
            (draft.folder / file.name).write_bytes(file.read_bytes())
    manifest = read_manifest(source)
    if sys.argv[3:] == ["wait"]:
        sys.stdin.readline()
    draft.finish(manifest)
print("done", flush=True)
"""


def start_writer(source: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(source), str(out), *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_writer_leaves_a_whole_bundle_or_none(toy_bundle: Path, tmp_path: Path) -> None:
    """Twenty rounds, killed after a delay that grows through the whole time of a writing."""
    unfinished = 0
    for round_number in range(20):
        out = tmp_path / f"round-{round_number}" / "out"
        writer = start_writer(toy_bundle, out)
        assert writer.stdout is not None
        writer.stdout.readline()  # the draft exists
        time.sleep(round_number * 0.001)
        writer.kill()
        writer.communicate()
        if out.exists():
            open_bundle(out, verify="full")
            continue
        unfinished += 1
        write_copy(out, toy_bundle)  # the same command again works, and cleans up
        open_bundle(out, verify="full")
        assert [entry.name for entry in out.parent.iterdir()] == ["out"]
    assert unfinished > 0


def test_the_draft_of_a_killed_process_is_removed_and_that_of_a_living_one_kept(
    toy_bundle: Path, tmp_path: Path
) -> None:
    living = start_writer(toy_bundle, tmp_path / "store" / "living", "wait")
    killed = start_writer(toy_bundle, tmp_path / "store" / "killed", "wait")
    for writer in (living, killed):
        assert writer.stdout is not None
        writer.stdout.readline()
    killed.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    killed.communicate()
    removed = remove_leftovers(tmp_path / "store")
    assert [path.name.partition(".partial-")[0] for path in removed] == [".killed"]
    living.communicate("go\n")
    open_bundle(tmp_path / "store" / "living", verify="full")


def test_of_two_processes_writing_one_bundle_one_wins_and_one_says_why(
    toy_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "store" / "same"
    writers = [start_writer(toy_bundle, out, "wait") for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    results = [writer.communicate("go\n") for writer in writers]
    assert sorted(writer.returncode for writer in writers) == [0, 1]
    (complaint,) = (stderr for _, stderr in results if stderr)
    assert "exists already" in complaint
    open_bundle(out, verify="full")
    assert [entry.name for entry in out.parent.iterdir()] == ["same"]


def test_a_draft_taken_for_a_leftover_before_its_lock_is_made_again(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire, taken = FileLock.acquire, []

    def cleaned_meanwhile(self: FileLock) -> bool:
        if not taken:
            taken.append(self.path)
            self.path.rmdir()
        return acquire(self)

    monkeypatch.setattr(FileLock, "acquire", cleaned_meanwhile)
    write_copy(tmp_path / "store" / "out", toy_bundle)
    open_bundle(tmp_path / "store" / "out", verify="full")
    assert [entry.name for entry in (tmp_path / "store").iterdir()] == ["out"]


def test_only_drafts_are_taken_for_leftovers(tmp_path: Path) -> None:
    left = tmp_path / ".b.partial-0123456789ab"
    for folder in (left, tmp_path / ".c.partial-mine", tmp_path / "d.partial-0123456789ab"):
        folder.mkdir()
    assert remove_leftovers(tmp_path) == [left]
    assert len(list(tmp_path.iterdir())) == 2


def test_where_locks_do_not_work_only_old_drafts_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(_: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("embedge.models.file_lock._lock", unsupported)
    fresh, old = tmp_path / ".a.partial-0123456789ab", tmp_path / ".b.partial-0123456789ab"
    for folder in (fresh, old):
        folder.mkdir()
    os.utime(old, (0, 0))
    assert remove_leftovers(tmp_path) == [old]
    assert fresh.exists()


def test_a_bundle_half_removed_is_not_loadable_and_goes_with_the_next_cleaning(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bundle_module.shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            remove_bundle(toy_bundle)
    assert not toy_bundle.exists()
    assert len(remove_leftovers(toy_bundle.parent)) == 1
    assert list(toy_bundle.parent.iterdir()) == []


def test_an_atomic_write_replaces_or_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.json"
    write_atomically(path, b"old", mode=0o600)
    write_atomically(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("embedge.models.durable.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"newer")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["settings.json"]
