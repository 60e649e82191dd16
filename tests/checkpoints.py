"""Random checkpoints with the real tensor names, and a small tokenizer with XLM-R's pipeline."""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

Tensors = dict[str, NDArray[np.float32]]

PROMPTS = {
    "classification": "classification: ",
    "clustering": "clustering: ",
    "document": "search_document: ",
    "query": "search_query: ",
}

# Whole words become one piece each, every letter a piece of its own; more scripts than one, so
# that long and short pieces mix.
_WORDS = (
    "search _ query : document : classification : clustering : the a of and to in is was for on "
    "vector model text night river house green small long word language computer memory number "
    "der die und ist nicht le la les des est une el los las que una di il che per non de het een "
    "и в не на что это как по но он я "
    "的 一 是 不 了 在 人 有 我 他 の に は を た が で て と し "
    "في من على أن هو ما है के में का से को की"
)
_LETTERS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?-_'\"()/+*=<>#@%&[]{}|~$"
    "äöüßéèêàçñáíóúãõâîôûåøæœğşıİčćžšđłńśźżąęőűăâîșțабвгдежзийклмнопрстуфхцчшщъыьэюяіїєґ"
    "αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώאבגדהוזחטיכלמנסעפצקרשתםןץףך"
    "ابتثجحخدذرزسشصضطظعغفقكلمنهويةىءئؤأإآपरनतकमलसयहवादिीुेोंजगबशचभदटथणधखइउए्"
    "กขคงจชซญดตถทนบปผฝพฟภมยรลวศสหอฮะาิีึืุูเแโใไ่้์"
)


def tiny_config(**changes: Any) -> dict[str, Any]:
    """config.json of a two-layer model with four experts; rotary positions unless changed."""
    config: dict[str, Any] = {
        "model_type": "nomic_bert", "architectures": ["NomicBertModel"],
        "activation_function": "gelu",
        "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 64, "n_positions": 512,
        "vocab_size": 640, "pad_vocab_size_multiple": 64, "type_vocab_size": 1,
        "layer_norm_epsilon": 1e-5, "use_rms_norm": None, "prenorm": False,
        "parallel_block": False, "qkv_proj_bias": True, "mlp_fc1_bias": True,
        "mlp_fc2_bias": True, "rotary_emb_base": 10000, "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False, "rotary_emb_scale_base": None,
        "rotary_scaling_factor": None, "num_experts": 4, "moe_top_k": 2,
        "moe_every_n_layers": 2, "moe_normalize_expert_weights": False,
        "num_shared_experts": 0, "expert_choice_router": False, "ffn_div": 1, "causal": False,
        "scale_attn_weights": True, "add_pooling_layer": False, "pad_token_id": 1,
    }  # fmt: skip
    return config | changes


def real_size_config(**changes: Any) -> dict[str, Any]:
    """Two layers as wide as the real model's: hidden 768, 8 experts of 3072."""
    sizes = {"n_embd": 768, "n_head": 12, "n_inner": 3072, "num_experts": 8}
    return tiny_config(**(sizes | changes))


def published_config() -> dict[str, Any]:
    """All 62 keys of the real model's config.json."""
    text = (Path(__file__).parent / "data" / "published-config.json").read_text(encoding="utf-8")
    config: dict[str, Any] = json.loads(text)
    return config


