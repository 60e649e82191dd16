"""The model in float64 numpy, one text at a time, written from its published description.

Nothing here comes from the traced code: names, layouts and order of operations follow the tensor
list and the forward semantics of the checkpoint. Every choice that is easy to get wrong is a
method of its own, so that a test can make that mistake on purpose.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import erf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_erf = np.vectorize(erf, otypes=[np.float64])


@dataclass(frozen=True)
class ReferenceOutput:
    """What the model makes of one text.

    Attributes:
        hidden: last hidden states (tokens, hidden).
        pooled: their mean (hidden,).
        experts: per mixture layer, the chosen experts (tokens, k), best first.
        gap: smallest distance, over tokens and mixture layers, between the probability of the
            last expert chosen and the best one left out.
    """

    hidden: Array
    pooled: Array
    experts: Mapping[int, NDArray[np.int64]]
    gap: float

    def unit(self, dim: int | None = None) -> Array:
        cut = self.pooled[:dim]
        return cut / np.linalg.norm(cut)


class Reference:
    """`tensor(name)` gives a checkpoint tensor in float64; `config` is the decoded config.json."""

    def __init__(self, tensor: Callable[[str], Array], config: Mapping[str, Any]) -> None:
        self.tensor = tensor
        self.config = config
        self.hidden = config["n_embd"]
        self.inner = config["n_inner"]
        self.heads = config["n_head"]

    def encode(self, ids: Sequence[int]) -> ReferenceOutput:
        x = self.embed(ids)
        experts, gap = {}, np.inf
        for i in range(self.config["n_layer"]):
            x, chosen, layer_gap = self.layer(x, i)
            if chosen is not None:
                experts[i], gap = chosen, min(gap, layer_gap)
        return ReferenceOutput(x, self.pool(x), experts, gap)

    def embed(self, ids: Sequence[int]) -> Array:
        x = self.tensor_rows("embeddings.word_embeddings.weight", ids)
        x = x + self.tensor("embeddings.token_type_embeddings.weight")[0]
        if self.config["rotary_emb_fraction"] == 0:
            x = x + self.tensor("embeddings.position_embeddings.weight")[: len(ids)]
        return self.norm(x, "emb_ln")

    def layer(self, x: Array, i: int) -> tuple[Array, NDArray[np.int64] | None, float]:
        name = f"encoder.layers.{i}"
        chosen, gap = None, np.inf
        h = self.norm(self.attention(x, f"{name}.attn") + x, f"{name}.norm1")
        if self.is_moe(i):
            m, chosen, gap = self.moe(h, f"{name}.mlp")
        else:
            m = self.dense(h, f"{name}.mlp")
        return self.norm(m + h, f"{name}.norm2"), chosen, gap

    def tensor_rows(self, name: str, rows: Sequence[int]) -> Array:
        return self.tensor(name)[list(rows)]

    def is_moe(self, layer: int) -> bool:
        return layer % int(self.config["moe_every_n_layers"]) == 1

    def pool(self, x: Array) -> Array:
        return x.mean(axis=0)

    def norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(variance + self.epsilon())
        return scaled * self.tensor(f"{name}.weight") + self.tensor(f"{name}.bias")

    def epsilon(self) -> float:
        return float(self.config["layer_norm_epsilon"])

    def gelu(self, x: Array) -> Array:
        return 0.5 * x * (1.0 + _erf(x / sqrt(2.0)))

    # Attention.

    def attention(self, x: Array, name: str) -> Array:
        q, k, v = self.split_qkv(x @ self.qkv_weight(name).T + self.qkv_bias(name))
        if self.config["rotary_emb_fraction"] == 1:
            q, k = self.rotate(q), self.rotate(k)
        out = np.empty_like(q)
        for head in range(self.heads):
            scores = self.scores(q[:, head], k[:, head])
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            weights /= weights.sum(axis=-1, keepdims=True)
            out[:, head] = weights @ v[:, head]
        flat = out.reshape(len(x), self.hidden)
        return self.project(flat, self.tensor(f"{name}.out_proj.weight"), name)

    def project(self, flat: Array, weight: Array, name: str) -> Array:
        return flat @ weight.T + self.tensor(f"{name}.out_proj.bias")

    def qkv_weight(self, name: str) -> Array:
        return self.tensor(f"{name}.Wqkv.weight")

    def qkv_bias(self, name: str) -> Array:
        return self.tensor(f"{name}.Wqkv.bias")

    def split_qkv(self, qkv: Array) -> tuple[Array, Array, Array]:
        """Three-major: all q features, all k features, all v features; heads inside each."""
        parts = qkv.reshape(len(qkv), 3, self.heads, self.hidden // self.heads)
        return parts[:, 0], parts[:, 1], parts[:, 2]

    def scores(self, q: Array, k: Array) -> Array:
        return q @ k.T / sqrt(q.shape[-1])

    def rotate(self, x: Array) -> Array:
        """Turn (tokens, heads, head): x * cos + rotate_half(x) * sin."""
        cos, sin = self.tables(len(x), x.shape[-1])
        return x * cos[:, None] + self.rotate_half(x) * sin[:, None]

    def tables(self, tokens: int, head: int) -> tuple[Array, Array]:
        angle = self.angles(tokens, head)
        widened = self.widen(angle)
        return np.cos(widened), np.sin(widened)

    def angles(self, tokens: int, head: int) -> Array:
        # The angle is a float32 product of a float32 frequency, as the description says.
        base = float(self.config["rotary_emb_base"])
        inv_freq = np.array([base ** (-2 * j / head) for j in range(head // 2)], dtype=np.float32)
        positions = np.arange(tokens, dtype=np.float32)
        return (positions[:, None] * inv_freq).astype(np.float64)

    def widen(self, angle: Array) -> Array:
        return np.concatenate([angle, angle], axis=-1)

    def rotate_half(self, x: Array) -> Array:
        half = x.shape[-1] // 2
        return np.concatenate([-x[..., half:], x[..., :half]], axis=-1)

    # Feed-forward blocks.

    def dense(self, h: Array, name: str) -> Array:
        inner = h @ self.tensor(f"{name}.fc1.weight").T + self.tensor(f"{name}.fc1.bias")
        out = self.gelu(inner) @ self.tensor(f"{name}.fc2.weight").T
        return out + self.tensor(f"{name}.fc2.bias")

    def moe(self, h: Array, name: str) -> tuple[Array, NDArray[np.int64], float]:
        probability = self.router_probability(h @ self.tensor(f"{name}.router.layer.weight").T)
        k = self.config["moe_top_k"]
        order = np.argsort(-probability, axis=-1, kind="stable")
        chosen = order[:, :k]
        weight = self.gate_weights(np.take_along_axis(probability, chosen, axis=-1))
        ranked = np.take_along_axis(probability, order, axis=-1)
        gap = float((ranked[:, k - 1] - ranked[:, k]).min()) if k < ranked.shape[1] else np.inf
        mixed = self.mix(h, chosen, weight, name)
        return mixed, chosen, gap

    def router_probability(self, logits: Array) -> Array:
        e = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def gate_weights(self, chosen: Array) -> Array:
        return chosen

    def mix(self, h: Array, chosen: NDArray[np.int64], weight: Array, name: str) -> Array:
        out = np.zeros_like(h)
        for e in range(self.config["num_experts"]):
            token, rank = np.nonzero(chosen == e)
            if len(token):
                gate = weight[token, rank][:, None]
                out[token] += gate * self.expert(h[token], name, e)
        return out + self.tensor(f"{name}.experts.bias")

    def expert(self, h: Array, name: str, e: int) -> Array:
        return self.gelu(h @ self.w1(name, e).T) @ self.w2(name, e)

    def w1(self, name: str, e: int) -> Array:
        """(inner, hidden)."""
        whole = self.tensor(f"{name}.experts.mlp.w1")
        return whole[e * self.inner : (e + 1) * self.inner]

    def w2(self, name: str, e: int) -> Array:
        """(inner, hidden)."""
        whole = self.tensor(f"{name}.experts.mlp.w2")
        return whole[e * self.inner : (e + 1) * self.inner]
