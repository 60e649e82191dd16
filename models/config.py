"""The checkpoint's `config.json`: sizes are free, kinds that would be computed wrongly are refused.

The supported kind is the mixture-of-experts encoder of Nomic Embed Text v2: bidirectional,
post-norm, exact GELU, top-k experts whose softmax weights are not renormalised, and either rotary
positions over the whole head or learned ones.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedge.models.errors import ConfigError

CONFIG_NAME = "config.json"


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Sizes and the two free choices of the architecture.

    Attributes:
        vocabulary: rows of the word table, padding rows included.
        hidden: features of a hidden state.
        layers: number of encoder layers.
        heads: attention heads per layer; each has `hidden / heads` features.
        inner: features inside a feed-forward block and inside each expert.
        experts: experts of a mixture layer.
        experts_per_token: how many of them each token uses.
        moe_every: layer `i` is a mixture layer when `i % moe_every == 1`.
        epsilon: added to the variance in every layer norm.
        positions: longest sequence the position scheme is defined for, in tokens.
        rotary_base: base of the rotary angles; None means learned positions.
    """

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    inner: int
    experts: int
    experts_per_token: int
    moe_every: int
    epsilon: float
    positions: int
    rotary_base: float | None

    @property
    def head_size(self) -> int:
        """Features of one attention head."""
        return self.hidden // self.heads

    def is_moe(self, layer: int) -> bool:
        """Say whether `layer` (0-based) routes its tokens to experts."""
        return layer % self.moe_every == 1


