"""Every file has a state and a reason that its owner can read."""

import os
import shutil

import pytest

from embedge import InvalidOption, open_index
from embedge.runtime.index import Selection


@pytest.fixture
def states(index, tmp_path):
    """Index a folder made of the given files and return state and reason by name."""

    def look(files, **options):
        root = tmp_path / "files"
        root.mkdir(exist_ok=True)
        for name, data in files.items():
            (root / name).parent.mkdir(exist_ok=True, parents=True)
            (root / name).write_bytes(data)
        index.add(root, confirm=True, **options)
        return {entry.path.rpartition("/")[2]: (entry.state, entry.reason) for entry in index.ls()}

    return look


def test_each_bad_kind_has_its_state_and_reason(states, index):
    found = states(
        {
            "good.txt": b"The house by the river.",
            "empty.txt": b"",
            "white.txt": b" \n\t ",
            "binary.txt": bytes(range(1, 32)) * 9,
            "latin.txt": "Stra\xdfe".encode("latin-1") + b"\x81\xff",
            "broken.json": b'{"a": ',
            "deep.json": b"[" * 100_000,
        }
    )
    assert found["good.txt"] == ("read", None)
    assert found["empty.txt"] == found["white.txt"] == ("skipped", "empty")
    assert found["binary.txt"] == ("skipped", "binary")
    assert found["broken.json"] == ("error", "format")
    assert found["deep.json"] == ("error", "limit")
    assert found["latin.txt"][0] in ("error", "read")  # legacy encodings are an extra
    messages = {entry.path: entry.message for entry in index.status(errors=True).errors}
    assert len(messages) >= 5
    assert all(message and path.rpartition("/")[2] in message for path, message in messages.items())


def test_file_that_is_too_large_is_skipped_until_the_limit_is_raised(states, index, tmp_path):
    files = {"big.txt": b"The house by the river. " * 100}
    assert states(files, selection=Selection(max_file_size=1000)) == {
        "big.txt": ("skipped", "too_large")
    }
    assert states(files, selection=Selection(max_file_size=10_000)) == {"big.txt": ("read", None)}


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_name_that_is_no_unicode_has_an_escaped_row(index, tmp_path):
    root = tmp_path / "names"
    root.mkdir()
    with open(os.fsencode(root) + b"/caf\xe9.txt", "w") as file:
        file.write("The house.")
    index.add(root)
    (entry,) = index.ls()
    assert (entry.state, entry.reason) == ("error", "path_encoding")
    assert entry.path.endswith("/caf\\xe9.txt")


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_folder_whose_name_is_no_unicode_is_refused(index, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.mkdir(folder)
    with pytest.raises(InvalidOption, match="not valid Unicode"):
        index.add(folder)
    with pytest.raises(InvalidOption, match="not valid Unicode"):
        index.add(folder, "named")


def test_error_keeps_what_the_file_said_before_and_a_skip_does_not(states, index):
    states({"a.json": b'{"key": "the garden of words"}', "b.txt": b"the garden of memory"})
    assert len(index.search("garden", mode="text")) == 2
    states({"a.json": b'{"key": ', "b.txt": bytes(range(1, 32)) * 9})
    (hit,) = index.search("garden", mode="text")
    assert hit.path.endswith("a.json")


def test_mended_file_is_read_again(states):
    states({"a.json": b'{"key": '})
    assert states({"a.json": b'{"key": "garden"}'}) == {"a.json": ("read", None)}


def test_unreadable_file_is_an_error_and_is_tried_again(states, index, tmp_path, monkeypatch):
    from embedge.models.errors import InputError
    from embedge.runtime.index import update as module

    def refuse(file):
        raise InputError(f"{file.shown}: Permission denied", "permission")

    monkeypatch.setattr(module, "read_content", refuse)
    assert states({"a.txt": b"The garden."}) == {"a.txt": ("error", "permission")}
    monkeypatch.undo()
    index.update()
    assert [entry.state for entry in index.ls()] == ["read"]


def test_file_that_grows_while_it_is_read_is_tried_again_at_the_end(states, tmp_path, monkeypatch):
    from embedge.runtime.index import update as module

    read, tries = module.read_content, []

    def grow(file):
        tries.append(file.shown)
        if len(tries) > 2:
            return read(file)
        stat = os.fstat

        def and_write(handle):
            with file.location.open("ab") as stream:
                stream.write(b" More.")
            return stat(handle)

        with monkeypatch.context() as patch:
            patch.setattr("embedge.runtime.index.reading.os.fstat", and_write)
            return read(file)

    monkeypatch.setattr(module, "read_content", grow)
    assert states({"log.txt": b"The garden."}) == {"log.txt": ("error", "changed_while_reading")}
    assert states({}) == {"log.txt": ("read", None)}


def test_newly_installed_readers_try_skipped_files_again(states, index, query, monkeypatch):
    from embedge.runtime.index import readers

    states({"a.dat": bytes(range(1, 32)) * 9, "b.txt": b"The garden."})
    read = []
    monkeypatch.setattr(readers, "readers_here", lambda: "newer")
    monkeypatch.setattr(
        "embedge.runtime.index.update.read_content",
        lambda file: read.append(file.shown) or (_ for _ in ()).throw(AssertionError()),
    )
    with pytest.raises(AssertionError):
        index.update()
    assert [path.rpartition("/")[2] for path in read] == ["a.dat"]


def test_newer_extractor_reads_its_files_again_and_embeds_only_what_changed(
    states, index, monkeypatch
):
    from embedge.runtime.extract import plain
    from embedge.runtime.index import readers

    states({"a.txt": b"The garden of words.", "b.csv": b"name,place\nriver,house\n"})
    document = plain.Document

    def newer(**fields):
        return document(**(fields | {"extractor": "text/99"}))

    monkeypatch.setattr(plain, "Document", newer)
    monkeypatch.setattr(readers, "readers_here", lambda: "newer")
    report = index.update()
    assert report.chunks_embedded == 0
    with index.reading() as connection:
        rows = connection.execute("SELECT rel_path, extractor FROM files ORDER BY 1").fetchall()
    assert rows == [("a.txt", "text/99"), ("b.csv", "csv/1")]


def test_links_in_a_circle_end(index, tmp_path):
    root = tmp_path / "loop"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "a.txt").write_text("The garden.")
    (root / "inner" / "back").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    index.add(root, selection=Selection(follow_symlinks=True))
    assert [entry.path.rpartition("/")[2] for entry in index.ls() if entry.state == "read"] == [
        "a.txt"
    ]


