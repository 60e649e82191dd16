"""The list by words: FTS5 for words, pairs of characters for scripts without spaces.

A query is words, never FTS syntax. Phrases come first, then passages with all terms, then with any
of them; terms that stand in more than a fifth of the passages are left out of the last step, so
no list of stop words and no guess of the language is needed.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from embedge.runtime.index.grams import find_runs, pairs_of, without_runs
from embedge.runtime.index.live import CHUNKER_OF_FILE

_MOST_TERMS = 64
"""Of a query that is a whole page, this many first terms are enough."""

_COMMON_SHARE = 5
_SAMPLE = 5_000
_COMMON_LEAST = 20
"""In fewer passages nothing is common: a fifth of a handful says nothing about a word."""

_UNSPEAKABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True)
class TextMatch:
    """One passage: id and key of its text, and its score; smaller is better."""

    chunk_id: int
    key: bytes
    bm25: float


@dataclass(frozen=True)
class Terms:
    """What a query asks for: words, and runs of scripts without spaces."""

    words: tuple[str, ...]
    runs: tuple[str, ...]

    @classmethod
    def of(cls, query: str) -> "Terms":
        """Take a query apart; words of punctuation only ask for nothing."""
        text = _UNSPEAKABLE.sub(" ", query)
        words = (word for word in without_runs(text).split() if any(map(str.isalnum, word)))
        return cls(_distinct(words), _distinct(find_runs(text)))

    def __iter__(self) -> Iterator[str]:
        yield from (*self.words, *self.runs)


def _distinct(terms: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
    first: dict[str, str] = {}
    for term in terms:
        first.setdefault(term.casefold(), term)
    return tuple(first.values())[:_MOST_TERMS]


def search_text(
    connection: sqlite3.Connection,
    terms: Terms,
    collections: Sequence[int],
    count: int,
    *,
    only_files: bool = False,
) -> list[TextMatch]:
    """Return at most `count` passages of the collections, best first.

    Args:
        connection: a reader's.
        terms: of the query.
        collections: ids.
        count: most results.
        only_files: take only files of the temporary table `wanted_files`.
    """
    tables = (_words_table(terms), _grams_table(terms))
    lists = [
        _search_table(_Table(connection, name, steps, collections, only_files), count)
        for name, steps in tables
        if steps
    ]
    merged: dict[int, TextMatch] = {}
    for row in zip_longest(*lists):
        for match in filter(None, row):
            merged.setdefault(match.chunk_id, match)
    return list(merged.values())[:count]


Common = Callable[[str], bool]
_Step = Callable[[Common], str]
"""From a test for common expressions to an FTS5 expression, empty for none."""


def _words_table(terms: Terms) -> tuple[str, list[_Step]]:
    if not terms.words:
        return "chunks_fts", []
    quoted = [_quote(word) for word in terms.words]
    steps: list[_Step] = [lambda _: _quote(" ".join(terms.words))]
    if len(quoted) > 1:
        steps += [lambda _: " AND ".join(quoted), lambda is_common: _any(quoted, is_common)]
    return "chunks_fts", steps


def _grams_table(terms: Terms) -> tuple[str, list[_Step]]:
    if not terms.runs:
        return "chunks_gram", []
    phrases = [_phrase(run) for run in terms.runs]
    pairs = _distinct([pair for run in terms.runs for pair in pairs_of(run) or [run]])
    steps: list[_Step] = [lambda _: " AND ".join(phrases)]
    if len(pairs) > 1:
        # Pairs and not whole runs: a Korean word with its particle stands nowhere else.
        steps.append(lambda is_common: _any([_phrase(pair) for pair in pairs], is_common))
    return "chunks_gram", steps


def _any(expressions: Sequence[str], is_common: Common) -> str:
    rare = [each for each in expressions if not is_common(each)]
    return " OR ".join(rare or expressions)


def _phrase(run: str) -> str:
    """Ask for a run inside longer ones: its pairs in order, or what starts with one character."""
    pairs = pairs_of(run)
    return _quote(" ".join(pairs)) if pairs else _quote(run) + " *"


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@dataclass(frozen=True)
class _Table:
    connection: sqlite3.Connection
    name: str
    steps: list[_Step]
    collections: Sequence[int]
    only_files: bool


def _search_table(table: _Table, count: int) -> list[TextMatch]:
    found: dict[int, TextMatch] = {}
    is_common = _common_test(table)
    for step in table.steps:
        for match in _run(table, step(is_common), count):
            found.setdefault(match.chunk_id, match)
        if len(found) >= count:
            break
    return list(found.values())[:count]


def _run(table: _Table, expression: str, count: int) -> Iterator[TextMatch]:
    name = table.name
    weights = " AND rank MATCH 'bm25(1.0, 2.0)'" if name == "chunks_fts" else ""
    wanted = " AND f.id IN (SELECT id FROM temp.wanted_files)" if table.only_files else ""
    marks = ",".join("?" * len(table.collections))
    rows = table.connection.execute(
        f"SELECT {name}.rowid, {name}.rank FROM {name} WHERE {name} MATCH ?{weights} AND EXISTS ("
        "SELECT 1 FROM chunks c JOIN files f ON f.id = c.file_id AND f.state <> 'missing'"
        " JOIN collection_files cf ON cf.file_id = f.id"
        f" JOIN collections co ON co.id = cf.collection_id AND co.id IN ({marks})"
        f" WHERE c.id = {name}.rowid{wanted} AND c.chunker_id = "
        + CHUNKER_OF_FILE.format(chunker="co.chunker_id")
        + f") ORDER BY {name}.rank LIMIT ?",
        (expression, *table.collections, count),
    ).fetchall()
    for chunk_id, rank in rows:
        key = table.connection.execute(
            "SELECT text_sha256 FROM chunks WHERE id = ?", (chunk_id,)
        ).fetchone()[0]
        yield TextMatch(chunk_id, key, rank)


def _common_test(table: _Table) -> Common:
    """Return the test whether an expression matches more than a fifth of the passages searched.

    Of the wanted collections, not only of all: in an index of many languages `und` is rare as a
    whole.
    """
    limits: tuple[int, int] | None = None

    def is_common(expression: str) -> bool:
        nonlocal limits
        limits = limits or (_limit(table, only_wanted=False), _limit(table, only_wanted=True))
        everywhere, wanted = limits
        row = table.connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM {table.name} WHERE {table.name} MATCH ? LIMIT ?)",
            (expression, everywhere + 1),
        ).fetchone()
        count = int(row[0])
        if count > everywhere or wanted == everywhere:
            return count > everywhere
        return count > wanted and _count_wanted(table, expression, count) > wanted

    return is_common


def _limit(table: _Table, *, only_wanted: bool) -> int:
    """Return a fifth of the number of passages, of the wanted collections or of all."""
    marks = ",".join("?" * len(table.collections))
    members = f"SELECT file_id FROM collection_files WHERE collection_id IN ({marks})"
    where = f" WHERE file_id IN ({members})" if only_wanted else ""
    total = table.connection.execute(
        f"SELECT sum(n_chunks) FROM chunkings{where}", table.collections if only_wanted else ()
    ).fetchone()[0]
    return max(_COMMON_LEAST, (total or 0) // _COMMON_SHARE)


def _count_wanted(table: _Table, expression: str, count: int) -> int:
    """Return about how many of `count` matches stand in the wanted collections."""
    marks = ",".join("?" * len(table.collections))
    step = max(1, count // _SAMPLE)
    row = table.connection.execute(
        f"SELECT count(*) FROM {table.name} WHERE {table.name} MATCH ?"
        f" AND {table.name}.rowid % {step} = 0 AND EXISTS (SELECT 1 FROM chunks c"
        " JOIN collection_files cf ON cf.file_id = c.file_id"
        f" AND cf.collection_id IN ({marks}) WHERE c.id = {table.name}.rowid)",
        (expression, *table.collections),
    ).fetchone()
    return int(row[0]) * step
