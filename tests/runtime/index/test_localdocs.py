"""GPT4All's LocalDocs: what it holds comes in, what we hold goes out, its file stays as it is."""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedge import Index, InvalidOption
from embedge.models.errors import Cancelled
from embedge.runtime.index.localdocs_export import create_tables, export_localdocs
from embedge.runtime.index.localdocs_import import import_localdocs


def peer_chunks(text: str) -> list[str]:
    """Words joined by one space up to 512 characters, as the app cuts."""
    chunks, words = [], ""
    for word in text.split():
        if words and len(words) + 1 + len(word) > 512:
            chunks.append(words)
            words = ""
        words = f"{words} {word}".strip()
    return [*chunks, words] if words else chunks


def add_document(peer: sqlite3.Connection, folder: int, file: Path, text: str) -> None:
    document = peer.execute(
        "INSERT INTO documents(folder_id, document_time, document_path) VALUES(?, ?, ?)",
        (folder, 1_700_000_000_000, file.as_posix()),
    ).lastrowid
    for chunk in peer_chunks(text):
        number = peer.execute(
            "INSERT INTO chunks(document_id, chunk_text, file, title, author, page, line_from,"
            " line_to, words) VALUES(?, ?, ?, 'A title', 'Ada', -1, -1, -1, ?)",
            (document, chunk, file.name, len(chunk.split())),
        ).lastrowid
        peer.execute(
            "INSERT INTO embeddings VALUES('nomic-embed-text-v1.5', ?, ?, ?)",
            (folder, number, np.zeros(768, dtype=np.float32).tobytes()),
        )


@pytest.fixture
def drive(tmp_path: Path, long_text: Callable[..., str]) -> Path:
    """A folder that can be taken away."""
    drive = tmp_path / "usb"
    drive.mkdir()
    (drive / "far.txt").write_text("A boat is moored far away. " + long_text(3, 9))
    return drive


@pytest.fixture
def source(tmp_path: Path, folder: Path, drive: Path) -> Path:
    """The app's database: two collections, the folder in both, the drive in one of them."""
    path = tmp_path / "localdocs_v3.db"
    peer = sqlite3.connect(path)
    create_tables(peer)
    for number, place in ((1, folder), (2, drive)):
        peer.execute("INSERT INTO folders VALUES(?, ?)", (number, place.as_posix()))
        for file in sorted(place.rglob("*.*")):
            add_document(peer, number, file, file.read_text())
    (folder / "code.py").write_text("never = 'read by the app'\n")
    peer.execute("INSERT INTO collections VALUES(1, 'work', 1700000000000, 'text', 'm')")
    peer.execute("INSERT INTO collections VALUES(2, 'home', NULL, NULL, NULL)")
    peer.executemany("INSERT INTO collection_items VALUES(?, ?)", [(1, 1), (2, 1), (2, 2)])
    peer.execute("INSERT INTO chunks_fts(chunks_fts) VALUES('rebuild')")
    peer.commit()
    peer.close()
    return path


def content_of(file: Path) -> set[tuple[object, ...]]:
    """What a LocalDocs database says: collection, folder, document, text, in any order."""
    peer = sqlite3.connect(file)
    try:
        return set(
            peer.execute(
                "SELECT co.name, f.path, d.document_path, c.chunk_text, c.file, c.page"
                " FROM collections co JOIN collection_items i ON i.collection_id = co.id"
                " JOIN folders f ON f.id = i.folder_id JOIN documents d ON d.folder_id = f.id"
                " JOIN chunks c ON c.document_id = d.id"
            )
        )
    finally:
        peer.close()


def test_folders_and_collections_come_in_and_are_searched(index: Index, source: Path):
    done = import_localdocs(index, source)
    assert done.taken.collections == ["work", "home"]
    assert (done.taken.folders, done.taken.documents, done.taken.chunks) == (2, 4, 0)
    assert done.update.files_new == 4
    assert done.update.errors == 0
    hits = index.search("renew the lease", mode="text", collections=["work"])
    assert hits[0].path.endswith("a.md")
    assert {hit.collection for hit in index.search("boat moored", mode="text")} == {"home"}


