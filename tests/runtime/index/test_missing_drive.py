"""A drive that is away is a state, not a deletion."""

import os
import shutil

import pytest

from embedge.models.errors import InvalidOption


@pytest.fixture
def indexed(index, folder):
    index.add(folder)
    return folder


def unplug_gone(root, away):
    root.rename(away)


def unplug_empty_mount_point(root, away):
    root.rename(away)
    root.mkdir()


def unplug_unreadable(root, away):
    shutil.copytree(root, away)
    root.chmod(0)


def unplug_file_in_its_place(root, away):
    root.rename(away)
    root.write_text("no folder")


def plug_in(root, away):
    if root.is_file():
        root.unlink()
    if root.exists():
        root.chmod(0o700)
        shutil.rmtree(root)
    away.rename(root)


WAYS = [
    unplug_gone,
    unplug_empty_mount_point,
    unplug_file_in_its_place,
    pytest.param(
        unplug_unreadable,
        marks=pytest.mark.skipif(
            not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user reads everything"
        ),
    ),
]


@pytest.mark.parametrize("unplug", WAYS)
def test_missing_drive_deletes_nothing_and_costs_nothing_when_it_is_back(
    index, indexed, content, query, tmp_path, unplug
):
    before = content()
    unplug(indexed, tmp_path / "away")
    report = index.update()
    assert report.files_missing == 0
    assert len(report.offline_roots) == 1
    assert str(indexed) in report.warnings[0]
    assert content() == before
    assert query("SELECT state FROM roots") == [("offline",)]
    hit = index.search("renew the lease", limit=1)[0]
    assert not hit.available
    index.gc(grace_days=0)
    assert content() == before
    plug_in(indexed, tmp_path / "away")
    assert index.update().chunks_embedded == 0
    assert index.search("renew the lease", limit=1)[0].available
    assert content() == before


def test_a_folder_that_was_really_emptied_can_be_accepted(index, indexed):
    shutil.rmtree(indexed)
    indexed.mkdir()
    assert "--accept-empty" in index.update().warnings[0]
    report = index.update(accept_empty=[indexed])
    assert report.files_missing == 3
    assert index.search("renew the lease") == []


def test_accepting_a_folder_that_is_no_root_is_refused(index, indexed, tmp_path):
    with pytest.raises(InvalidOption, match="no folder of this index"):
        index.update(accept_empty=[tmp_path])


def test_another_drive_at_the_same_place_is_not_taken_for_the_old_one(
    index, indexed, query, database
):
    import sqlite3

    connection = sqlite3.connect(database)
    with connection:
        connection.execute("UPDATE roots SET volume_id = 'another drive'")
    connection.close()
    (indexed / "a.md").unlink()
    (indexed / "b.txt").unlink()
    report = index.update()
    assert "another drive" in report.warnings[0]
    assert query("SELECT count(*) FROM files WHERE state = 'missing'") == [(0,)]


def test_a_lost_file_is_hidden_at_once_and_forgotten_only_by_gc(index, indexed, query):
    (indexed / "a.md").unlink()
    assert index.update().files_missing == 1
    assert all(not hit.path.endswith("a.md") for hit in index.search("renew the lease", limit=50))
    index.gc()
    assert query("SELECT count(*) FROM files") == [(3,)]
    index.gc(grace_days=0)
    assert query("SELECT count(*) FROM files") == [(2,)]


def test_a_folder_that_cannot_be_listed_keeps_its_files(index, indexed, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).rstrip("/").endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("embedge.runtime.walk.os.scandir", refuse)
    report = index.update()
    assert report.files_missing == 0
    assert len(report.warnings) == 1
    assert "sub" in report.warnings[0]
    assert len([entry for entry in index.ls() if entry.state == "read"]) == 3


def test_a_drive_that_goes_away_while_its_files_are_read(index, folder, tmp_path, content):
    (folder / "z").mkdir()
    for number in range(5):
        (folder / "z" / f"{number}.txt").write_text(f"File {number} of the drive.")

    def unplug(event):
        if event.event == "start":
            folder.rename(tmp_path / "away")

    report = index.add(folder, progress=unplug)
    assert report.chunks_embedded == 0
    assert {entry.state for entry in index.ls()} == {"pending"}
    (tmp_path / "away").rename(folder)
    assert index.update().chunks_embedded > 0
    assert {entry.state for entry in index.ls()} == {"read"}


def test_losing_most_of_many_files_is_said_and_deletes_nothing(index, tmp_path, query):
    root = tmp_path / "many"
    root.mkdir()
    for number in range(150):
        (root / f"{number}.txt").write_text(f"Number {number}.")
    index.add(root)
    for number in range(140):
        (root / f"{number}.txt").unlink()
    report = index.update()
    assert report.files_missing == 140
    assert "lost 140 of 150 files" in report.warnings[0]
    assert query("SELECT count(*) FROM chunks") == [(150,)]


def test_renaming_the_only_folder_is_no_missing_drive(index, tmp_path, query):
    """No known path is left, but the drive is the same and other files lie there."""
    root = tmp_path / "root"
    (root / "only").mkdir(parents=True)
    (root / "only" / "a.txt").write_text("The garden of words.")
    index.add(root)
    (root / "only").rename(root / "renamed")
    report = index.update()
    if query("SELECT volume_id FROM roots") != [(None,)]:
        assert (report.files_moved, report.warnings) == (1, ())
        assert index.search("garden", limit=1)[0].path.endswith("renamed/a.txt")


def test_another_drive_with_other_files_deletes_nothing(
    index, indexed, database, content, tmp_path
):
    import sqlite3

    before = content()
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("UPDATE roots SET volume_id = 'another drive'")
    connection.close()
    indexed.rename(tmp_path / "away")
    indexed.mkdir()
    (indexed / "other.txt").write_text("A file of the other drive.")
    assert len(index.update().offline_roots) == 1
    assert content() == before
