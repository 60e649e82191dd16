"""Proof that no evaluation text is in the training text.

A text leaks when it shares with the evaluation text a whole normalised sentence, a run of eight
words, or, in scripts without spaces, a run of twenty characters.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from embedge.models.errors import CheckpointError

WORDS, CHARACTERS = 8, 20
SHORTEST = 12
"""Shorter sentences (one or two words: "Yes.") are not evidence of leakage."""

_UNSPACED = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_WORD = re.compile(r"\w+")


def normalised(text: str) -> str:
    """NFKC, lower case, words separated by one space, no punctuation."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).lower()))


def evaluation_texts(folder: Path) -> Iterator[str]:
    """Every text below an evaluation folder: tsv fields, `text` and `title` of jsonl rows."""
    for path in sorted(folder.rglob("*.tsv")):
        if path.name != "qrels.tsv":
            for line in path.read_text(encoding="utf-8").splitlines():
                yield from line.split("\t")
    for path in sorted(folder.rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield row["text"]


class EvaluationText:
    """Fingerprints of the evaluation text; holds hashes only."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._sentences: set[int] = set()
        self._runs: set[int] = set()
        for text in texts:
            plain = normalised(text)
            if len(plain) >= SHORTEST:
                self._sentences.add(hash(plain))
            self._runs.update(_runs(plain))

    def shares(self, text: str) -> bool:
        """Whether the text holds a sentence or a run of the evaluation text."""
        plain = normalised(text)
        if hash(plain) in self._sentences:
            return True
        return any(run in self._runs for run in _runs(plain))


def check_no_leakage(folder: Path, training: Iterable[str]) -> int:
    """Count the training texts, all of them clean.

    Raises:
        CheckpointError: a training text shares text with the evaluation folder, or the folder
            holds no text at all.
    """
    texts = list(evaluation_texts(folder))
    if not texts:
        raise CheckpointError(
            f"{folder} holds no evaluation text (*.tsv, *.jsonl) to check against"
        )
    evaluation = EvaluationText(texts)
    found, checked = [], 0
    for text in training:
        checked += 1
        if evaluation.shares(text):
            found.append(text)
    if found:
        shown = "; ".join(repr(text[:80]) for text in found[:5])
        raise CheckpointError(
            f"{len(found)} of {checked} training texts share text with {folder}: {shown}. "
            "Leave them out of the training text"
        )
    return checked


def _runs(plain: str) -> Iterator[int]:
    if _UNSPACED.search(plain):
        joined = plain.replace(" ", "")
        yield from (hash(joined[i : i + CHARACTERS]) for i in range(len(joined) - CHARACTERS + 1))
        return
    words = plain.split()
    yield from (hash(" ".join(words[i : i + WORDS])) for i in range(len(words) - WORDS + 1))