def tensor_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The state dict, written from the published list and not from the package."""
    h, f, e = config["n_embd"], config["n_inner"], config["num_experts"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], h),
        "embeddings.token_type_embeddings.weight": (1, h),
        "emb_ln.weight": (h,),
        "emb_ln.bias": (h,),
    }
    if config["rotary_emb_fraction"] == 0:
        shapes["embeddings.position_embeddings.weight"] = (config["n_positions"], h)
    for i in range(config["n_layer"]):
        layer = {
            "attn.Wqkv.weight": (3 * h, h), "attn.Wqkv.bias": (3 * h,),
            "attn.out_proj.weight": (h, h), "attn.out_proj.bias": (h,),
            "norm1.weight": (h,), "norm1.bias": (h,), "norm2.weight": (h,), "norm2.bias": (h,),
        }  # fmt: skip
        if i % config["moe_every_n_layers"] == 1:
            layer |= {
                "mlp.router.layer.weight": (e, h), "mlp.experts.bias": (h,),
                "mlp.experts.mlp.w1": (e * f, h), "mlp.experts.mlp.w2": (e * f, h),
            }  # fmt: skip
        else:
            layer |= {
                "mlp.fc1.weight": (f, h), "mlp.fc1.bias": (f,),
                "mlp.fc2.weight": (h, f), "mlp.fc2.bias": (h,),
            }  # fmt: skip
        shapes |= {f"encoder.layers.{i}.{name}": shape for name, shape in layer.items()}
    return shapes


def random_tensors(config: Mapping[str, Any], seed: int = 0) -> Tensors:
    """Random weights at which every part of the model matters: no bias is zero, no scale one."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in tensor_shapes(config).items():
        values = rng.standard_normal(shape, dtype=np.float32)
        if "norm" in name or "emb_ln" in name:
            values = 0.2 * values + (1.0 if name.endswith("weight") else 0.0)
        elif name.endswith("bias"):
            values *= 0.3
        elif "embeddings" in name:
            # Small rows, as trained ones are: the first norm then feels its epsilon.
            values *= 0.02
        else:
            inputs = config["n_inner"] if name.endswith("w2") else shape[-1]
            values *= 1.0 / np.sqrt(inputs)
        tensors[name] = values.astype(np.float32)
    return tensors


def write_checkpoint(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, NDArray[np.float32]],
    *,
    dtype: str = "F32",
    shards: int = 1,
    side_file: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint folder: config, tokenizer, weights in one or several files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    if side_file is not None:
        (folder / "embedge-source.json").write_text(json.dumps(side_file))
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors, dtype)
        return folder
    names = sorted(tensors)
    weight_map = {}
    for n in range(shards):
        file = f"model-{n + 1:05d}-of-{shards:05d}.safetensors"
        part = names[n::shards]
        write_safetensors(folder / file, {name: tensors[name] for name in part}, dtype)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_safetensors(
    path: Path, tensors: Mapping[str, NDArray[np.float32]], dtype: str = "F32"
) -> None:
    """Write the format by hand: header length, JSON header, values."""
    header, data, offset = {}, [], 0
    for name, values in tensors.items():
        raw = encode(values, dtype)
        header[name] = {
            "dtype": dtype,
            "shape": list(values.shape),
            "data_offsets": [offset, offset + len(raw)],
        }
        data.append(raw)
        offset += len(raw)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def encode(values: NDArray[np.float32], dtype: str) -> bytes:
    if dtype == "BF16":
        return (values.astype("<f4").view(np.uint32) >> 16).astype("<u2").tobytes()
    return values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def rounded(values: NDArray[np.float32], dtype: str) -> NDArray[np.float32]:
    """The float32 values that a file of `dtype` holds."""
    if dtype == "BF16":
        return (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
    return values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float32)


def tiny_tokenizer() -> Tokenizer:
    """Unigram with `<s> A </s>`, WhitespaceSplit and Metaspace, as XLM-R has them."""
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    words = ["▁" + word for word in dict.fromkeys(_WORDS.split())]
    letters = list(dict.fromkeys("▁" + _LETTERS))
    inner = [word[1:] for word in words if len(word) > 2]
    pieces = dict.fromkeys(words + letters + inner)
    vocabulary = [(special, 0.0) for special in specials]
    vocabulary += [(piece, -6.0 if len(piece) > 1 else -10.0) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(specials)
    return tokenizer


def batches(rows: Sequence[Sequence[int]], size: int) -> Iterator[tuple[Any, Any]]:
    """Yield right-padded (ids, mask), int64 (batch, sequence), in order."""
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        width = max(len(row) for row in part)
        ids = np.ones((len(part), width), dtype=np.int64)
        mask = np.zeros((len(part), width), dtype=np.int64)
        for n, row in enumerate(part):
            ids[n, : len(row)] = row
            mask[n, : len(row)] = 1
        yield ids, mask
