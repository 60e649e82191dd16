r"""Kill index runs at random instants and compare with an undisturbed index.

    python benchmarks/reliability/index_kills.py --kills 500

Every round changes a folder (edits, new, deleted, renamed files), starts a run in a process of its
own (an update, now and then a garbage collection or another chunk size) and ends it with SIGKILL:
half of them after a random time, half at a random SQL statement, so that short steps are hit, too.
After each kill SQLite's integrity, the foreign keys and both full-text tables are checked. After
the last kill one run goes to its end, and paths, texts and vectors must be exactly those of an
index that was made in one go. Needs a system with fork.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from embedge import Embedder, open_index
from embedge.runtime.index import index as index_module

Content = set[tuple[str, str, bytes | None]]

WORDS = "river house memory night lease renew vector word language computer garden small".split()


def paragraph(rng: random.Random) -> str:
    """Return about 40 words."""
    return " ".join(rng.choice(WORDS) for _ in range(40)) + f" {rng.random()}."


def change(folder: Path, rng: random.Random) -> None:
    """Change some files of a folder."""
    for _ in range(rng.randint(1, 4)):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        what = rng.random()
        if what < 0.4 or len(files) < 4:
            name = folder / f"d{rng.randint(0, 3)}" / f"{rng.randint(0, 10**6)}.txt"
            name.parent.mkdir(exist_ok=True)
            name.write_text("\n\n".join(paragraph(rng) for _ in range(rng.randint(1, 30))))
            continue
        file = rng.choice(files)
        if what < 0.7:
            lines = file.read_text().split("\n\n")
            lines[rng.randrange(len(lines))] = paragraph(rng)
            file.write_text("\n\n".join(lines))
        elif what < 0.8:
            file.unlink()
        else:
            file.rename(file.with_name(f"r{rng.randint(0, 10**6)}.txt"))


def kill_at_statement(count: int) -> None:
    """Let this process die in the `count`-th SQL statement of its writer."""
    connect = index_module.connect_writer
    left = count

    def connect_and_count(path: Path) -> sqlite3.Connection:
        connection = connect(path)

        def trace(_: str) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

        connection.set_trace_callback(trace)
        return connection

    index_module.connect_writer = connect_and_count


def run_child(work: Callable[[], None], rng: random.Random, by_time: bool, longest: float) -> bool:
    """Fork, work, kill; return whether the kill came before the end."""
    delay = rng.uniform(0, longest)
    statement = rng.randint(1, 150)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if not by_time:
                kill_at_statement(statement)
            work()
            code = 0
        finally:
            os._exit(code)
    if by_time:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "a run failed that nobody killed"
        return False
    return True


def check_sound(database: Path) -> None:
    """Run every check that SQLite has on this index."""
    if not database.exists() or not database.stat().st_size:
        return
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            connection.execute("BEGIN")
            connection.execute(
                "INSERT INTO chunks_fts(chunks_fts, rank) VALUES('integrity-check', 1)"
            )
            connection.execute("INSERT INTO chunks_gram(chunks_gram) VALUES('integrity-check')")
            connection.execute("ROLLBACK")
    finally:
        connection.close()


def content(database: Path) -> Content:
    """Return path, text and vector of every live chunk."""
    connection = sqlite3.connect(database)
    try:
        rows = connection.execute(
            "SELECT f.rel_path, c.text, v.fine FROM collections co"
            " JOIN collection_files cf ON cf.collection_id = co.id"
            " JOIN files f ON f.id = cf.file_id AND f.state <> 'missing'"
            " JOIN chunks c ON c.file_id = f.id AND c.chunker_id = co.chunker_id"
            " LEFT JOIN vectors v ON v.space_id = co.space_id AND v.text_sha256 = c.text_sha256"
        )
        return set(rows.fetchall())
    finally:
        connection.close()


class Runs:
    """What a child does: each opens its own model, as a command would."""

    def __init__(self, model: str, folder: Path, database: Path, cache: Path | None) -> None:
        self.model, self.folder, self.database, self.cache = model, folder, database, cache

    def update(self, max_tokens: int | None = None, overlap: int | None = None) -> None:
        """Take the folder in, or look for changes."""
        with (
            Embedder(self.model, threads=1, cache_dir=self.cache) as embedder,
            open_index(self.database, embedder=embedder) as index,
        ):
            if not self.database.exists() or "docs" not in names(self.database):
                index.add(self.folder, "docs", confirm=True)
            index.update(max_tokens=max_tokens, overlap=overlap, confirm=True)

    def collect(self) -> None:
        """Forget everything that is not used, at once."""
        if self.database.exists() and names(self.database):
            with open_index(self.database) as index:
                index.gc(grace_days=0)


def names(database: Path) -> list[str]:
    """Return the collections, none where the index has no tables yet."""
    connection = sqlite3.connect(database)
    try:
        return [name for (name,) in connection.execute("SELECT name FROM collections")]
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


def work_of(runs: Runs, rng: random.Random) -> Callable[[], None]:
    """Choose what the next run does."""
    what = rng.random()
    if what < 0.1:
        return runs.collect
    if what < 0.2:
        return lambda: runs.update(max_tokens=128, overlap=8)
    if what < 0.3:
        return lambda: runs.update(max_tokens=512, overlap=64)
    return runs.update


def main() -> None:
    """Run the rounds and print what happened as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=500, help="rounds whose run ended early")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--cache-dir", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "docs")
        folder.mkdir()
        runs = Runs(arguments.model, folder, Path(name, "index.db"), arguments.cache_dir)
        change(folder, rng)
        killed = rounds = 0
        longest = 1.5  # seconds; then what whole runs take on this machine
        while killed < arguments.kills:
            rounds += 1
            change(folder, rng)
            started = time.monotonic()
            was_killed = run_child(work_of(runs, rng), rng, rounds % 2 == 0, longest)
            if was_killed:
                killed += 1
            elif rounds % 2:
                longest = 0.8 * longest + 0.2 * 1.1 * (time.monotonic() - started)
            check_sound(runs.database)
        runs.update(max_tokens=512, overlap=64)
        check_sound(runs.database)
        clean = Runs(arguments.model, folder, Path(name, "clean.db"), arguments.cache_dir)
        clean.update()
        found, expected = content(runs.database), content(clean.database)
    report = {
        "rounds": rounds,
        "killed": killed,
        "chunks": len(expected),
        "lost": len(expected - found),
        "wrong": len(found - expected),
        "seconds": round(time.monotonic() - begun, 1),
    }
    print(json.dumps(report))
    sys.exit(0 if found == expected and expected else 1)


if __name__ == "__main__":
    main()
