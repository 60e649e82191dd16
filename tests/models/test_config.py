"""Kinds of models that would be computed wrongly are refused; sizes are free."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from embedge.models.config import EncoderConfig, parse_config, read_config
from embedge.models.errors import ConfigError
from embedge.models.source import PUBLISHED_CONFIG


def test_published_config_is_read_in_full(checkpoints: ModuleType) -> None:
    config = checkpoints.published_config()
    assert len(config) == 62
    assert parse_config(config, "config.json") == PUBLISHED_CONFIG
    assert [i for i in range(12) if PUBLISHED_CONFIG.is_moe(i)] == [1, 3, 5, 7, 9, 11]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "bert"),
        ("activation_function", "swiglu"),
        ("activation_function", "gelu_new"),
        ("moe_normalize_expert_weights", True),
        ("num_shared_experts", 1),
        ("expert_choice_router", True),
        ("use_rms_norm", True),
        ("prenorm", True),
        ("parallel_block", True),
        ("causal", True),
        ("qkv_proj_bias", False),
        ("mlp_fc1_bias", False),
        ("mlp_fc2_bias", False),
        ("rotary_emb_fraction", 0.5),
        ("rotary_emb_interleaved", True),
        ("rotary_emb_scale_base", 512),
        ("rotary_scaling_factor", 2.0),
        ("type_vocab_size", 2),
        ("ffn_div", 2),
        ("scale_attn_weights", False),
        ("add_pooling_layer", True),
        ("scale_attn_by_inverse_layer_idx", True),
        ("sliding_window", 128),
        ("num_experts", 0),
        ("n_layer", 1),
        ("moe_every_n_layers", 1),
        ("moe_top_k", 5),
        ("n_head", 5),
        ("n_head", 32),
        ("n_embd", "32"),
        ("n_embd", True),
        ("layer_norm_epsilon", 0),
        ("rotary_emb_base", None),
    ],
)
def test_another_kind_is_refused_by_name(key: str, value: object, checkpoints: ModuleType) -> None:
    config = checkpoints.tiny_config(**{key: value})
    with pytest.raises(ConfigError, match=key):
        parse_config(config, "config.json")


@pytest.mark.parametrize(
    "key", ["activation_function", "qkv_proj_bias", "moe_normalize_expert_weights", "n_inner"]
)
def test_a_missing_key_is_not_guessed(key: str, checkpoints: ModuleType) -> None:
    config = checkpoints.tiny_config()
    del config[key]
    with pytest.raises(ConfigError, match=key):
        parse_config(config, "config.json")


def test_all_problems_come_in_one_message(checkpoints: ModuleType) -> None:
    config = checkpoints.tiny_config(causal=True, prenorm=True, n_layer=-1, mystery=1)
    with pytest.raises(ConfigError) as caught:
        parse_config(config, "config.json")
    for key in ("causal", "prenorm", "n_layer", "mystery"):
        assert key in str(caught.value)


def test_odd_but_consistent_sizes_are_accepted(checkpoints: ModuleType) -> None:
    config = checkpoints.tiny_config(
        n_embd=30, n_head=5, n_inner=17, n_layer=7, num_experts=3, moe_top_k=3,
        moe_every_n_layers=3, vocab_size=101, n_positions=77,
    )  # fmt: skip
    read = parse_config(config, "config.json")
    assert read == EncoderConfig(
        vocabulary=128, hidden=30, layers=7, heads=5, inner=17, experts=3, experts_per_token=3,
        moe_every=3, epsilon=1e-5, positions=77, rotary_base=10000.0,
    )  # fmt: skip
    assert [i for i in range(7) if read.is_moe(i)] == [1, 4]


def test_learned_positions_need_no_rotary_base(checkpoints: ModuleType) -> None:
    config = checkpoints.tiny_config(rotary_emb_fraction=0.0, rotary_emb_base=None)
    assert parse_config(config, "config.json").rotary_base is None


@pytest.mark.parametrize("text", [None, "", "{", "[]", '"x"', "\x00"])
def test_a_missing_or_damaged_file_is_a_config_error(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        read_config(tmp_path)


def test_reading_config_and_source_loads_no_exporter_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys; import embedge.models.config, embedge.models.source, embedge.models.golden;"
        "print([m for m in ('onnx', 'onnx_ir', 'onnxscript', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []


def test_true_is_not_one(checkpoints: ModuleType) -> None:
    config: dict[str, Any] = checkpoints.tiny_config(type_vocab_size=True)
    with pytest.raises(ConfigError, match="type_vocab_size"):
        parse_config(config, "config.json")
