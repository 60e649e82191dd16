"""The file: its schema, its identity, its versions, and who may read it."""

import os
import re
import sqlite3
import stat
from importlib.resources import files

import pytest

from embedge import IndexDamaged, IndexLocked, open_index
from embedge.models.errors import InvalidOption
from embedge.runtime.index import connection as module
from embedge.runtime.index import locking
from embedge.runtime.index.connection import connect_reader, connect_writer
from embedge.runtime.index.locking import lock_path, writer_lock


@pytest.fixture
def opened(database):
    connection = connect_writer(database)
    yield connection
    connection.close()


def test_new_file_has_the_identity_and_the_settings_of_an_index(opened):
    pragmas = {
        "application_id": 0x656D6264,
        "user_version": 1,
        "auto_vacuum": 2,
        "journal_mode": "wal",
        "synchronous": 1,
        "foreign_keys": 1,
        "busy_timeout": 5000,
    }
    found = {name: opened.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas}
    assert found == pragmas


def test_schema_needs_no_extension_and_only_what_sqlite_3_37_has(opened):
    schema = (files("embedge.runtime.index") / "schema.sql").read_text("utf-8")
    tables = re.findall(r"CREATE TABLE (\w+)\(.*?\) (STRICT[^;]*);", schema, re.S)
    assert len(tables) == 13
    modules = set(re.findall(r"USING (\w+)\(", schema))
    assert modules == {"fts5"}
    # What came after 3.37: RETURNING is older; these are newer.
    newer = r"\bunixepoch\b|->>|\bRIGHT JOIN\b|\bFULL JOIN\b|json_valid\(.*,|octet_length|concat\("
    sources = [path for path in files("embedge.runtime.index").iterdir() if path.name[0] != "_"]
    texts = {path.name: path.read_text() for path in sources if path.name.endswith((".py", ".sql"))}
    assert [name for name, text in texts.items() if re.search(newer, text)] == []
    assert [name for name, text in texts.items() if "load_extension" in text] == []


def test_chunks_are_immutable_and_cascades_reach_the_full_text(index, folder, opened):
    opened.close()
    index.add(folder)
    connection = connect_writer(index.path)
    with pytest.raises(sqlite3.DatabaseError, match="immutable"):
        connection.execute("UPDATE chunks SET text = 'other'")
    connection.execute("DELETE FROM files")
    counts = [
        connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("chunks", "chunkings", "collection_files")
    ]
    assert counts == [0, 0, 0]
    found = connection.execute("SELECT count(*) FROM chunks_fts WHERE chunks_fts MATCH 'lease'")
    assert found.fetchone() == (0,)
    connection.close()


def test_writer_without_the_function_for_pairs_cannot_harm_the_file(index, folder):
    index.add(folder)
    other = sqlite3.connect(index.path)
    with pytest.raises(sqlite3.OperationalError, match="no such function: embed_grams"):
        other.execute("DELETE FROM chunks")
    other.close()


def test_file_of_a_newer_version_is_refused_and_names_the_version_that_reads_it(opened, database):
    opened.execute("PRAGMA user_version = 99")
    opened.execute("UPDATE meta SET value = '7.1.0' WHERE key = 'tool_version'")
    opened.close()
    for act in (connect_reader, connect_writer):
        with pytest.raises(IndexDamaged, match=r"schema 99, .* Install .* 7.1.0"):
            act(database)


def test_database_of_another_program_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine(a)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(IndexDamaged, match="another program"):
        connect_writer(path)
    assert path.read_bytes() == before


def test_file_that_is_no_database_is_refused(tmp_path, embedder, folder):
    path = tmp_path / "notes.db"
    path.write_text("These are notes, and no database at all." * 50)
    with pytest.raises(IndexDamaged, match="no readable index"):
        open_index(path, embedder=embedder)


def test_older_schema_is_converted_in_one_transaction_after_a_copy(
    index, folder, database, monkeypatch, embedder
):
    index.add(folder)
    index.close()
    monkeypatch.setattr(module, "SCHEMA_VERSION", 2)
    monkeypatch.setattr(
        module,
        "MIGRATIONS",
        {1: "CREATE TABLE added(a INTEGER) STRICT;\nUPDATE meta SET value='x';"},
    )
    with pytest.raises(IndexDamaged, match="schema 1, this version reads 2"):
        open_index(database, readonly=True)
    with open_index(database, embedder=embedder) as converted:
        assert converted.search("renew the lease", mode="text", limit=1)
    copy = database.with_name("index.db.bak-v1")
    kept = sqlite3.connect(copy)
    assert kept.execute("PRAGMA user_version").fetchone() == (1,)
    kept.close()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600 or os.name == "nt"
    now = sqlite3.connect(database)
    assert now.execute("PRAGMA user_version").fetchone() == (2,)
    assert now.execute("SELECT count(*) FROM added").fetchone() == (0,)
    now.close()


