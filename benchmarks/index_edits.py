r"""How many passages of a long file change when one line of it is edited.

    python benchmarks/index_edits.py --data texts/ --edits 40

Joins the `.md`, `.rst` and `.txt` files below `--data` (without it the Python library's `.py`)
to one text of about `--pages` pages of 2,400 characters, then inserts, deletes or changes one line
at a random place, each time starting from the original, and counts the passages that an index would
have to embed.
"""

import argparse
import json
import random
import statistics
import sysconfig
import time
from pathlib import Path

from machine import describe

from embedge import Embedder
from embedge.runtime.index.reading import text_sha256

PAGE = 2_400


def long_text(folder: Path | None, pages: int) -> str:
    """Join files until there is enough."""
    source = folder or Path(sysconfig.get_paths()["stdlib"])
    suffixes = {".py"} if folder is None else {".md", ".rst", ".txt"}
    text = ""
    for path in sorted(source.rglob("*")):
        if path.suffix in suffixes and path.is_file():
            text += path.read_text("utf-8", "replace") + "\n\n"
        if len(text) >= pages * PAGE:
            break
    return text[: pages * PAGE]


def edited(lines: list[str], rng: random.Random) -> str:
    """Insert, delete or change one line."""
    place = rng.choice([number for number, line in enumerate(lines) if line.strip()])
    kind = rng.choice(("insert", "delete", "change"))
    if kind == "insert":
        return "\n".join([*lines[:place], "One more line, which was not here.", *lines[place:]])
    if kind == "delete":
        return "\n".join(lines[:place] + lines[place + 1 :])
    words = lines[place].split(" ")
    words[rng.randrange(len(words))] = "replaced"
    return "\n".join([*lines[:place], " ".join(words), *lines[place + 1 :]])


def main() -> None:
    """Print counts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--edits", type=int, default=40)
    parser.add_argument("--kind", default="markdown")
    arguments = parser.parse_args()
    rng = random.Random(1)
    text = long_text(arguments.data, arguments.pages)
    if not text.strip():
        parser.error(f"{arguments.data} holds no .md, .rst or .txt file with text")
    lines = text.splitlines()
    with Embedder(threads=1) as embedder:

        def keys(text: str) -> set[bytes]:
            chunks = embedder.chunk(text, kind=arguments.kind)
            return {text_sha256(chunk.text) for chunk in chunks}

        begun = time.perf_counter()
        before = keys("\n".join(lines))
        seconds = time.perf_counter() - begun
        counts = [len(keys(edited(lines, rng)) - before) for _ in range(arguments.edits)]
    report = {
        "machine": describe(),
        "pages": arguments.pages,
        "passages": len(before),
        "seconds_to_cut": round(seconds, 2),
        "edits": len(counts),
        "mean": round(statistics.mean(counts), 2),
        "most": max(counts),
        "counts": {count: counts.count(count) for count in sorted(set(counts))},
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
