"""The training text: translation pairs, query-passage pairs, catalogue strings.

Each text keeps its source, so that licences are counted and share-alike sources left out.
"""

import ast
import io
import json
import random
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from embedge.models.errors import CheckpointError

T = TypeVar("T")

_CATALOGUE = re.compile(r"/locales?/(?P<locale>[A-Za-z_@]+)/LC_MESSAGES/[^/]*\.po$")
_STRINGS = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
_ENTRY = re.compile(rf"^msgid {_STRINGS}^msgstr {_STRINGS}", re.MULTILINE)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w*\}|<[^>]{0,80}>|&\w+;|\\n|:\w+:`|`+|[*_]{2}")


@dataclass(frozen=True)
class Pair:
    """A sentence and its English translation."""

    language: str
    source: str
    text: str
    english: str


@dataclass(frozen=True)
class Passage:
    """A query and the passage that answers it; `key` is the same in every language."""

    language: str
    source: str
    key: str
    query: str
    text: str


@dataclass(frozen=True)
class Graded:
    """Two texts of one language and how alike people found them, 0 to 5."""

    language: str
    text: str
    other: str
    similarity: float


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a zstd file without their newline."""
    import zstandard  # only the training extra has it

    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(file)
        for line in io.TextIOWrapper(stream, encoding="utf-8", newline="\n"):
            yield line.rstrip("\n")


def read_pairs(pack: Path, left_out: Sequence[str] = ()) -> list[Pair]:
    """Translation pairs of every language of the pack, without the sources `left_out`.

    Raises:
        CheckpointError: the folder has no parallel text.
    """
    english = pack / "parallel" / "en.tsv.zst"
    if not english.exists():
        raise CheckpointError(f"{english} does not exist; name the training pack with --pack")
    sentences: dict[str, tuple[str, str]] = {}
    for line in read_lines(english):
        key, source, text = line.split("\t", 2)
        if source not in left_out:
            sentences[key] = (source, text)
    pairs = []
    for path in sorted((pack / "parallel").glob("*.tsv.zst")):
        language = path.name.split(".")[0]
        if language == "en":
            continue
        for line in read_lines(path):
            key, text = line.split("\t", 1)
            source, translated = sentences.get(key, ("", ""))
            if source and text != translated:
                pairs.append(Pair(language, source, text, translated))
    return pairs


def read_passages(pack: Path) -> list[Passage]:
    """Query-passage pairs, in the pack's order: sections of one document are neighbours."""
    passages = []
    for line in read_lines(pack / "retrieval.jsonl.zst"):
        row = json.loads(line)
        title = row.get("title")
        text = f"{title} {row['positive']}" if title else row["positive"]
        passages.append(Passage(row["lang"], row["src"], row["id"], row["query"], text))
    return passages


def read_graded(pack: Path) -> list[Graded]:
    """Graded pairs, in the pack's order; share-alike, so they only validate."""
    path = pack / "sts.tsv.zst"
    if not path.exists():
        return []
    rows = [line.split("\t") for line in read_lines(path)][1:]
    return [Graded(row[0], row[4], row[5], float(row[3])) for row in rows]


def read_catalogues(wheels: Sequence[Path]) -> list[Pair]:
    """Messages and their translations from the gettext catalogues inside wheels.

    Placeholders and markup are taken out; what is left must hold letters. One pair per
    (language, translation).
    """
    found: dict[tuple[str, str], Pair] = {}
    for wheel in filter(zipfile.is_zipfile, wheels):
        source = wheel.name.split("-")[0].lower()
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(archive.namelist()):
                match = _CATALOGUE.search(name)
                if match is None or match["locale"].startswith("en"):
                    continue
                language = match["locale"].partition("_")[0].partition("@")[0]
                for english, text in _messages(archive.read(name).decode("utf-8")):
                    found.setdefault((language, text), Pair(language, source, text, english))
    return list(found.values())


def _messages(catalogue: str) -> Iterator[tuple[str, str]]:
    for entry in _ENTRY.finditer(catalogue):
        head = catalogue[: entry.start()].rsplit("\n\n", 1)[-1]
        if "fuzzy" in head:
            continue
        english, text = (_plain(part) for part in entry.groups())
        if sum(map(str.isalpha, text)) > 2 and text != english and len(english) > 2:
            yield english, text


def _plain(quoted: str) -> str:
    joined = "".join(str(ast.literal_eval(part)) for part in _QUOTED.findall(quoted))
    return " ".join(_PLACEHOLDER.sub(" ", joined).split())


def sample(items: Iterable[T], size: int, seed: int) -> list[T]:
    """At most `size` items, the same for the same seed."""
    pool = list(items)
    return pool if len(pool) <= size else random.Random(seed).sample(pool, size)