def test_failed_conversion_changes_nothing(index, folder, database, monkeypatch):
    index.add(folder)
    index.close()
    monkeypatch.setattr(module, "SCHEMA_VERSION", 2)
    monkeypatch.setattr(
        module, "MIGRATIONS", {1: "CREATE TABLE added(a INTEGER) STRICT;\nSELECT * FROM x;"}
    )
    with pytest.raises(OSError, match="no such table"):
        connect_writer(database)
    now = sqlite3.connect(database)
    assert now.execute("PRAGMA user_version").fetchone() == (1,)
    assert now.execute("SELECT count(*) FROM sqlite_master WHERE name='added'").fetchone() == (0,)
    now.close()


def test_table_of_pairs_is_built_anew_when_their_definition_changes(index, tmp_path, query):
    root = tmp_path / "ja"
    root.mkdir()
    (root / "a.txt").write_text("東京の天気")
    index.add(root)
    connection = connect_writer(index.path)
    connection.execute("INSERT INTO chunks_gram(chunks_gram) VALUES('delete-all')")
    connection.execute("UPDATE meta SET value = 'older' WHERE key = 'grams'")
    connection.close()
    assert index.search("東京", mode="text") == []
    index.update()
    assert index.search("東京", mode="text")
    assert query("SELECT value FROM meta WHERE key = 'grams'") != [("older",)]


def test_second_writer_is_told_who_writes_and_since_when(index, folder, database):
    with writer_lock(database):
        with pytest.raises(IndexLocked, match=rf"process {os.getpid()} since \d{{4}}-"):
            index.add(folder)
    index.add(folder)


def test_missing_index_is_said_with_the_command_that_makes_one(database, embedder):
    with open_index(database, embedder=embedder) as index:
        for act in (lambda: index.search("x"), index.update, index.status, index.gc, index.ls):
            with pytest.raises(InvalidOption, match="embed index add FOLDER"):
                act()
    assert not database.exists()
    with pytest.raises(InvalidOption, match="there is no index"):
        open_index(database, readonly=True)


@pytest.mark.skipif(os.name == "nt", reason="no modes")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_everything_that_holds_texts_is_private_whatever_the_umask(
    tmp_path, folder, embedder, umask, monkeypatch
):
    from embedge.runtime.index import coarse_cache

    monkeypatch.setattr(coarse_cache, "_FEW", 1)  # so that a cache is written
    database = tmp_path / "new" / "deep" / "index.db"
    before = os.umask(umask)
    try:
        with open_index(database, embedder=embedder) as index:
            index.add(folder)
            reader = connect_reader(database)  # keeps the -wal and -shm files
            index.update()
            modes = {
                path.name: stat.S_IMODE(path.stat().st_mode) for path in database.parent.iterdir()
            }
            reader.close()
    finally:
        os.umask(before)
    assert {name.partition("-")[0] for name in modes} == {
        "index.db", "index.db.lock", "index.db.coarse"
    }  # fmt: skip
    assert set(modes.values()) == {0o600}
    for made in (database.parent, database.parent.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert lock_path(database).name == "index.db.lock"


def test_read_only_index_is_searched_and_never_written(index, folder, database, embedder):
    index.add(folder)
    index.close()
    before = {path.name: path.read_bytes() for path in database.parent.iterdir()}
    with open_index(database, embedder=embedder, readonly=True) as reader:
        assert reader.search("renew the lease", limit=1)[0].path.endswith("a.md")
        assert reader.plan().to_embed == 0
        assert reader.status().vectors > 0
        for act in (reader.update, reader.gc, lambda: reader.add(folder), reader.verify):
            with pytest.raises(InvalidOption, match="read-only"):
                act()
    after = {path.name: path.read_bytes() for path in database.parent.iterdir()}
    assert {name: after[name] for name in before} == before


def test_readers_go_on_while_one_process_writes(index, folder, database, embedder, long_text):
    index.add(folder)
    found = []

    def search_meanwhile(event):
        with open_index(database, embedder=embedder, readonly=True) as reader:
            found.append(reader.search("renew the lease", mode="text", limit=1)[0].path)

    (folder / "new.txt").write_text(long_text(20, 9))
    index.update(progress=search_meanwhile)
    assert len(found) >= 2
    assert {path.rpartition("/")[2] for path in found} == {"a.md"}


def test_many_threads_search_one_index(index, folder):
    from concurrent.futures import ThreadPoolExecutor

    index.add(folder)
    expected = [hit.text for hit in index.search("renew the lease")]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: index.search("renew the lease"), range(12)))
    assert all([hit.text for hit in answer] == expected for answer in answers)


def test_python_with_an_old_sqlite_is_named(database, monkeypatch):
    monkeypatch.setattr(module.sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(InvalidOption, match=r"SQLite 3\.37 or newer"):
        connect_writer(database)


@pytest.mark.skipif(os.name == "nt", reason="needs another way to lock files")
def test_file_system_without_shared_memory_falls_back_to_a_journal_and_says_so(
    index, folder, monkeypatch
):
    """Locks by files, as on some network drives: SQLite grants no WAL there."""
    quote = module.quote
    with monkeypatch.context() as patch:
        patch.setattr(module, "quote", lambda path: quote(path) + "?vfs=unix-dotfile")
        patch.setattr(locking, "lock_path", lambda path: path.with_name("other.lock"))
        index.add(folder)
    assert index.status().journal == "delete"
    assert index.search("renew the lease", limit=1)[0].path.endswith("a.md")
