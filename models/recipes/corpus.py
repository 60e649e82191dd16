"""The training text as the training loop reads it: each text once, and what belongs together.

`prepare` writes it to the working folder, so that training needs neither the pack nor the wheels
nor the evaluation text.
"""

import json
import lzma
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedge.models.durable import write_atomically
from embedge.models.recipes.training_text import Graded, Pair, Passage

Int32 = npt.NDArray[np.int32]

_SENTENCE_END = re.compile(r"(?<=[.!?\u061f\u0964])\s+|(?<=[\u3002\uff01\uff1f])")
SHORTEST_SENTENCE, LONGEST_SENTENCE = 20, 250
"""Characters; those from Thai on, Chinese, Japanese and Korean among them, count double."""
_DENSE = 0xE00
SENTENCES_PER_PASSAGE = 3
_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**27}]


@dataclass(frozen=True)
class Corpus:
    """Texts and rows of indices.

    `pairs` (n, 4): text, English text, language, source.
    `passages` (n, 5): text, query, key, language, source; neighbours of a document are neighbours
    here, and a key is the same in every language.
    `sentences` (n, 2): a sentence's text and the row of the passage that it stands in.
    `words` (n, 2): the text of a word that the student has no piece for, and its script.
    `graded` (n, 4): text, text, language, 1000 times their similarity; for validation only.
    """

    texts: list[str]
    languages: list[str]
    sources: list[str]
    scripts: list[str]
    pairs: Int32
    passages: Int32
    sentences: Int32
    words: Int32
    graded: Int32

    def english(self) -> npt.NDArray[np.bool_]:
        """Whether each text is English, as the translation of some pair."""
        flags = np.zeros(len(self.texts), np.bool_)
        flags[self.pairs[:, 1]] = True
        return flags


class _Numbers:
    """Things numbered in the order of their first appearance."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}

    def of(self, name: str) -> int:
        return self.names.setdefault(name, len(self.names))


def build_corpus(
    pairs: Sequence[Pair],
    passages: Sequence[Passage],
    words: Sequence[tuple[str, str]] = (),
    graded: Sequence[Graded] = (),
) -> Corpus:
    """Number texts, languages, sources, keys and scripts; `words` come with their script."""
    texts, languages, sources, keys = _Numbers(), _Numbers(), _Numbers(), _Numbers()
    scripts = _Numbers()
    pair_rows = [
        (texts.of(p.text), texts.of(p.english), languages.of(p.language), sources.of(p.source))
        for p in pairs
    ]
    passage_rows, sentence_rows = [], []
    for row, p in enumerate(passages):
        numbers = (keys.of(p.key), languages.of(p.language), sources.of(p.source))
        passage_rows.append((texts.of(p.text), texts.of(p.query), *numbers))
        sentence_rows += [(texts.of(sentence), row) for sentence in sentences_of(p.text)]
    word_rows = [(texts.of(word), scripts.of(script)) for word, script in words]
    graded_rows = [
        (texts.of(g.text), texts.of(g.other), languages.of(g.language), round(1000 * g.similarity))
        for g in graded
    ]
    return Corpus(
        list(texts.names),
        list(languages.names),
        list(sources.names),
        list(scripts.names),
        np.array(pair_rows, np.int32).reshape(-1, 4),
        np.array(passage_rows, np.int32).reshape(-1, 5),
        np.array(sentence_rows, np.int32).reshape(-1, 2),
        np.array(word_rows, np.int32).reshape(-1, 2),
        np.array(graded_rows, np.int32).reshape(-1, 4),
    )


def sentences_of(text: str) -> list[str]:
    """Up to three sentences of a passage that can stand for a query, evenly spread."""
    found = []
    for sentence in _SENTENCE_END.split(text):
        plain = sentence.strip()
        width = sum(2 if ord(c) >= _DENSE else 1 for c in plain)
        if SHORTEST_SENTENCE <= width <= LONGEST_SENTENCE and plain != text:
            found.append(plain)
    if len(found) <= SENTENCES_PER_PASSAGE:
        return found
    step = len(found) / SENTENCES_PER_PASSAGE
    return [found[int((i + 0.5) * step)] for i in range(SENTENCES_PER_PASSAGE)]


def write_corpus(corpus: Corpus, folder: Path) -> None:
    """Write `texts.xz`, `corpus.npz` and `names.json`."""
    raw = "\n".join(corpus.texts).encode()
    if raw.count(b"\n") != max(0, len(corpus.texts) - 1):
        raise ValueError("a training text holds a line break")
    write_atomically(folder / "texts.xz", lzma.compress(raw, filters=_LZMA))
    names = {
        "languages": corpus.languages,
        "sources": corpus.sources,
        "scripts": corpus.scripts,
    }
    write_atomically(folder / "names.json", json.dumps(names).encode())
    np.savez_compressed(
        folder / "corpus.npz",
        pairs=corpus.pairs,
        passages=corpus.passages,
        sentences=corpus.sentences,
        words=corpus.words,
        graded=corpus.graded,
    )


def read_corpus(folder: Path) -> Corpus:
    """What `write_corpus` wrote."""
    raw = lzma.decompress((folder / "texts.xz").read_bytes())
    names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
    with np.load(folder / "corpus.npz") as rows:
        return Corpus(
            raw.decode().split("\n"),
            names["languages"],
            names["sources"],
            names["scripts"],
            rows["pairs"],
            rows["passages"],
            rows["sentences"],
            rows["words"],
            rows["graded"],
        )