# Keys whose value must be exactly one of these; anything else is another kind of model.
# A key that is absent has the first value, the default of the architecture's own reader.
_KINDS: Mapping[str, tuple[object, ...]] = {
    "model_type": ("nomic_bert",),
    "use_rms_norm": (None, False),
    "prenorm": (False,),
    "parallel_block": (False,),
    "parallel_block_tied_norm": (False,),
    "rotary_emb_interleaved": (False,),
    "rotary_emb_scale_base": (None,),
    "rotary_scaling_factor": (None,),
    "type_vocab_size": (1,),
    "num_shared_experts": (0,),
    "expert_choice_router": (False,),
    "ffn_div": (1,),
    "causal": (False,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "reorder_and_upcast_attn": (False,),
    "add_pooling_layer": (False,),
    "add_cross_attention": (False,),
}

# The same, but the key has to be there: its default differs between readers of this architecture.
_REQUIRED_KINDS: Mapping[str, tuple[object, ...]] = {
    "activation_function": ("gelu",),
    "qkv_proj_bias": (True,),
    "mlp_fc1_bias": (True,),
    "mlp_fc2_bias": (True,),
    "rotary_emb_fraction": (1.0, 0.0),
    "moe_normalize_expert_weights": (False,),
}

_SIZES = (
    "vocab_size", "n_embd", "n_layer", "n_head", "n_inner", "num_experts", "moe_top_k",
    "moe_every_n_layers", "n_positions",
)  # fmt: skip

# Keys that change nothing in what a trained model computes: names, training, kernels, leftovers.
_WITHOUT_EFFECT = frozenset((
    "_name_or_path", "architectures", "auto_map", "torch_dtype", "dtype", "transformers_version",
    "attn_pdrop", "embd_pdrop", "resid_pdrop", "moe_resid_pdrop", "router_aux_loss_coef",
    "initializer_range", "max_trained_positions", "moe_impl",
    "use_flash_attn", "fused_bias_fc", "fused_dropout_add_ln", "use_xentropy", "use_cache",
    "dense_seq_output", "tie_word_embeddings", "last_layer_subset",
    "pad_token_id", "bos_token_id", "eos_token_id", "id2label", "label2id",
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
    "summary_use_proj",
))  # fmt: skip

_OTHER = ("layer_norm_epsilon", "rotary_emb_base", "pad_vocab_size_multiple")


def read_config(folder: Path) -> EncoderConfig:
    """Read `folder/config.json`.

    Raises:
        ConfigError: the file is missing or not JSON, or describes a model that this code would
            compute wrongly; every problem is named in one message.
    """
    path = folder / CONFIG_NAME
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{folder} has no {CONFIG_NAME}, so it is not a checkpoint folder; "
            f"give the folder that holds the model's files"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; download it again") from error
    return parse_config(raw, str(path))


def parse_config(raw: object, where: str) -> EncoderConfig:
    """Turn decoded JSON into a config; `where` names it in messages.

    Raises:
        ConfigError: names every problem found.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} holds {type(raw).__name__}, expected a JSON object")
    problems = _kind_problems(raw) + _number_problems(raw)
    if not problems:
        problems = _consistency_problems(raw)
    if problems:
        raise ConfigError(
            f"{where} describes a model that would be computed wrongly: {'; '.join(problems)}. "
            f"This engine exports encoders of the kind of nomic-embed-text-v2-moe; dense ones go "
            f"through `embed export --engine optimum`."
        )
    return _build(raw)


def _is(value: object, allowed: object) -> bool:
    # 1 == True in Python, but not in a config; 1 and 1.0 are the same number.
    if isinstance(value, bool) or isinstance(allowed, bool):
        return value is allowed
    return value == allowed


def _kind_problems(raw: Mapping[str, object]) -> list[str]:
    problems = []
    for key, allowed in {**_KINDS, **_REQUIRED_KINDS}.items():
        if key not in raw:
            if key in _REQUIRED_KINDS:
                problems.append(f"{key} is missing")
        elif not any(_is(raw[key], value) for value in allowed):
            expected = " or ".join(json.dumps(value) for value in allowed)
            problems.append(f"{key} is {json.dumps(raw[key])}, supported: {expected}")
    known = {*_KINDS, *_REQUIRED_KINDS, *_SIZES, *_OTHER, *_WITHOUT_EFFECT}
    problems += [
        f"{key} is unknown (it is {json.dumps(raw[key])}) and may change the result"
        for key in sorted(raw.keys() - known)
    ]
    return problems


def _number_problems(raw: Mapping[str, object]) -> list[str]:
    problems = []
    for key in _SIZES:
        value = raw.get(key)
        if type(value) is not int or value < 1:
            problems.append(f"{key} is {json.dumps(value)}, expected a positive integer")
    if not _is_positive(raw.get("layer_norm_epsilon")):
        problems.append(
            f"layer_norm_epsilon is {json.dumps(raw.get('layer_norm_epsilon'))}, "
            f"expected a positive number"
        )
    if _is(raw.get("rotary_emb_fraction"), 1.0) and not _is_positive(raw.get("rotary_emb_base")):
        problems.append(
            f"rotary_emb_base is {json.dumps(raw.get('rotary_emb_base'))}, "
            f"expected a positive number"
        )
    multiple = raw.get("pad_vocab_size_multiple", 1)
    if type(multiple) is not int or multiple < 1:
        problems.append(
            f"pad_vocab_size_multiple is {json.dumps(multiple)}, expected a positive integer"
        )
    return problems


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _consistency_problems(raw: dict[str, int]) -> list[str]:
    problems = []
    if raw["n_embd"] % raw["n_head"]:
        problems.append(f"n_embd {raw['n_embd']} is not a multiple of n_head {raw['n_head']}")
    elif raw["rotary_emb_fraction"] and (raw["n_embd"] // raw["n_head"]) % 2:
        problems.append(
            f"n_embd {raw['n_embd']} over n_head {raw['n_head']} gives heads of an odd size, which "
            f"cannot be rotated"
        )
    if raw["moe_top_k"] > raw["num_experts"]:
        problems.append(
            f"moe_top_k {raw['moe_top_k']} is larger than num_experts {raw['num_experts']}"
        )
    if raw["n_layer"] < 2 or raw["moe_every_n_layers"] < 2:
        problems.append(
            f"with n_layer {raw['n_layer']} and moe_every_n_layers {raw['moe_every_n_layers']} no "
            f"layer would use the experts"
        )
    return problems


def _build(raw: Mapping[str, int | float]) -> EncoderConfig:
    multiple = int(raw.get("pad_vocab_size_multiple", 1))
    rows = -(-int(raw["vocab_size"]) // multiple) * multiple
    return EncoderConfig(
        vocabulary=rows,
        hidden=int(raw["n_embd"]),
        layers=int(raw["n_layer"]),
        heads=int(raw["n_head"]),
        inner=int(raw["n_inner"]),
        experts=int(raw["num_experts"]),
        experts_per_token=int(raw["moe_top_k"]),
        moe_every=int(raw["moe_every_n_layers"]),
        epsilon=float(raw["layer_norm_epsilon"]),
        positions=int(raw["n_positions"]),
        rotary_base=float(raw["rotary_emb_base"]) if raw["rotary_emb_fraction"] else None,
    )
