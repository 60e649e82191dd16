"""Tiny random models of every architecture that `--engine optimum` takes; needs `[optimum]`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HIDDEN, HEADS, INNER, LAYERS, POSITIONS = 32, 4, 64, 2, 64

_SIZES = {
    "hidden_size": HIDDEN, "num_attention_heads": HEADS, "intermediate_size": INNER,
    "num_hidden_layers": LAYERS, "max_position_embeddings": POSITIONS,
}  # fmt: skip
# Positions of these begin behind the padding id, 1 here.
_OFFSET = {**_SIZES, "max_position_embeddings": POSITIONS + 2, "pad_token_id": 1}
_SPECIAL = {"bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}


@dataclass(frozen=True)
class Kind:
    """How a tiny model of one `model_type` is made.

    Attributes:
        options: of its config class.
        tokenizer: `pieces` (WordPiece), `unigram`, or `bytes` (byte-level BPE).
        pooling: `mean` or `cls`.
    """

    options: dict[str, Any]
    tokenizer: str
    pooling: str


KINDS: dict[str, Kind] = {
    "bert": Kind(_SIZES, "pieces", "cls"),
    "electra": Kind(_SIZES | {"embedding_size": 16}, "pieces", "mean"),
    "albert": Kind(_SIZES | {"embedding_size": 16, "hidden_act": "gelu"}, "unigram", "mean"),
    "distilbert": Kind(
        {
            "dim": HIDDEN, "n_heads": HEADS, "hidden_dim": INNER, "n_layers": LAYERS,
            "max_position_embeddings": POSITIONS,
        },
        "pieces", "mean",
    ),
    "roberta": Kind(_OFFSET | _SPECIAL, "bytes", "mean"),
    "camembert": Kind(_OFFSET | _SPECIAL, "unigram", "cls"),
    "xlm-roberta": Kind(_OFFSET | _SPECIAL, "unigram", "mean"),
    "mpnet": Kind(_OFFSET, "unigram", "mean"),
    "modernbert": Kind(
        _SIZES
        | {
            "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0,
            "sep_token_id": 2, "local_attention": 8, "global_attn_every_n_layers": 2,
        },
        "bytes", "cls",
    ),
}  # fmt: skip


def _trained_like(model: Any) -> None:
    """Random weights of the magnitudes that training gives, an outlier channel among them."""
    import torch

    generator = torch.Generator().manual_seed(11)

    def noise(value: Any) -> Any:
        return torch.randn(value.shape, generator=generator)

    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" in name.lower() and name.endswith("weight"):
                value.copy_(1 + 0.2 * noise(value))
                value[3] = 4.0
            elif value.ndim == 1:
                value.copy_(0.1 * noise(value))
            else:
                value.copy_(noise(value) / (1 if "embed" in name else value.shape[-1] ** 0.5))


def unigrams() -> Any:
    """A tokenizer of letters in the form of XLM-R's: `<s> text </s>`, padding 1."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = "▁abcdefghijklmnopqrstuvwxyz0123456789.,:;!?-'()éüß"
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = [(piece, 0.0) for piece in specials]
    vocabulary += [(letter, -3.0 - 0.01 * n) for n, letter in enumerate(letters)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return _framed(tokenizer, specials, processors)


def byte_pairs() -> Any:
    """A byte-level tokenizer without merges in the form of RoBERTa's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {piece: number for number, piece in enumerate([*specials, *alphabet])}
    tokenizer = Tokenizer(models.BPE(ids, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _framed(tokenizer, specials, processors)


def _framed(tokenizer: Any, specials: list[str], processors: Any) -> Any:
    tokenizer.add_special_tokens(specials)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


@pytest.fixture(scope="session")
def make_model(
    dense_graphs: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Write the folder of a tiny model of a kind, as transformers saves it."""

    def make(name: str, **changes: Any) -> Path:
        from transformers import AutoConfig, AutoModel

        kind = KINDS[name]
        builders = {"pieces": dense_graphs.word_pieces, "unigram": unigrams, "bytes": byte_pairs}
        tokenizer = builders[kind.tokenizer]()
        config = AutoConfig.for_model(
            name, vocab_size=tokenizer.get_vocab_size(), **{**kind.options, **changes}
        )
        model = AutoModel.from_config(config).eval()
        _trained_like(model)
        folder: Path = tmp_path_factory.mktemp("model") / name
        dense_graphs.write_side_files(folder, pooling=kind.pooling)
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save(str(folder / "tokenizer.json"))
        pad = "[PAD]" if kind.tokenizer == "pieces" else "<pad>"
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": pad}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        return folder

    return make
