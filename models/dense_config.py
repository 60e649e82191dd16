"""`config.json` of dense Hugging Face encoders: sizes, and what would be computed wrongly.

The layers are computed by graphs that other tools write, so this reader only needs sizes. It
refuses what such a graph cannot hold (experts, whose tokens a traced graph would freeze) and what
we would feed wrongly (decoders).
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedge.models.config import CONFIG_NAME
from embedge.models.errors import ConfigError
from embedge.models.side_file import read_object

# Kinds that optimum exports and that tests compare with transformers (tests/optimum).
OPTIMUM_KINDS = frozenset((
    "albert", "bert", "camembert", "distilbert", "electra", "modernbert", "mpnet", "roberta",
    "xlm-roberta",
))  # fmt: skip

# Their positions count from the padding id on: position of the first token = pad_token_id + 1.
_COUNTED_FROM_PADDING = frozenset(("camembert", "mpnet", "roberta", "xlm-roberta"))

_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "hidden": ("hidden_size", "dim", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layers", "n_layer"),
    "heads": ("num_attention_heads", "n_heads", "n_head"),
    "inner": ("intermediate_size", "hidden_dim", "n_inner"),
    "vocabulary": ("vocab_size",),
    "positions": ("max_position_embeddings", "n_positions"),
}

# Any of these makes it another kind of model than an encoder that sees its whole input.
_MUST_BE_OFF = (
    "is_decoder", "is_encoder_decoder", "add_cross_attention", "quantization_config", "auto_map",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DenseConfig:
    """Sizes of a dense encoder.

    Attributes:
        kind: `model_type`.
        vocabulary: rows of the word table.
        hidden: features of a hidden state.
        layers: encoder layers.
        heads: attention heads per layer.
        inner: features inside a feed-forward block.
        positions: longest sequence, in tokens, special tokens included.
        padding_offset: padding id from which positions are counted; None where they start at 0.
    """

    kind: str
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    inner: int
    positions: int
    padding_offset: int | None = None


def read_dense_config(folder: Path, kinds: Collection[str] | None) -> DenseConfig:
    """Read `folder/config.json`.

    Args:
        folder: a Hugging Face folder.
        kinds: supported values of `model_type`; None takes any.

    Raises:
        ConfigError: the file is missing or damaged, or describes a model that would be computed
            wrongly; every field is named in one message.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise ConfigError(
            f"{folder} has no {CONFIG_NAME}, so it is not the folder of a Hugging Face model; give "
            f"the folder that holds the model's files"
        )
    raw = read_object(path)
    problems = [*_kind_problems(raw, kinds), *_expert_problems(raw), *_mode_problems(raw)]
    sizes, missing = _sizes(raw)
    problems += missing
    if problems:
        raise ConfigError(
            f"{path} describes a model that would be computed wrongly: {'; '.join(problems)}. "
            f"Mixtures of experts of Nomic's kind go through `--engine native`."
        )
    return _build(raw, sizes)


def _kind_problems(raw: Mapping[str, Any], kinds: Collection[str] | None) -> list[str]:
    kind = raw.get("model_type")
    if kinds is not None and kind not in kinds:
        return [f"model_type is {json.dumps(kind)}, supported: {', '.join(sorted(kinds))}"]
    return []


def _expert_problems(raw: Mapping[str, Any]) -> list[str]:
    """Name every field that tells of experts: a traced graph would freeze who goes where."""
    return [
        f"{key} is {json.dumps(value)}, expected a model without experts"
        for key, value in sorted(raw.items())
        if ("experts" in key or key.startswith("moe_")) and value
    ]


def _mode_problems(raw: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{key} is {json.dumps(raw[key])[:80]}, expected none"
        for key in _MUST_BE_OFF
        if raw.get(key)
    ]
    if raw.get("position_embedding_type", "absolute") not in ("absolute", None):
        problems.append(
            f"position_embedding_type is {json.dumps(raw['position_embedding_type'])}, supported: "
            f"absolute"
        )
    return problems


def _sizes(raw: Mapping[str, Any]) -> tuple[dict[str, int], list[str]]:
    found: dict[str, int] = {}
    problems = []
    for name, spellings in _SPELLINGS.items():
        values = [raw[spelling] for spelling in spellings if raw.get(spelling) is not None]
        if len(values) >= 1 and type(values[0]) is int and values[0] > 0:
            found[name] = values[0]
        else:
            shown = json.dumps(values[0]) if values else "missing"
            problems.append(f"{spellings[0]} is {shown}, expected a positive integer")
    return found, problems


def _build(raw: Mapping[str, Any], sizes: Mapping[str, int]) -> DenseConfig:
    kind = str(raw.get("model_type"))
    padding = raw.get("pad_token_id")
    offset = None
    if kind in _COUNTED_FROM_PADDING:
        offset = padding if type(padding) is int else 1  # transformers' default for these kinds
    positions = sizes["positions"] - (0 if offset is None else offset + 1)
    return DenseConfig(
        kind=kind,
        padding_offset=offset,
        **{**sizes, "positions": positions},
    )
