r"""Rebuild the packaged sample texts (`models/texts/`) from their sources.

    python benchmarks/build_sample_texts.py --django django-5.2.19-py3-none-any.whl \
        --pack TRAINING_PACK --out models/texts

The wheel holds Django's message catalogues; the pack is the folder of parallel sentences and
retrieval pairs described in `models/texts/SOURCES.md`. Same inputs give the same bytes.
"""

import argparse
import ast
import gzip
import hashlib
import json
import random
import subprocess
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from special_texts import SPECIAL_TEXTS

TASKS = ("document", "query", "classification", "clustering")
# Catalogues that repeat another language, or are close to empty.
SKIPPED_LOCALES = {"en_AU", "en_GB", "es_AR", "es_CO", "es_MX", "es_VE", "ar_DZ", "io", "udm", "my"}
# No share-alike and no attribution-only source: these are CC0, PSF, BSD, MIT, ISC and Unicode.
SENTENCE_SOURCES = {
    "iot-for-beginners", "edgeai-for-beginners", "co-op-translator-docs", "python-docs",
    "django-docs", "winforms-xlf", "godot-l10n", "osm-id-presets", "cldr",
}  # fmt: skip
PASSAGE_SOURCES = {
    "iot-for-beginners", "edgeai-for-beginners", "co-op-translator-docs", "python-docs", "peps",
}  # fmt: skip
Row = tuple[str, str, str]  # language, task, text
COUNTS = {
    "calibration": {"message": 4, "sentence": 8, "passage": 3, "query": 2, "long": 1},
    "measurement": {"message": 12, "sentence": 25, "passage": 5, "query": 10, "long": 1},
}


def set_of(key: str) -> str:
    """Say which set a source item belongs to; all its translations go with it."""
    return "calibration" if hashlib.sha256(key.encode()).digest()[0] % 3 == 0 else "measurement"


def django_messages(wheel: Path) -> dict[str, list[tuple[str, str]]]:
    """Return (English, translation) pairs per locale."""
    messages: dict[str, list[tuple[str, str]]] = defaultdict(list)
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith(("django/conf/locale/", "django/contrib/")) and name.endswith(
                "LC_MESSAGES/django.po"
            ):
                locale = name.split("/locale/")[1].split("/")[0]
                if locale not in SKIPPED_LOCALES:
                    messages[locale] += parse_po(archive.read(name).decode("utf-8"))
    return messages


def parse_po(text: str) -> Iterator[tuple[str, str]]:
    """Give the singular, translated, non-fuzzy entries of a gettext catalogue."""
    for block in text.split("\n\n"):
        if "#, fuzzy" in block or "msgid_plural" in block:
            continue
        fields: dict[str, str] = {}
        current = ""
        for line in block.splitlines():
            if line.startswith(("msgid ", "msgstr ", "msgctxt ")):
                current, _, line = line.partition(" ")
                fields[current] = ""
            if line.startswith('"') and current:
                fields[current] += ast.literal_eval(line)
        if fields.get("msgid") and fields.get("msgstr"):
            yield fields["msgid"], fields["msgstr"]


def read_zst(path: Path) -> Iterator[str]:
    """Give the lines of a zstd file through the `zstd` command."""
    done = subprocess.run(["zstd", "-dc", "--long=27", path], check=True, capture_output=True)
    yield from done.stdout.decode("utf-8").splitlines()


def pack_sentences(pack: Path) -> dict[str, list[tuple[str, str]]]:
    """Return (id, sentence) per language."""
    english = {}
    sentences: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for line in read_zst(pack / "parallel" / "en.tsv.zst"):
        key, source, text = line.split("\t", 2)
        if source in SENTENCE_SOURCES and len(text) >= 12:
            english[key] = text
            sentences["en"].append((key, text))
    for path in sorted((pack / "parallel").glob("*.tsv.zst")):
        if path.name != "en.tsv.zst":
            for line in read_zst(path):
                key, text = line.split("\t", 1)
                if key in english:
                    sentences[path.name.split(".")[0]].append((key, text))
    return sentences


