"""The finished student as a checkpoint folder with the real model's tensor names (float16)."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from embedge.models.bundle import write_atomically
from embedge.models.errors import CheckpointError
from embedge.models.recipes.network import (
    EPSILON,
    EXPERTS,
    HEADS,
    PAD,
    TOP_K,
    Encoder,
    Experts,
)
from embedge.models.recipes.provenance import PROMPTS, SIDE_FILE
from embedge.models.recipes.teacher_file import HIDDEN, INNER, LAYERS, POSITIONS
from embedge.models.recipes.word_rows import quantized

LAYER_NAMES = (
    ("qkv", "attn.Wqkv"), ("out", "attn.out_proj"), ("norm1", "norm1"), ("norm2", "norm2"),
)  # fmt: skip
"""Parts of a layer that have weight and bias: our name, the checkpoint's."""


def named_tensors(student: Encoder) -> dict[str, torch.Tensor]:
    """Float16 tensors by the checkpoint's names.

    Raises:
        CheckpointError: a value is not finite in float16.
    """
    tensors = {
        "embeddings.word_embeddings.weight": quantized(student.rows.detach()),
        "embeddings.token_type_embeddings.weight": student.type_row[None],
        "embeddings.position_embeddings.weight": student.positions,
        "emb_ln.weight": student.norm.weight,
        "emb_ln.bias": student.norm.bias,
    }
    for i, layer in enumerate(student.layers):
        prefix = f"encoder.layers.{i}."
        for own, name in LAYER_NAMES:
            tensors[f"{prefix}{name}.weight"] = getattr(layer, own).weight
            tensors[f"{prefix}{name}.bias"] = getattr(layer, own).bias
        mlp = layer.mlp
        if isinstance(mlp, Experts):
            tensors[f"{prefix}mlp.router.layer.weight"] = mlp.router
            tensors[f"{prefix}mlp.experts.mlp.w1"] = mlp.w1.reshape(EXPERTS * INNER, HIDDEN)
            tensors[f"{prefix}mlp.experts.mlp.w2"] = mlp.w2.reshape(EXPERTS * INNER, HIDDEN)
            tensors[f"{prefix}mlp.experts.bias"] = mlp.bias
        else:
            for name in ("fc1", "fc2"):
                tensors[f"{prefix}mlp.{name}.weight"] = getattr(mlp, name).weight
                tensors[f"{prefix}mlp.{name}.bias"] = getattr(mlp, name).bias
    half = {k: v.detach().to(torch.float16).contiguous() for k, v in tensors.items()}
    wrong = [name for name, value in half.items() if not bool(torch.isfinite(value).all())]
    if wrong:
        raise CheckpointError(f"not finite in float16: {', '.join(wrong)}; train with a lower rate")
    return half


def config_fields(rows: int, moe_every: int) -> dict[str, object]:
    """`config.json`, as the real model's with other sizes and learned positions."""
    return {
        "architectures": ["NomicBertModel"],
        "model_type": "nomic_bert",
        "activation_function": "gelu",
        "n_embd": HIDDEN,
        "n_layer": LAYERS,
        "n_head": HEADS,
        "n_inner": INNER,
        "vocab_size": rows,
        "pad_vocab_size_multiple": 64,
        "type_vocab_size": 1,
        "layer_norm_epsilon": EPSILON,
        "use_rms_norm": None,
        "prenorm": False,
        "parallel_block": False,
        "parallel_block_tied_norm": False,
        "qkv_proj_bias": True,
        "mlp_fc1_bias": True,
        "mlp_fc2_bias": True,
        "rotary_emb_base": 10000,
        "rotary_emb_fraction": 0.0,
        "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None,
        "rotary_scaling_factor": None,
        "n_positions": POSITIONS,
        "max_trained_positions": POSITIONS,
        "pad_token_id": PAD,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "num_experts": EXPERTS,
        "moe_top_k": TOP_K,
        "moe_every_n_layers": moe_every,
        "moe_normalize_expert_weights": False,
        "num_shared_experts": 0,
        "expert_choice_router": False,
        "ffn_div": 1,
        "causal": False,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "add_pooling_layer": False,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "torch_dtype": "float16",
    }


def write_checkpoint(
    student: Encoder, moe_every: int, tokenizer: Path, side: Mapping[str, object], out: Path
) -> None:
    """Write weights, config, tokenizer and side files; an existing folder is replaced file by file.

    Args:
        student: the trained network.
        moe_every: its MoE layers are those with i % every == 1.
        tokenizer: its `tokenizer.json`.
        side: from `provenance.side_file`.
        out: the folder.

    Raises:
        CheckpointError: a weight is not finite.
    """
    tensors = named_tensors(student)
    (out / "1_Pooling").mkdir(parents=True, exist_ok=True)
    temporary = out / "model.safetensors.part"
    save_file(tensors, temporary, metadata={"format": "pt"})
    temporary.chmod(0o644)  # safetensors writes files that only the owner may read
    temporary.replace(out / "model.safetensors")
    shutil.copyfile(tokenizer, out / "tokenizer.json")
    modules = [
        ("", "sentence_transformers.models.Transformer"),
        ("1_Pooling", "sentence_transformers.models.Pooling"),
        ("2_Normalize", "sentence_transformers.models.Normalize"),
    ]
    files: dict[str, object] = {
        "config.json": config_fields(len(student.rows), moe_every),
        "sentence_bert_config.json": {"max_seq_length": POSITIONS, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {
                "query": PROMPTS["query"],
                "passage": PROMPTS["document"],
                "Classification": PROMPTS["classification"],
                "Clustering": PROMPTS["clustering"],
            },
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
        "1_Pooling/config.json": {
            "word_embedding_dimension": HIDDEN,
            "pooling_mode_mean_tokens": True,
        },
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": kind}
            for i, (path, kind) in enumerate(modules)
        ],
        SIDE_FILE: side,
    }
    for name, value in files.items():
        write_atomically(out / name, json.dumps(value, indent=2).encode())
