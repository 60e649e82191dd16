"""Folders with texts, an index over them, and what it holds."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedge import Embedder, Index, open_index

SENTENCES = (
    "The river runs past the house and the garden.",
    "Memory is what a computer forgets at night.",
    "Der Vektor ist nicht die Nacht, und das Haus ist nicht der Fluss.",
    "La maison est une mémoire des mots.",
    "A vector of words is a place in the language.",
    "The night is long and the house is small.",
)


def paragraphs(count: int, seed: int = 0) -> str:
    """Text of `count` different paragraphs; equal arguments give equal text."""
    parts = []
    for number in range(count):
        chosen = [SENTENCES[(number * 7 + seed + step) % len(SENTENCES)] for step in range(4)]
        parts.append(f"Part {seed} {number}. " + " ".join(chosen))
    return "\n\n".join(parts) + "\n"


@pytest.fixture
def long_text() -> Callable[..., str]:
    return paragraphs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files in two folders, about 30 chunks."""
    root = tmp_path / "docs"
    (root / "sub").mkdir(parents=True)
    (root / "a.md").write_text("# Lease\n\nHow to renew the lease.\n\n" + paragraphs(12, 1))
    (root / "b.txt").write_text(paragraphs(12, 2))
    (root / "sub" / "c.txt").write_text(paragraphs(6, 3))
    return root


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "index" / "index.db"


@pytest.fixture
def index(database: Path, embedder: Embedder) -> Iterator[Index]:
    with open_index(database, embedder=embedder) as opened:
        yield opened


Content = set[tuple[str, str, bytes | None]]


@pytest.fixture
def content(database: Path) -> Callable[[], Content]:
    """What an index holds: path, text of each live chunk and its vector."""

    def read(path: Path = database) -> Content:
        connection = sqlite3.connect(path)
        try:
            rows = connection.execute(
                "SELECT r.path || '/' || f.rel_path, c.text, v.fine FROM collections co"
                " JOIN collection_files cf ON cf.collection_id = co.id"
                " JOIN files f ON f.id = cf.file_id AND f.state <> 'missing'"
                " JOIN roots r ON r.id = f.root_id"
                " JOIN chunks c ON c.file_id = f.id AND c.chunker_id = co.chunker_id"
                " LEFT JOIN vectors v ON v.space_id = co.space_id"
                " AND v.text_sha256 = c.text_sha256"
            )
            return set(rows.fetchall())
        finally:
            connection.close()

    return read


@pytest.fixture
def query(database: Path) -> Callable[..., list[tuple[object, ...]]]:
    """Ask the database itself."""

    def ask(statement: str, *values: object) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(database)
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    return ask


@pytest.fixture
def check_sound(database: Path) -> Callable[[], None]:
    """Run SQLite's own checks, foreign keys and both full-text tables."""

    def check(path: Path = database) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            connection.execute("BEGIN")
            connection.execute(
                "INSERT INTO chunks_fts(chunks_fts, rank) VALUES('integrity-check', 1)"
            )
            connection.execute("INSERT INTO chunks_gram(chunks_gram) VALUES('integrity-check')")
            connection.execute("ROLLBACK")
        finally:
            connection.close()

    return check


@pytest.fixture(scope="session")
def learned_embedder(
    tiny_learned_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Embedder]:
    """Another model with the same tokenizer."""
    cache = tmp_path_factory.mktemp("cache")
    with Embedder(tiny_learned_bundle, threads=2, cache_dir=cache) as opened:
        yield opened
