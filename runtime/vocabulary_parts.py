"""The parts of a large Unigram `tokenizer.json`, and a form of them that loads in milliseconds.

Decoding the JSON of 250k pieces takes a third of a second at every start. What is decoded once is
kept in the cache folder under the SHA-256 of the file that it comes from.
"""

import hashlib
import json
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from embedge.models.bundle import write_atomically

# Below this the whole vocabulary costs less than looking words up.
SMALL = 20_000

_MAGIC = b"embedge vocabulary 1\n"


@dataclass(frozen=True)
class VocabularyParts:
    """A decoded tokenizer.

    Attributes:
        outline: the file without its pieces.
        pieces: by id.
        scores: by id.
        longest: code points of the longest piece.
        lowest: id of the piece with the lowest score.
    """

    outline: dict[str, object]
    pieces: list[str]
    scores: Sequence[float]
    longest: int
    lowest: int


def is_partial_possible(raw: dict[str, object]) -> bool:
    """Say whether a decoded `tokenizer.json` is a large Unigram whose parts stand alone."""
    model = cast("dict[str, object]", raw.get("model") or {})
    vocabulary = cast("list[tuple[str, float]]", model.get("vocab") or [])
    if model.get("type") != "Unigram" or len(vocabulary) < SMALL:
        return False
    if model.get("byte_fallback") or model.get("unk_id") is None:
        return False
    added = cast("list[dict[str, object]]", raw.get("added_tokens") or [])
    # Every piece once, every added token among them under its own number.
    return len({piece for piece, _ in vocabulary}) == len(vocabulary) and all(
        cast(int, token["id"]) < len(vocabulary)
        and vocabulary[cast(int, token["id"])][0] == token["content"]
        for token in added
    )


def split_parts(raw: dict[str, object]) -> VocabularyParts:
    """Take a decoded file for which `is_partial_possible` holds apart."""
    model = cast("dict[str, object]", raw["model"])
    vocabulary = cast("list[tuple[str, float]]", model["vocab"])
    pieces = [piece for piece, _ in vocabulary]
    scores = array("d", (score for _, score in vocabulary))
    return VocabularyParts(
        outline=raw | {"model": model | {"vocab": []}},
        pieces=pieces,
        scores=scores,
        longest=max(map(len, pieces)),
        lowest=min(range(len(scores)), key=scores.__getitem__),
    )


def write_parts(path: Path, parts: VocabularyParts) -> None:
    """Keep the parts; a cache that cannot be written only costs decoding again."""
    text = "\n".join(parts.pieces)
    if text.count("\n") != len(parts.pieces) - 1:
        return  # a piece with a line break cannot be kept in this form
    scores = array("d", parts.scores)
    if sys.byteorder == "big":
        scores.byteswap()
    head = {
        "outline": parts.outline,
        "count": len(parts.pieces),
        "longest": parts.longest,
        "lowest": parts.lowest,
    }
    # JSON in ASCII holds no line break of its own.
    body = json.dumps(head).encode() + b"\n" + scores.tobytes() + text.encode("utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _MAGIC + hashlib.sha256(body).digest() + body)
    except OSError:
        return


def read_parts(path: Path) -> VocabularyParts | None:
    """Return what `write_parts` kept, None if there is nothing whole."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + 32
    body = memoryview(data)[start:]
    if data[:start] != _MAGIC + hashlib.sha256(body).digest():
        return None
    end = data.index(b"\n", start)
    head = json.loads(data[start:end])
    middle = end + 1 + 8 * int(head["count"])
    scores = array("d", data[end + 1 : middle])
    if sys.byteorder == "big":
        scores.byteswap()
    pieces = str(data[middle:], "utf-8").split("\n")
    return VocabularyParts(head["outline"], pieces, scores, head["longest"], head["lowest"])
