"""What was embedded once is not embedded again, whatever moves, is renamed or cut anew."""

import os
import shutil

import pytest

from embedge import open_index


def test_second_update_does_nothing(index, folder):
    first = index.add(folder)
    second = index.update()
    assert first.chunks_embedded > 10
    assert (second.chunks_embedded, second.files_seen, second.files_new) == (0, 3, 0)
    assert second.files_changed == 0


def test_edit_of_one_line_in_a_long_file_embeds_at_most_three_chunks(index, tmp_path, long_text):
    root = tmp_path / "book"
    root.mkdir()
    lines = long_text(400).splitlines()
    (root / "book.txt").write_text("\n".join(lines))
    assert index.add(root, confirm=True).chunks_embedded > 100
    for number in (0, 90, 401, len(lines) - 1):
        edited = list(lines)
        edited[number] += " One more sentence, written later."
        (root / "book.txt").write_text("\n".join(edited))
        report = index.update()
        assert report.files_changed == 1
        assert 1 <= report.chunks_embedded <= 3


def rename(root):
    (root / "a.md").rename(root / "renamed.md")


def move(root):
    (root / "sub" / "c.txt").rename(root / "c.txt")


def move_folder(root):
    (root / "sub").rename(root / "other")


def copy(root):
    shutil.copy(root / "b.txt", root / "copy.txt")


def touch(root):
    os.utime(root / "a.md", ns=(1, 1))


def hard_link(root):
    os.link(root / "a.md", root / "linked.md")


@pytest.mark.parametrize("change", [rename, move, move_folder, copy, touch, hard_link])
def test_files_that_move_or_repeat_embed_nothing(index, folder, change):
    index.add(folder)
    change(folder)
    report = index.update()
    assert report.chunks_embedded == 0
    assert all(os.path.exists(entry.path) for entry in index.ls() if entry.state == "read")
    present = {path for path in map(str, folder.rglob("*")) if os.path.isfile(path)}
    assert {entry.path for entry in index.ls() if entry.state == "read"} == present


def test_a_moved_file_keeps_its_row_and_its_chunks(index, folder, query):
    index.add(folder)
    before = query("SELECT id, file_id FROM chunks")
    rename(folder)
    report = index.update()
    assert (report.files_moved, report.files_new, report.files_missing) == (1, 0, 0)
    assert query("SELECT id, file_id FROM chunks") == before


def test_two_files_that_swap_names_embed_nothing(index, folder):
    """Except where the format of the name cuts the text elsewhere; both are plain text here."""
    (folder / "a.md").rename(folder / "a.txt")
    index.add(folder)
    (folder / "a.txt").rename(folder / "x")
    (folder / "b.txt").rename(folder / "a.txt")
    (folder / "x").rename(folder / "b.txt")
    assert index.update().chunks_embedded == 0


def test_a_root_at_another_place_embeds_nothing(index, folder, tmp_path):
    index.add(folder)
    folder.rename(tmp_path / "elsewhere")
    report = index.add(tmp_path / "elsewhere", replaces=folder)
    assert (report.chunks_embedded, report.files_new) == (0, 0)
    (collection,) = index.status().collections
    assert [root.path for root in collection.roots] == [str(tmp_path / "elsewhere")]
    assert {entry.state for entry in index.ls()} == {"read"}


def test_a_collection_over_the_same_files_embeds_nothing(index, folder):
    index.add(folder)
    assert index.add(folder, "again").chunks_embedded == 0
    assert index.collections() == ["again", "docs"]


def test_equal_texts_are_embedded_once(index, tmp_path):
    root = tmp_path / "copies"
    root.mkdir()
    for number in range(5):
        (root / f"{number}.txt").write_text("The same text in every file.")
    assert index.add(root).chunks_embedded == 1


def test_another_chunk_size_and_back_embeds_only_what_is_new(index, folder, content):
    index.add(folder)
    before = content()
    smaller = index.update(max_tokens=128, overlap=16, confirm=True)
    assert smaller.chunks_embedded > 0
    assert content() != before
    back = index.update(max_tokens=512, overlap=64, confirm=True)
    assert back.chunks_embedded == 0
    assert content() == before