def test_only_kinds_of_file_that_the_app_has_are_taken(index: Index, source: Path):
    import_localdocs(index, source)
    assert not any(entry.path.endswith(".py") for entry in index.ls())


def test_the_source_is_only_read(index: Index, source: Path):
    before = hashlib.sha256(source.read_bytes()).hexdigest()
    files = sorted(os.listdir(source.parent))
    source.chmod(0o444)
    import_localdocs(index, source)
    assert hashlib.sha256(source.read_bytes()).hexdigest() == before
    assert set(os.listdir(source.parent)) - set(files) <= {"index"}


def test_a_drive_that_is_away_brings_the_passages_of_the_app(
    index: Index, source: Path, drive: Path, check_sound
):
    drive.rename(drive.with_name("unplugged"))
    done = import_localdocs(index, source)
    assert done.taken.away == [drive.as_posix()]
    assert (done.taken.files, done.taken.chunks > 0) == (1, True)
    (hit, *_) = index.search("boat moored far away", mode="text")
    assert (hit.available, hit.char_start, hit.char_end) == (False, -1, -1)
    assert any("boat" in hit.text for hit in index.search("boat", mode="vector", limit=None))
    check_sound()


def test_the_files_take_over_when_the_drive_is_back(
    index: Index, source: Path, drive: Path, check_sound
):
    away = drive.rename(drive.with_name("unplugged"))
    import_localdocs(index, source)
    again = index.update()
    assert again.chunks_embedded == 0
    away.rename(drive)
    assert index.update().files_changed == 1
    (hit, *_) = index.search("boat moored far away", mode="text")
    assert hit.available
    assert hit.text == drive.joinpath("far.txt").read_text()[hit.char_start : hit.char_end]
    check_sound()


def test_a_name_that_is_taken_gets_a_number(index: Index, source: Path):
    assert import_localdocs(index, source).taken.collections == ["work", "home"]
    assert import_localdocs(index, source).taken.collections == ["work (2)", "home (2)"]


def test_a_plan_that_is_declined_leaves_no_trace(
    index: Index, source: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("embedge.runtime.index.results.CONSENT_CHUNKS", 1)
    with pytest.raises(InvalidOption, match="needs a yes"):
        import_localdocs(index, source)
    with pytest.raises(Cancelled):
        import_localdocs(index, source, confirm=lambda plan: plan.to_embed < 1)
    assert index.collections() == []
    assert import_localdocs(index, source, confirm=True).update.chunks_embedded > 0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("DROP TABLE chunks", "no table chunks"),
        ("ALTER TABLE folders RENAME COLUMN path TO folder_path", "folders lacks path"),
    ],
)
def test_what_is_not_version_three_is_refused_with_every_reason(index, source, damage, message):
    peer = sqlite3.connect(source)
    peer.execute(damage)
    peer.commit()
    peer.close()
    with pytest.raises(InvalidOption, match=message):
        import_localdocs(index, source)


def test_no_file_and_no_database_are_refused(index: Index, tmp_path: Path):
    with pytest.raises(InvalidOption, match="no such file"):
        import_localdocs(index, tmp_path / "none.db")
    (tmp_path / "text.db").write_text("no database " * 100)
    with pytest.raises(InvalidOption, match=r"text\.db cannot be read"):
        import_localdocs(index, tmp_path / "text.db")


def test_damage_in_the_middle_names_the_apps_file_and_leaves_the_index_as_it_was(
    index: Index, source: Path, drive: Path
):
    drive.rename(drive.with_name("unplugged"))
    data = bytearray(source.read_bytes())
    peer = sqlite3.connect(source)
    (page,) = peer.execute("SELECT rootpage FROM sqlite_master WHERE name = 'chunks'").fetchone()
    (size,) = peer.execute("PRAGMA page_size").fetchone()
    peer.close()
    data[(page - 1) * size : page * size] = b"\xee" * size
    source.write_bytes(data)
    with pytest.raises(InvalidOption, match=r"localdocs_v3\.db cannot be read"):
        import_localdocs(index, source)
    assert index.collections() == []