def pack_passages(pack: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Return (id, query, passage) per language."""
    passages: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for line in read_zst(pack / "retrieval.jsonl.zst"):
        row = json.loads(line)
        if row["src"] in PASSAGE_SOURCES:
            passages[row["lang"]].append((row["id"], row["query"], row["positive"]))
    return passages


def long_texts(passages: list[str], count: int) -> Iterator[str]:
    """Join passages until each text fills a window of 512 tokens."""
    bytes_per_character = len("".join(passages).encode()) / len("".join(passages))
    size = 800 if bytes_per_character > 2.4 else 1800  # dense scripts need fewer characters
    start = 0
    for _ in range(count):
        parts: list[str] = []
        while sum(map(len, parts)) < size and start < len(passages):
            parts.append(passages[start])
            start += 1
        yield "\n\n".join(parts)[: size + 200]


def build(name: str, django: Path, pack: Path) -> list[Row]:
    """Draw the rows of one set."""
    counts, rows = COUNTS[name], list[Row]()
    draw = random.Random(20240229)

    def task() -> str:
        return TASKS[len(rows) % 4]

    for locale, pairs in sorted(django_messages(django).items()):
        own = sorted({text for key, text in pairs if set_of(key) == name and len(text) >= 15})
        for text in draw.sample(own, min(len(own), counts["message"])):
            rows.append((locale.split("_")[0], task(), text))
    for language, sentences in sorted(pack_sentences(pack).items()):
        unique = sorted({text for key, text in sentences if set_of(key) == name})
        for text in draw.sample(unique, min(len(unique), counts["sentence"])):
            rows.append((language, task(), text))
    for language, pairs in sorted(pack_passages(pack).items()):
        mine = sorted({(query, passage) for key, query, passage in pairs if set_of(key) == name})
        chosen = draw.sample(mine, min(len(mine), 60))
        rows += [(language, "query", query) for query, _ in chosen[: counts["query"]]]
        rows += [(language, "document", p) for _, p in chosen[-counts["passage"] :]]
        body = [passage for _, passage in chosen[counts["query"] : -counts["passage"]]]
        rows += [(language, "document", text) for text in long_texts(body, counts["long"])]
    for number, (kind, text) in enumerate(SPECIAL_TEXTS):
        if (number % 2 == 0) == (name == "calibration"):
            rows.append((kind, TASKS[number // 2 % 4], text))
    seen: set[str] = set()
    return [row for row in rows if not (row[2] in seen or seen.add(row[2]))]  # type: ignore[func-returns-value]  # set.add as a statement


def language_sentences(django: Path) -> dict[str, list[str]]:
    """Return five sentences in each of the languages that have them all."""
    messages = {k: dict(v) for k, v in django_messages(django).items() if k.count("_") == 0}
    wanted = [
        "Enter a valid email address.",
        "This field is required.",
        "Enter a whole number.",
        "Select a valid choice. That choice is not one of the available choices.",
        "Please correct the duplicate values below.",
    ]
    return {
        language: [known[english] for english in wanted]
        for language, known in sorted(messages.items())
        if all(english in known for english in wanted)
    } | {"en": wanted}


def write(path: Path, lines: list[object]) -> None:
    """Write JSON lines, compressed if the name ends in .gz, without a time stamp."""
    data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data, 9, mtime=0) if path.suffix == ".gz" else data)


def main() -> None:
    """Parse the arguments and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--django", type=Path, required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    sets = {name: build(name, options.django, options.pack) for name in COUNTS}
    shared = {row[2] for row in sets["calibration"]}
    sets["measurement"] = [row for row in sets["measurement"] if row[2] not in shared]
    for name, rows in sets.items():
        write(options.out / f"{name}.jsonl.gz", list(rows))
        print(name, len(rows), "texts in", len({row[0] for row in rows}), "languages and kinds")
    sentences = language_sentences(options.django)
    write(options.out / "sentences.jsonl.gz", [[k, v] for k, v in sentences.items()])
    print("sentences in", len(sentences), "languages")


if __name__ == "__main__":
    main()
