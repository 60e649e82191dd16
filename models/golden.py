"""What others published about the real model's outputs: the facts behind gates G1 to G5.

The values come from executed notebooks, test snapshots and the model card; the data file names
the public source of each. Whoever has the weights can check an installation with them.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FILE = "nomic-embed-text-v2-moe.json"


@dataclass(frozen=True)
class TokenizerCase:
    """A text and its token ids, without special tokens."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class PublishedSimilarity:
    """Cosine of two texts that carry their prefixes (gate G4)."""

    first: str
    second: str
    cosine: float
    tolerance: float


@dataclass(frozen=True)
class PublishedHiddenStates:
    """Printed corners of the last hidden states of one padded batch (gate G2).

    Attributes:
        texts: the inputs, prefixes included.
        input_ids: int64 (texts, tokens), right-padded with id 1.
        attention_mask: int64 (texts, tokens).
        rows: which token positions were printed.
        columns: which features were printed.
        values: float64 (texts, rows, columns), four decimals; rows of padding mean nothing.
    """

    texts: tuple[str, ...]
    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class PublishedRouting:
    """Experts and their weights at one layer, for the batch of the hidden states (gate G3).

    `expert` is int64 and `gate_weight` float64, both (texts, tokens, 2), best expert first;
    weights have two decimals.
    """

    layer: int
    expert: NDArray[np.int64]
    gate_weight: NDArray[np.float64]


@dataclass(frozen=True)
class PublishedVector:
    """Mean-pooled float32 (768,) of a text without prefix, not normalised, from tanh GELU (G5)."""

    text: str
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Golden:
    """All published facts about one revision of the real model."""

    model: str
    weights_revision: str
    code_revision: str
    similarity: PublishedSimilarity
    hidden_states: PublishedHiddenStates
    routing: PublishedRouting
    vectors: tuple[PublishedVector, ...]
    tokenizer_cases: tuple[TokenizerCase, ...]


@cache
def read_golden() -> Golden:
    """Read the facts that ship in the package."""
    raw = json.loads((files("embedge.models") / "golden" / _FILE).read_text(encoding="utf-8"))
    pair, routing = raw["similarity"], raw["routing"]
    return Golden(
        model=raw["model"],
        weights_revision=raw["weights_revision"],
        code_revision=raw["code_revision"],
        similarity=PublishedSimilarity(
            pair["first"], pair["second"], pair["cosine"], pair["tolerance"]
        ),
        hidden_states=_hidden_states(raw["hidden_states"]),
        routing=PublishedRouting(
            routing["layer"],
            np.stack([routing["first"], routing["second"]], axis=-1),
            np.stack([routing["first_weight"], routing["second_weight"]], axis=-1),
        ),
        vectors=tuple(_vector(item) for item in raw["vectors"]["items"]),
        tokenizer_cases=tuple(
            TokenizerCase(case["text"], tuple(case["ids"])) for case in raw["tokenizer"]["cases"]
        ),
    )


def _hidden_states(raw: Mapping[str, Any]) -> PublishedHiddenStates:
    return PublishedHiddenStates(
        texts=tuple(raw["texts"]),
        input_ids=np.array(raw["input_ids"], dtype=np.int64),
        attention_mask=np.array(raw["attention_mask"], dtype=np.int64),
        rows=tuple(raw["rows"]),
        columns=tuple(raw["columns"]),
        values=np.array(raw["values"], dtype=np.float64),
    )


def _vector(raw: Mapping[str, str]) -> PublishedVector:
    values = np.frombuffer(base64.b64decode(raw["values"]), dtype="<f4")
    return PublishedVector(raw["text"], values)
