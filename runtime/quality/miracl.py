"""The MIRACL layout: topics/*.tsv, qrels/*.tsv in TREC form, and a corpus beside them.

```text
miracl-v1.0-ar/topics/topics.miracl-v1.0-ar-dev.tsv     query id TAB query
miracl-v1.0-ar/qrels/qrels.miracl-v1.0-ar-dev.tsv       query id, Q0, document id, relevance
miracl-corpus-v1.0-ar/docs-0.jsonl.gz ...               {"docid", "title", "text"}
```
The corpus may also lie in the task's folder, or in `corpus` below it.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from embedge.models.errors import InputError
from embedge.runtime.quality.beir import numbered, open_text, parse_relevance, read_documents
from embedge.runtime.quality.retrieval import RetrievalTask

_SPLITS = ("dev", "train")  # the test splits have no public judgements
_LANGUAGE = re.compile(r"miracl[^/]*?-([a-z]{2,3})(?:-|$)")


def is_miracl(folder: Path) -> bool:
    """Say whether a folder holds topics and judgements."""
    return (folder / "topics").is_dir() and (folder / "qrels").is_dir()


def is_miracl_corpus(folder: Path) -> bool:
    """Say whether a folder is the corpus of a task beside it."""
    return folder.name.startswith("miracl-corpus")


def miracl_task(folder: Path, name: str, group: str) -> RetrievalTask:
    """Return the task of a folder that `is_miracl` accepts, on `dev` where there is one.

    Raises:
        InputError: topics and judgements of one split, or the corpus, are missing.
    """
    topics, qrels = _one_split(folder)
    found = _LANGUAGE.search(folder.name) or _LANGUAGE.search(topics.name)
    language = found[1] if found else folder.name
    return RetrievalTask(
        name, group, (language,),
        queries=partial(_read_topics, topics),
        corpus=partial(_read_corpus, _corpus_files(folder, language)),
        qrels=partial(_read_qrels, qrels),
    )  # fmt: skip


def _one_split(folder: Path) -> tuple[Path, Path]:
    for split in _SPLITS:
        topics = sorted((folder / "topics").glob(f"topics.*-{split}.tsv"))
        qrels = sorted((folder / "qrels").glob(f"qrels.*-{split}.tsv"))
        if topics and qrels:
            return topics[0], qrels[0]
    raise InputError(
        f"{folder} holds no pair of topics/topics.*-dev.tsv and qrels/qrels.*-dev.tsv (or train)",
        "not_found",
    )


def _corpus_files(folder: Path, language: str) -> list[Path]:
    places = [folder, folder / "corpus"]
    places += sorted(folder.parent.glob(f"miracl-corpus*-{language}"))
    for place in places:
        files = sorted([*place.glob("*.jsonl"), *place.glob("*.jsonl.gz")], key=_natural)
        if files:
            return files
    raise InputError(
        f"{folder} has no corpus; put docs-*.jsonl.gz into {folder / 'corpus'} or into "
        f"miracl-corpus-v1.0-{language} beside it",
        "not_found",
    )


def _natural(path: Path) -> tuple[int, str]:
    number = re.search(r"(\d+)\.jsonl", path.name)
    return (int(number[1]) if number else -1, path.name)


def _read_corpus(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    for path in files:
        yield from read_documents(path, "docid")


def _read_topics(path: Path) -> dict[str, str]:
    topics = {}
    with open_text(path) as file:
        for line, where in numbered(file, path):
            query, tab, text = line.partition("\t")
            if not tab:
                raise InputError(f"{where} has no tab between query id and query", "bad_row")
            topics[query] = text
    return topics


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    with open_text(path) as file:
        for line, where in numbered(file, path):
            fields = line.split()
            if len(fields) != 4:
                raise InputError(
                    f"{where} has {len(fields)} columns, expected query, Q0, document, relevance",
                    "bad_row",
                )
            query, _, document, relevance = fields
            qrels.setdefault(query, {})[document] = parse_relevance(relevance, where)
    return qrels
