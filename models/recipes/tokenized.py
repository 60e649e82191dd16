"""The corpus as token ids of student and teachers, kept in the working folder."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedge.models.recipes.corpus import Corpus
from embedge.models.recipes.packing import (
    FlatTokens,
    Int64,
    PieceSplits,
    flat_tokens,
    open_tokenizer,
    piece_splits,
)
from embedge.models.recipes.teachers import TEACHER_PREFIX
from embedge.models.recipes.vocabulary import SPECIALS, read_vocabulary


@dataclass(frozen=True)
class Tokenized:
    """Tokens of all texts; `english` are those of the English sides alone, in order.

    Prefixes map to their token ids; `splits` says how the student's pieces are cut; `characters`
    of every piece of student and teacher, 0 for special pieces.
    """

    student: FlatTokens
    teacher: FlatTokens
    english: FlatTokens | None
    student_prefixes: Mapping[str, list[int]]
    teacher_prefixes: Mapping[str, list[int]]
    splits: PieceSplits
    characters: tuple[Int64, Int64]


def tokenize(
    corpus: Corpus, folder: Path, student: Path, teacher: Path, english: Path | None
) -> Tokenized:
    """Tokens of the corpus, read from `folder` or made and written there.

    Args:
        corpus: the texts.
        folder: where they are kept.
        student: `tokenizer.json` of the student.
        teacher: of the teacher.
        english: of the similarity teacher, None where it has no part.
    """
    vocabularies = [read_vocabulary(path) for path in (student, teacher)]
    some = [t for t, is_english in zip(corpus.texts, corpus.english(), strict=True) if is_english]
    return Tokenized(
        _tokens(student, corpus.texts, folder / "student_tokens.npz"),
        _tokens(teacher, corpus.texts, folder / "teacher_tokens.npz"),
        None if english is None else _tokens(english, some, folder / "english_tokens.npz"),
        prefix_tokens(student, list(TEACHER_PREFIX)),
        prefix_tokens(teacher, sorted(set(TEACHER_PREFIX.values()))),
        piece_splits(*vocabularies[0], SPECIALS),
        (_characters(vocabularies[0][0]), _characters(vocabularies[1][0])),
    )


def prefix_tokens(tokenizer: Path, prefixes: list[str]) -> dict[str, list[int]]:
    """Token ids of each prefix without special tokens."""
    opened = open_tokenizer(tokenizer)
    return {p: opened.encode(p, add_special_tokens=False).ids for p in prefixes}


def _characters(pieces: Sequence[str]) -> Int64:
    return np.array([len(p) if i >= SPECIALS else 0 for i, p in enumerate(pieces)], np.int64)


def _tokens(tokenizer: Path, texts: list[str], kept: Path) -> FlatTokens:
    if kept.exists():
        with np.load(kept) as saved:
            begin, end = saved["special"].tolist()
            return FlatTokens(saved["ids"], saved["offsets"], begin, end)
    tokens = flat_tokens(tokenizer, texts, workers=len(os.sched_getaffinity(0)))
    special = np.array([tokens.begin, tokens.end])
    np.savez(kept, ids=tokens.ids, offsets=tokens.offsets, special=special)
    return tokens