def test_a_deleted_file_that_comes_back_embeds_nothing(index, folder):
    index.add(folder)
    text = (folder / "b.txt").read_text()
    (folder / "b.txt").unlink()
    assert index.update().files_missing == 1
    (folder / "b.txt").write_text(text)
    report = index.update()
    assert (report.chunks_embedded, report.files_new) == (0, 0)


def test_a_file_written_just_before_the_scan_is_hashed_once_more(index, folder):
    """Its second write falls into the same tick of the clock: size and times tell nothing."""
    path = folder / "b.txt"
    index.add(folder)
    status = path.stat()
    text = path.read_text()
    path.write_text(text.replace("river", "rover"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert index.update().chunks_embedded > 0


def test_rescan_finds_a_change_that_size_and_times_hide(index, folder, monkeypatch):
    from embedge.runtime.index.tree import Stat

    def without_ctime(cls, status):
        return cls(status.st_size, status.st_mtime_ns, None, str(status.st_ino))

    monkeypatch.setattr(Stat, "of", classmethod(without_ctime))
    path = folder / "b.txt"
    os.utime(path, ns=(10**18, 10**18))  # long ago, so that the scan trusts the time
    index.add(folder)
    path.write_text(path.read_text().replace("river", "rover"))
    os.utime(path, ns=(10**18, 10**18))
    assert index.update().chunks_embedded == 0
    assert index.update(rescan=True).chunks_embedded > 0


def test_files_that_patterns_leave_out_keep_their_vectors(index, folder):
    from embedge.runtime.index import Selection

    index.add(folder)
    index.add(folder, "docs", selection=Selection(exclude=("*.txt",)))
    assert {entry.path for entry in index.ls()} == {str(folder / "a.md")}
    index.add(folder, "docs", selection=Selection())
    assert index.update().chunks_embedded == 0
    assert len(index.ls()) == 3


def test_the_index_is_the_same_for_whoever_opens_it_next(database, folder, embedder, content):
    with open_index(database, embedder=embedder) as first:
        first.add(folder)
    held = content()
    with open_index(database, embedder=embedder) as second:
        assert second.update().chunks_embedded == 0
    assert content() == held


def test_what_is_pending_is_asked_only_after_a_change(index, folder, monkeypatch, database):
    """On a large index that question takes seconds, and a watched folder asks it often."""
    from embedge.runtime.index import update as module

    asked = []
    find = module.find_pending
    monkeypatch.setattr(
        module, "find_pending", lambda *arguments: asked.append(1) or find(*arguments)
    )
    index.add(folder)
    asked.clear()
    index.update()
    assert not asked
    (folder / "b.txt").unlink()
    index.update()
    assert asked
    asked.clear()
    index.gc(grace_days=0)  # deletes vectors
    index.update()
    assert asked


def test_vectors_that_were_lost_are_embedded_again(index, folder, database, content):
    import sqlite3

    index.add(folder)
    before = content()
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("DELETE FROM vectors WHERE id % 2")
    connection.close()
    pending = index.status().collections[0].pending
    assert pending > 3
    assert index.update().chunks_embedded == pending
    assert index.status().collections[0].pending == 0
    assert content() == before


def test_one_folder_cut_in_two_ways_is_kept_up_to_date_in_both(index, folder, query):
    index.add(folder, "long")
    index.add(folder, "short", max_tokens=128, overlap=8, confirm=True)
    path = folder / "b.txt"
    path.write_text(path.read_text() + "\n\nThe walrus came last.\n")
    index.update(["long"])
    assert index.search("walrus", mode="text", collections=["long"])
    assert not index.search("walrus", mode="text", collections=["short"])
    index.update()
    (hit,) = index.search("walrus", mode="text", collections=["short"])
    assert hit.cosine is None
    assert index.update().chunks_embedded == 0
    assert all(each.pending == 0 for each in index.status().collections)


def test_collections_cut_alike_read_their_common_files_once(index, folder, monkeypatch):
    from embedge.runtime.index import update as module

    index.add(folder, "one")
    index.add(folder, "two")
    (folder / "b.txt").write_text("Other words.")
    read, events = [], []
    content_of = module.read_content
    monkeypatch.setattr(
        module, "read_content", lambda file: read.append(file.shown) or content_of(file)
    )
    index.update(progress=events.append)
    assert read == [f"{folder}/b.txt"]
    assert (events[-1].files_done, events[-1].files_total) == (1, 1)