@pytest.mark.slow
def test_one_line_of_many_megabytes_is_cut(index, tmp_path, embedder):
    from embedge.runtime.extract import extract
    from embedge.runtime.index.reading import Cutter, FileToRead, cut_file
    from embedge.runtime.index.targets import chunker_spec

    path = tmp_path / "line.txt"
    path.write_text("word river night " * 180_000)  # 3 MB without a line break
    cutter = Cutter(embedder.loaded.tokens, chunker_spec(embedder))
    cut = cut_file(FileToRead(1, path, "line.txt"), cutter)
    text = extract(path).text
    assert "".join(chunk.text[chunk.overlap_chars :] for chunk in cut.chunks) == text
    assert max(chunk.n_tokens for chunk in cut.chunks) <= cutter.spec.max_tokens


def test_lone_surrogates_of_json_escapes_reach_the_index_as_replacement(states, index):
    states({"a.json": b'{"key": "garden \\ud800 end"}'})
    assert "\ufffd" in index.search("garden", mode="text")[0].text


def test_very_long_path_is_indexed(index, tmp_path):
    root = tmp_path / "deep"
    folder = root
    for _ in range(12):
        folder = folder / ("d" * 60)
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("The garden.")
    index.add(root)
    assert index.search("garden", mode="text")[0].path.endswith("a.txt")
    shutil.rmtree(root)


def test_file_given_instead_of_a_folder_is_refused(index, folder):
    with pytest.raises(InvalidOption, match="--include"):
        index.add(folder / "a.md")


def test_rm_of_a_file_keeps_it_out(index, folder):
    index.add(folder)
    assert index.remove(folder / "sub") == 1
    assert index.update().files_new == 0
    assert len(index.ls()) == 2
    assert index.remove("docs") == 2
    assert index.collections() == []
    with pytest.raises(InvalidOption, match="no collection and no path"):
        index.remove("nothing")


def test_status_as_json_has_frozen_names(index, folder):
    index.add(folder)
    (folder / "bad.json").write_text("{")
    index.update()
    status = index.status(errors=True).as_dict()
    assert list(status) == [
        "path", "size_bytes", "schema", "journal", "vectors", "orphans", "collections", "last_run",
        "errors", "recall",
    ]  # fmt: skip
    assert list(status["collections"][0]) == [
        "name", "model", "revision", "variant", "dim", "space", "chunker", "roots", "files",
        "reasons", "chunks", "pending", "last_update_ms", "model_available", "model_problem",
        "moving_to",
    ]  # fmt: skip
    assert list(status["collections"][0]["roots"][0]) == ["path", "state", "files", "last_seen_ms"]
    assert list(status["last_run"]) == [
        "kind", "status", "started_ms", "ended_ms", "files_done", "chunks_done", "chunks_reused",
        "tokens_done", "errors", "tokens_per_s",
    ]  # fmt: skip
    assert list(status["errors"][0]) == [
        "collection", "path", "state", "reason", "message", "n_chunks", "size", "available",
    ]  # fmt: skip
    assert status["collections"][0]["files"] == {"read": 3, "error": 1}
    assert status["collections"][0]["reasons"] == {"format": 1}


def test_a_collection_name_is_never_read_as_sql(index, folder):
    name = "x'; DROP TABLE chunks; --"
    index.add(folder, name)
    assert index.search("lease", mode="text", collections=[name])
    assert index.remove(name) == 3


def test_folders_of_one_name_become_two_collections(index, folder, tmp_path):
    other = tmp_path / "other" / "docs"
    other.mkdir(parents=True)
    (other / "x.txt").write_text("The garden.")
    index.add(folder)
    index.add(other)
    index.add(folder)
    assert index.collections() == ["docs", "docs (2)"]


def test_unknown_database_folder_is_made(tmp_path, folder, embedder):
    with open_index(tmp_path / "a" / "b.db", embedder=embedder) as index:
        index.add(folder)
        assert index.status().journal == "wal"
