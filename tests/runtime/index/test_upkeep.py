"""Forgetting, checking, carrying away and taking in."""

import sqlite3
import stat

import numpy as np
import pytest

from embedge import IndexDamaged, InvalidOption, open_index
from embedge.runtime.index.connection import connect_writer
from embedge.runtime.index.portable import export_copy, import_copy


def age(database, days):
    """Make marks and missing files older."""
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("UPDATE orphans SET since_ms = since_ms - ?", (days * 86_400_000,))
        connection.execute(
            "UPDATE files SET missing_since_ms = missing_since_ms - ?", (days * 86_400_000,)
        )
    connection.close()


def test_vectors_without_text_are_marked_first_and_deleted_after_the_grace_time(
    index, folder, database, query
):
    index.add(folder)
    n_vectors = query("SELECT count(*) FROM vectors")[0][0]
    index.remove("docs")
    first = index.gc()
    assert (first.marked, first.vectors) == (n_vectors, 0)
    assert index.gc().vectors == 0
    age(database, 31)
    assert index.gc().vectors == n_vectors
    assert query("SELECT count(*) FROM vectors") == [(0,)]


def test_marks_of_vectors_in_use_again_are_removed(index, folder, query):
    index.add(folder)
    index.remove("docs")
    index.gc()
    assert index.add(folder).chunks_embedded == 0
    index.gc()
    assert query("SELECT count(*) FROM orphans") == [(0,)]


def test_deletion_changes_the_generation_of_the_space_and_so_the_cache(
    index, folder, query, monkeypatch
):
    from embedge.runtime.index import coarse_cache

    monkeypatch.setattr(coarse_cache, "_FEW", 1)
    index.add(folder)
    before = [hit.text for hit in index.search("river", mode="vector", limit=50)]
    (folder / "b.txt").unlink()
    index.update()
    index.gc(grace_days=0)
    assert query("SELECT generation FROM spaces") > [(0,)]
    after = [hit.text for hit in index.search("river", mode="vector", limit=50)]
    assert 0 < len(after) < len(before)


def test_dry_run_counts_what_a_real_run_then_removes(index, folder, query):
    index.add(folder)
    (folder / "a.md").unlink()
    index.update()
    tables = ("files", "chunks", "vectors", "orphans", "runs")
    before = [query(f"SELECT * FROM {table}") for table in tables]
    dry = index.gc(grace_days=0, dry_run=True)
    assert [query(f"SELECT * FROM {table}") for table in tables] == before
    real = index.gc(grace_days=0)
    assert dry.files == real.files == 1
    assert (dry.vectors, dry.chunks, dry.bytes) == (real.vectors, real.chunks, real.bytes)
    assert dry.vectors > 0


def test_pages_are_given_back_when_a_quarter_is_free(index, tmp_path, long_text, database):
    root = tmp_path / "much"
    root.mkdir()
    (root / "a.txt").write_text(long_text(300))
    index.add(root, confirm=True)
    index.remove("much")
    size = database.stat().st_size
    report = index.gc(grace_days=0)
    assert report.freed_bytes > 0
    assert database.stat().st_size < size / 2


def test_sound_index_has_no_problems(index, folder):
    index.add(folder)
    report = index.verify(deep=True)
    assert report.problems == ()
    assert report.resampled == report.vectors > 0
    assert report.lowest_cosine == pytest.approx(1.0, abs=1e-4)


