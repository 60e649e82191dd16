"""Packaged multilingual texts: for calibration, for measurement (disjoint) and for parity checks.

Sources and licences are in `texts/SOURCES.md`. Nothing is read before a function is called.
"""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import cast

from embedge.models.space import Task

# Rows that stand for a kind of text carry its name where others carry their language.
TEXT_KINDS: frozenset[str] = frozenset(
    {"code", "url", "number", "emoji", "word", "space", "repeat", "mixed"}
)


@dataclass(frozen=True)
class SampleText:
    """One text without prefix.

    Attributes:
        language: ISO 639 code, or one of `TEXT_KINDS`.
        task: whose prefix the text takes.
    """

    language: str
    task: Task
    text: str


def calibration_texts() -> list[SampleText]:
    """Return the texts that decide activation ranges: 36,000 XLM-R tokens in 86 languages."""
    return _read("calibration")


def measurement_texts() -> list[SampleText]:
    """Return the texts that bundles are measured on; none of them is a calibration text."""
    return _read("measurement")


def language_sentences() -> Mapping[str, tuple[str, ...]]:
    """Return five sentences per language, the same five in all 72 languages."""
    return {
        cast("str", language): tuple(cast("list[str]", sentences))
        for language, sentences in _lines("sentences")
    }


def _read(name: str) -> list[SampleText]:
    return [SampleText(*cast("tuple[str, Task, str]", row)) for row in _lines(name)]


def _lines(name: str) -> list[list[object]]:
    data = files("embedge.models").joinpath("texts", f"{name}.jsonl.gz").read_bytes()
    return [json.loads(line) for line in gzip.decompress(data).decode("utf-8").splitlines()]
