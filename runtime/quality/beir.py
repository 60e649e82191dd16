"""The BEIR layout: corpus.jsonl, queries.jsonl, qrels.tsv (or qrels/test.tsv)."""

import gzip
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

from embedge.models.errors import InputError
from embedge.runtime.quality.retrieval import RetrievalTask

# The published layout has judgements per split; scores are made on `test`, else on `dev`.
_FILES = (
    ("corpus.jsonl",),
    ("queries.jsonl",),
    ("qrels.tsv", "qrels/test.tsv", "qrels/dev.tsv"),
)


def beir_task(folder: Path, name: str, group: str, languages: tuple[str, ...]) -> RetrievalTask:
    """Return the task of a folder that `is_beir` accepts; nothing is read yet."""
    corpus, queries, qrels = (_find(folder, *names) for names in _FILES)
    assert corpus is not None
    assert queries is not None
    assert qrels is not None
    return RetrievalTask(
        name, group, languages,
        queries=partial(_read_queries, queries),
        corpus=partial(read_documents, corpus, "_id"),
        qrels=partial(_read_qrels, qrels),
    )  # fmt: skip


def is_beir(folder: Path) -> bool:
    """Say whether a folder holds a corpus, queries and judgements."""
    return all(_find(folder, *names) for names in _FILES)


def read_documents(path: Path, id_field: str) -> Iterator[tuple[str, str]]:
    """Yield (id, title and text, joined by a space as BEIR does) of a JSON Lines file.

    Raises:
        InputError: a line is no JSON object with these fields.
    """
    for row, where in json_rows(path):
        title, text = row.get("title") or "", row.get("text")
        if id_field not in row or not isinstance(text, str) or not isinstance(title, str):
            raise InputError(f"{where} has no string fields {id_field!r} and 'text'", "bad_row")
        yield str(row[id_field]), f"{title} {text}".strip()


def json_rows(path: Path) -> Iterator[tuple[dict[str, object], str]]:
    """Yield the objects of a JSON Lines file, plain or gzip, each with its place for messages.

    Raises:
        InputError: the file cannot be read, or a line is no JSON object.
    """
    with open_text(path) as file:
        for line, where in numbered(file, path):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{where} is not JSON: {error}", "bad_row") from error
            if not isinstance(row, dict):
                raise InputError(f"{where} is no JSON object", "bad_row")
            yield row, where


def numbered(file: TextIO, path: Path) -> Iterator[tuple[str, str]]:
    r"""Yield lines without their end, each with `path, line n`; empty lines are left out.

    Raises:
        InputError: the bytes are no UTF-8, or the compressed file is damaged.
    """
    number = 0
    try:
        for number, line in enumerate(file, 1):
            if stripped := line.rstrip("\r\n"):
                yield stripped, f"{path}, line {number}"
    except UnicodeDecodeError as error:
        message = f"{path} is no UTF-8 after line {number}: {error.reason}"
        raise InputError(message, "encoding") from error
    except (EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is damaged after line {number}: {error}") from error


def open_text(path: Path) -> TextIO:
    r"""Open UTF-8 text, plain or gzip. Lines end with \n only, as in JSON Lines.

    Raises:
        InputError: it cannot be opened.
    """
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rt", encoding="utf-8-sig", newline="\n")
        return path.open(encoding="utf-8-sig", newline="\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "permission") from error


def parse_relevance(text: str, where: str) -> int:
    """Read a relevance; some data sets write whole numbers as 1.0.

    Raises:
        InputError: it is no whole number.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.5
    if value != int(value):
        raise InputError(f"{where} has relevance {text!r}, which is no whole number", "bad_row")
    return int(value)


def _find(folder: Path, *names: str) -> Path | None:
    candidates = (folder / f"{name}{end}" for name in names for end in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _read_queries(path: Path) -> dict[str, str]:
    return dict(read_documents(path, "_id"))


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    with open_text(path) as file:
        for line, where in numbered(file, path):
            fields = line.split("\t")
            if len(fields) != 3:
                raise InputError(
                    f"{where} has {len(fields)} columns, expected query, document, score", "bad_row"
                )
            if fields[2].strip().lower() in ("score", "relevance"):
                continue  # the header
            query, document, relevance = fields
            qrels.setdefault(query, {})[document] = parse_relevance(relevance, where)
    return qrels
