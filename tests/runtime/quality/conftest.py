"""Tiny data sets in every layout, made of words that the tiny tokenizer knows."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

DOCUMENTS = {
    "d1": ("river", "the long river in the green night"),
    "d2": ("", "a small house for the computer memory"),
    "d3": ("language", "word number and vector model"),
    "d4": ("", "der die und ist nicht"),
}
QUERIES = {"q1": "long river", "q2": "computer house", "q3": "nobody judged this"}
QRELS = {"q1": {"d1": 1, "d4": 0}, "q2": {"d2": 2, "d3": 1}}


def write_beir(folder: Path, *, packed: bool = False) -> Path:
    folder.mkdir(parents=True)
    corpus = [{"_id": d, "title": t, "text": x} for d, (t, x) in DOCUMENTS.items()]
    queries = [{"_id": q, "text": x} for q, x in QUERIES.items()]
    for name, rows in (("corpus.jsonl", corpus), ("queries.jsonl", queries)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text, encoding="utf-8")
    lines = [f"{q}\t{d}\t{g}" for q, judged in QRELS.items() for d, g in judged.items()]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return folder


def write_miracl(parent: Path, language: str, *, corpus: str | None = None) -> Path:
    folder = parent / f"miracl-v1.0-{language}"
    for name in ("topics", "qrels"):
        (folder / name).mkdir(parents=True)
    stem = f"miracl-v1.0-{language}-dev.tsv"
    (folder / "topics" / f"topics.{stem}").write_text("1#0\tlong river\n2#0\tcomputer house\n")
    (folder / "qrels" / f"qrels.{stem}").write_text("1#0 Q0 d1 1\n1#0 Q0 d2 0\n2#0\tQ0\td2\t1\n")
    place = parent / (corpus or f"miracl-corpus-v1.0-{language}")
    place.mkdir(parents=True, exist_ok=True)
    for part, ids in enumerate((("d1", "d2"), ("d3", "d4"))):
        rows = [{"docid": d, "title": DOCUMENTS[d][0], "text": DOCUMENTS[d][1]} for d in ids]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (place / f"docs-{part}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def write_bitext(path: Path) -> Path:
    pairs = [("das Haus", "the house"), ("der Fluss", "the river"), ("die Nacht", "the night")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    return path


def write_sts(path: Path, *, rows: int = 6, word: str = "house") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{i}\timages\t{i % 6}.0\tthe {word} {i}\ta {word} of {i * 7}" for i in range(rows)]
    header = "row\tgenre\tscore\tsentence1\tsentence2"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def beir() -> Callable[..., Path]:
    """Write a BEIR folder: three queries (one without judgement), four documents."""
    return write_beir


@pytest.fixture
def miracl() -> Callable[..., Path]:
    """Write a MIRACL folder and its corpus in two compressed parts."""
    return write_miracl


@pytest.fixture
def bitext() -> Callable[..., Path]:
    return write_bitext


@pytest.fixture
def sts() -> Callable[..., Path]:
    return write_sts


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One folder with every kind of task, in two languages where that means something."""
    root = tmp_path / "pack"
    for language in ("en", "de"):
        write_beir(root / "retrieval" / "parallel" / language)
        write_sts(root / "sts" / "stsb" / f"{language}.test.tsv", word=language)
    write_beir(root / "retrieval" / "science", packed=True)
    write_miracl(root / "retrieval" / "miracl", "sw")
    write_bitext(root / "bitext" / "de-en.tsv")
    return root