def test_the_export_has_what_the_app_needs(index: Index, source: Path, tmp_path: Path):
    import_localdocs(index, source)
    done = export_localdocs(index, tmp_path / "out")
    peer = sqlite3.connect(done.path)
    try:
        assert peer.execute("PRAGMA auto_vacuum").fetchone() == (1,)
        assert peer.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert peer.execute("PRAGMA foreign_key_check").fetchall() == []
        models = peer.execute("SELECT DISTINCT embedding_model FROM collections").fetchall()
        assert models == [("nomic-embed-text-v1.5",)]
        found = peer.execute(  # the app's own full-text query
            "SELECT id, bm25(chunks_fts) AS score FROM chunks_fts WHERE chunks_fts MATCH ?"
            " ORDER BY score LIMIT 3",
            ("renewing leases",),  # stemmed by `porter`
        ).fetchall()
        shown = peer.execute(
            "SELECT d.document_path, c.file, c.page, c.line_from FROM chunks c"
            " JOIN documents d ON d.id = c.document_id WHERE c.id = ?",
            (found[0][0],),
        ).fetchone()
        assert shown[0].endswith("/docs/a.md")
        assert shown[1:] == ("a.md", -1, -1)
        assert peer.execute("SELECT count(*) FROM embeddings").fetchone() == (0,)
        times = peer.execute("SELECT document_time, document_path FROM documents").fetchall()
        assert all(time == os.stat(path).st_mtime_ns // 1_000_000 for time, path in times)
    finally:
        peer.close()


def test_our_vectors_go_along_when_asked_for(index: Index, source: Path, tmp_path: Path):
    import_localdocs(index, source)
    done = export_localdocs(index, tmp_path / "out", vectors="ours")
    assert done.vectors == done.chunks
    peer = sqlite3.connect(done.path)
    try:
        models = peer.execute("SELECT DISTINCT embedding_model FROM collections").fetchall()
        (model, vector) = peer.execute("SELECT model, embedding FROM embeddings").fetchone()
        assert models == [(model,)]
        values = np.frombuffer(vector, dtype=np.float32)
        assert abs(float(np.linalg.norm(values)) - 1) < 1e-3  # stored as float16
    finally:
        peer.close()


def test_what_goes_out_comes_in_again_and_goes_out_the_same(
    index: Index, source: Path, tmp_path: Path, embedder
):
    from embedge import open_index

    import_localdocs(index, source)
    first = Path(export_localdocs(index, tmp_path / "first").path)
    with open_index(tmp_path / "other.db", embedder=embedder) as other:
        import_localdocs(other, first)
        second = Path(export_localdocs(other, tmp_path / "second").path)
    assert content_of(first) == content_of(second)
    assert content_of(first)


def test_passages_of_a_drive_that_is_away_survive_the_round_trip(
    index: Index, source: Path, drive: Path, folder: Path, tmp_path: Path
):
    expected = content_of(source)
    shutil.rmtree(folder)
    drive.rename(drive.with_name("unplugged"))
    import_localdocs(index, source)
    found = content_of(Path(export_localdocs(index, tmp_path / "out").path))
    assert found == expected


def test_an_export_never_overwrites_and_is_private(index: Index, source: Path, tmp_path: Path):
    import_localdocs(index, source)
    done = export_localdocs(index, tmp_path / "out")
    assert os.stat(done.path).st_mode & 0o777 == 0o600
    with pytest.raises(InvalidOption, match="is there already"):
        export_localdocs(index, tmp_path / "out")
    with pytest.raises(InvalidOption, match="--vectors"):
        export_localdocs(index, tmp_path / "new", vectors="all")
    assert sorted(os.listdir(tmp_path / "out")) == ["localdocs_v3.db"]


def test_a_file_below_two_folders_is_written_once(index: Index, folder: Path, tmp_path: Path):
    index.add(folder, "all")
    index.add(folder / "sub", "part")
    done = export_localdocs(index, tmp_path / "out")
    assert (done.documents, done.left_out) == (3, 1)
