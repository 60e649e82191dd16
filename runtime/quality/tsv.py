"""Tab-separated pairs: bitext (two columns, no header) and STS (named columns)."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from embedge.models.errors import InputError
from embedge.runtime.quality.beir import numbered, open_text
from embedge.runtime.quality.pairs import BitextTask, ScoredPair, StsTask

_STS_COLUMNS = ("score", "sentence1", "sentence2")
_SPLIT = re.compile(r"(?P<stem>.+)\.(?P<split>train|dev|validation|test)")
_LANGUAGES = re.compile(r"([A-Za-z]{2,8})-([A-Za-z]{2,8})")


def tsv_task(path: Path, name: str, parent: str) -> BitextTask | StsTask | None:
    """Return the task of a TSV file by its first line, or None if it is neither bitext nor STS.

    Args:
        path: `de-en.tsv`, or `de.test.tsv` for STS; the languages come from the name.
        name: name of the task, without the suffix.
        parent: group of the files in this folder.
    """
    columns = _first_line(path)
    if set(_STS_COLUMNS) <= set(columns):
        parts = _SPLIT.fullmatch(path.stem)
        split = parts["split"] if parts else ""
        language = parts["stem"] if parts else path.stem
        group = f"{parent}.{split}" if split else parent
        return StsTask(name, group, (language,), split, partial(_read_sts, path))
    if len(columns) == 2:
        found = _LANGUAGES.fullmatch(path.stem)
        languages = (found[1], found[2]) if found else (path.stem,)
        return BitextTask(name, parent, languages, partial(_read_bitext, path))
    return None


def _first_line(path: Path) -> list[str]:
    with open_text(path) as file:
        return next((line.split("\t") for line, _ in numbered(file, path)), [])


def _read_bitext(path: Path) -> list[tuple[str, str]]:
    with open_text(path) as file:
        rows = [_columns(line, where, 2) for line, where in numbered(file, path)]
    return [(row[0], row[1]) for row in rows]


def _read_sts(path: Path) -> dict[str, ScoredPair]:
    pairs: dict[str, ScoredPair] = {}
    header: list[str] | None = None
    with open_text(path) as file:
        for number, (line, where) in enumerate(numbered(file, path)):
            if header is None:
                header = line.split("\t")
                continue
            row = dict(zip(header, _columns(line, where, len(header)), strict=True))
            key = row.get("row", str(number))
            if key in pairs:
                raise InputError(f"{where} repeats row {key!r}", "bad_row")
            pairs[key] = ScoredPair(_score(row["score"], where), row["sentence1"], row["sentence2"])
    if not pairs:
        raise InputError(f"{path} has a header but no rows", "empty")
    return pairs


def _columns(line: str, where: str, expected: int) -> Sequence[str]:
    columns = line.split("\t")
    if len(columns) != expected:
        raise InputError(f"{where} has {len(columns)} columns, expected {expected}", "bad_row")
    return columns


def _score(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where} has score {text!r}, which is no number", "bad_row") from None