DAMAGES = {
    "altered text": (
        "DROP TRIGGER chunks_bu; UPDATE chunks SET text = text || '!' WHERE id = 1",
        "not the one that was hashed",
    ),
    "lost chunk": ("DELETE FROM chunks WHERE id = 1", "lack some of their chunks"),
    "short vector": ("UPDATE vectors SET fine = x'00' WHERE id = 1", "wrong length"),
    "other space": ("UPDATE spaces SET identity_json = '{}'", "does not describe itself"),
    "full text": ("INSERT INTO chunks_fts(chunks_fts) VALUES('delete-all')", "full text"),
    "reference": (
        "PRAGMA foreign_keys=OFF; UPDATE files SET root_id = 99 WHERE id = 1",
        "refers to nothing in roots",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_found(index, folder, damage):
    index.add(folder)
    statements, words = DAMAGES[damage]
    connection = connect_writer(index.path)
    for statement in statements.split("; "):
        connection.execute(statement)
    connection.close()
    assert any(words in problem for problem in index.verify().problems)


def test_wrong_vector_is_found_by_embedding_again(index, folder, query):
    index.add(folder)
    connection = connect_writer(index.path)
    (fine,) = connection.execute("SELECT fine FROM vectors WHERE id = 1").fetchone()
    opposite = (-np.frombuffer(fine, dtype="<f2")).tobytes()
    connection.execute("UPDATE vectors SET fine = ? WHERE id = 1", (opposite,))
    connection.close()
    assert index.verify().problems == ()
    report = index.verify(deep=True)
    assert len(report.problems) == 1
    assert "cosine" in report.problems[0]


def test_copy_holds_everything_and_is_private(index, folder, tmp_path, content):
    index.add(folder)
    copy = tmp_path / "copy.db"
    assert export_copy(index.path, copy) == copy.stat().st_size
    assert content(copy) == content()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with pytest.raises(InvalidOption, match="is there already"):
        export_copy(index.path, copy)


def test_import_merges_collections_shares_vectors_and_embeds_nothing(
    index, folder, tmp_path, embedder, content, check_sound
):
    index.add(folder)
    copy = tmp_path / "copy.db"
    export_copy(index.path, copy)
    other = tmp_path / "other" / "index.db"
    more = tmp_path / "more" / "docs"
    more.mkdir(parents=True)
    (more / "x.txt").write_text("The garden of words.")
    with open_index(other, embedder=embedder) as target:
        target.add(more)
        with target.writing() as connection:
            taken = import_copy(connection, copy)
        assert taken.collections == ("docs (2)",)
        assert (taken.files, taken.vectors) == (3, len(content()))
        assert target.update().chunks_embedded == 0
        assert content(other) > content()
        hits = target.search("renew the lease", collections=["docs (2)"], limit=1)
        assert hits[0].path.endswith("a.md")
        with target.writing() as connection:
            again = import_copy(connection, copy)
        assert (again.files, again.chunks, again.vectors) == (0, 0, 0)
    check_sound(other)


def test_import_into_nothing_equals_the_source(index, folder, tmp_path, embedder, content):
    index.add(folder)
    copy = tmp_path / "copy.db"
    export_copy(index.path, copy)
    other = tmp_path / "other.db"
    with open_index(other, embedder=embedder) as target, target.writing(create=True) as connection:
        import_copy(connection, copy)
    assert content(other) == content()


def test_import_of_a_damaged_file_is_refused_and_changes_nothing(
    index, folder, tmp_path, content, long_text
):
    index.add(folder)
    copy = tmp_path / "copy.db"
    export_copy(index.path, copy)
    data = bytearray(copy.read_bytes())
    data[4096 * 3 : 4096 * 20] = b"\xff" * (4096 * 17)
    copy.write_bytes(data)
    before = content()
    with index.writing() as connection, pytest.raises(IndexDamaged, match=r"damaged|readable"):
        import_copy(connection, copy)
    assert content() == before


def test_import_of_a_drive_that_is_away_is_searchable(index, folder, tmp_path, embedder):
    index.add(folder)
    copy = tmp_path / "copy.db"
    export_copy(index.path, copy)
    folder.rename(tmp_path / "away")
    other = tmp_path / "other.db"
    with open_index(other, embedder=embedder) as target:
        with target.writing(create=True) as connection:
            import_copy(connection, copy)
        (hit,) = target.search("renew the lease", limit=1)
        assert not hit.available
        assert target.update().files_missing == 0
