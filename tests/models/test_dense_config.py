"""Sizes of dense Hugging Face encoders from config.json, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from embedge.models.dense_config import OPTIMUM_KINDS, DenseConfig, read_dense_config
from embedge.models.errors import ConfigError

BERT: dict[str, Any] = {
    "model_type": "bert", "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6,
    "num_attention_heads": 12, "intermediate_size": 1536, "max_position_embeddings": 512,
    "pad_token_id": 0,
}  # fmt: skip


def read(folder: Path, kinds: Any = OPTIMUM_KINDS, **changes: Any) -> DenseConfig:
    raw = {key: value for key, value in (BERT | changes).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(raw))
    return read_dense_config(folder, kinds)


def test_sizes_are_read(tmp_path: Path) -> None:
    expected = DenseConfig(
        kind="bert", vocabulary=30522, hidden=384, layers=6, heads=12, inner=1536, positions=512
    )
    assert read(tmp_path) == expected


def test_the_spellings_of_distilbert_are_read(tmp_path: Path) -> None:
    old = {"hidden_size": None, "num_hidden_layers": None, "num_attention_heads": None,
           "intermediate_size": None}  # fmt: skip
    new = {"dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072}
    config = read(tmp_path, model_type="distilbert", **old, **new)
    assert (config.hidden, config.layers, config.heads, config.inner) == (768, 6, 12, 3072)


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "camembert", "mpnet"])
def test_positions_behind_the_padding_id_hold_two_tokens_less(tmp_path: Path, kind: str) -> None:
    config = read(tmp_path, model_type=kind, max_position_embeddings=514, pad_token_id=1)
    assert (config.positions, config.padding_offset) == (512, 1)
    assert read(tmp_path, model_type=kind, pad_token_id=None).padding_offset == 1


def test_another_kind_is_read_only_where_a_graph_is_given(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'model_type is "gpt2", supported: albert, bert'):
        read(tmp_path, model_type="gpt2")
    assert read(tmp_path, None, model_type="gpt2").kind == "gpt2"


def test_every_problem_is_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, is_decoder=True, num_local_experts=8, hidden_size="wide", vocab_size=None)
    told = str(caught.value)
    for field in ("is_decoder is true", "num_local_experts is 8", 'hidden_size is "wide"'):
        assert field in told
    assert "vocab_size is missing" in told
    assert "--engine native" in told


@pytest.mark.parametrize("off", [0, None, False, [], {}])
def test_fields_that_are_off_do_no_harm(tmp_path: Path, off: Any) -> None:
    assert read(tmp_path, num_experts=off, is_decoder=off, auto_map=off).hidden == 384


def test_a_folder_without_config_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        read_dense_config(tmp_path, None)
