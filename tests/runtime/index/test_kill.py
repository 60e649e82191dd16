"""Whatever ends a run, the index stays valid and the next run converges to the same content."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from embedge import Cancelled, CancelToken, open_index
from embedge.models.errors import BackendError

KILLS = Path(__file__).parents[3] / "benchmarks" / "reliability" / "index_kills.py"
FRAME = 24 + 4096  # bytes of one page in the write-ahead log


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_twenty_killed_runs_and_one_to_the_end_equal_an_undisturbed_index(tiny_bundle, tmp_path):
    command = [sys.executable, str(KILLS), "--kills", "20", "--model", str(tiny_bundle)]
    done = subprocess.run(
        [*command, "--cache-dir", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["lost"], report["wrong"]) == (0, 0)
    assert report["killed"] == 20
    assert report["chunks"] > 10


class Full:
    """A disk that has room for some pages more, then none."""

    def __init__(self, monkeypatch):
        from embedge.runtime.index import index as module

        self.pages = 0
        connect = module.connect_writer

        def connect_to_full_disk(path):
            connection = connect(path)
            size = connection.execute("PRAGMA page_count").fetchone()[0]
            if self.pages:
                connection.execute(f"PRAGMA max_page_count={size + self.pages - 1}")
            return connection

        monkeypatch.setattr(module, "connect_writer", connect_to_full_disk)


def test_full_disk_ends_the_run_and_keeps_the_index(
    index, folder, database, check_sound, content, embedder, tmp_path, monkeypatch
):
    disk = Full(monkeypatch)
    failures = []
    for pages in (1, 2, 3, 5, 8, 12, 17):
        disk.pages = pages
        try:
            index.add(folder)
        except OSError as error:
            failures.append(str(error))
        check_sound()
    assert len(failures) > 3
    assert all("full" in failure and str(database) in failure for failure in failures)
    disk.pages = 0
    index.add(folder)
    with open_index(tmp_path / "clean.db", embedder=embedder) as clean:
        clean.add(folder)
    assert content() == content(tmp_path / "clean.db")


def test_power_cut_at_any_page_leaves_an_index_that_converges(
    index, folder, database, check_sound, content, embedder, tmp_path
):
    """A cut loses what was not flushed: the log is truncated at each of its pages."""
    index.add(folder, "first")
    (folder / "new.txt").write_text((folder / "b.txt").read_text().replace("river", "rover"))
    held = sqlite3.connect(database)  # keeps SQLite from emptying the log at the end of the run
    held.execute("SELECT count(*) FROM files").fetchone()
    index.update()
    log = Path(f"{database}-wal").read_bytes()
    whole = content()
    frames = len(log) // FRAME
    assert frames > 20
    for number, kept in enumerate(range(0, frames, max(1, frames // 25))):
        cut = tmp_path / f"cut{number}" / "index.db"
        cut.parent.mkdir()
        shutil.copy(database, cut)
        Path(f"{cut}-wal").write_bytes(log[: 32 + kept * FRAME + (kept % 3) * 1000])
        check_sound(cut)
        with open_index(cut, embedder=embedder) as again:
            again.update()
        assert content(cut) == whole
    held.close()


def test_cancelled_run_keeps_what_it_finished_and_goes_on_later(
    index, folder, query, content, monkeypatch
):
    from embedge.runtime.index import update as module

    token, write = CancelToken(), module.write_cut_file

    def write_and_cancel(*arguments):
        write(*arguments)
        token.cancel()

    monkeypatch.setattr(module, "write_cut_file", write_and_cancel)
    with pytest.raises(Cancelled):
        index.add(folder, cancel=token)
    assert query("SELECT status FROM runs") == [("cancelled",)]
    assert query("SELECT count(*) FROM chunkings") == [(1,)]
    monkeypatch.undo()
    index.update()
    assert query("SELECT status FROM runs") == [("cancelled",), ("done",)]
    assert all(vector is not None for _, _, vector in content())


def test_exception_in_the_progress_callback_ends_the_run(index, folder, query):
    def fail(event):
        if event.event == "start":
            raise ValueError("the window was closed")

    with pytest.raises(ValueError, match="the window was closed"):
        index.add(folder, progress=fail)
    assert query("SELECT status FROM runs") == [("failed",)]
    assert index.update().chunks_embedded > 0


def test_a_run_that_died_is_marked_by_the_next_one(index, folder, database, query):
    index.add(folder)
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("UPDATE runs SET status = 'running', ended_ms = NULL")
    connection.close()
    index.update()
    assert query("SELECT status FROM runs ORDER BY id") == [("failed",), ("done",)]


def test_vectors_that_are_not_finite_are_never_written(index, folder, query, monkeypatch):
    from embedge.runtime.index import embedding

    encode = embedding.store_vectors

    def with_nan(*arguments):
        arguments[4][0, 0] = float("nan")  # the vectors
        encode(*arguments)

    monkeypatch.setattr(embedding, "store_vectors", with_nan)
    with pytest.raises(BackendError, match="finite"):
        index.add(folder)
    assert query("SELECT count(*) FROM vectors") == [(0,)]
    monkeypatch.undo()
    assert index.update().chunks_embedded > 0


def test_progress_counts_files_then_passages(index, folder):
    events = []
    report = index.add(folder, progress=events.append)
    assert [event.event for event in (events[0], events[-1])] == ["start", "done"]
    assert events[0].files_total == 3
    assert events[-1].files_done == 3
    assert events[-1].chunks_done == report.chunks_embedded
    assert events[-1].tokens_done == report.tokens
