"""Every silent mistake that the model's description warns of would fail the parity test.

Each test makes one of the mistakes in the reference and requires that the exported graph, which
agrees with the unchanged reference, is further from it than the tolerance of the parity test.
"""

from collections.abc import Callable
from functools import cache
from math import sqrt
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

TOLERANCE = 2e-5


def renormalised_top_2(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def gate_weights(self, chosen: Any) -> Any:
            return chosen / chosen.sum(axis=-1, keepdims=True)

    return Mistake


def softmax_after_top_k(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def gate_weights(self, chosen: Any) -> Any:
            return self.router_probability(np.log(chosen))

    return Mistake


def router_in_bfloat16(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def router_probability(self, logits: Any) -> Any:
            exact = super().router_probability(logits).astype(np.float32)
            rounded = (exact.view(np.uint32) + np.uint32(0x8000)) & np.uint32(0xFFFF0000)
            return rounded.view(np.float32).astype(np.float64)

    return Mistake


def bias_inside_the_expert_loop(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def mix(self, h: Any, chosen: Any, weight: Any, name: str) -> Any:
            mixed = super().mix(h, chosen, weight, name)
            bias = self.tensor(f"{name}.experts.bias")
            return mixed - bias + weight.sum(axis=-1, keepdims=True) * bias

    return Mistake


def bias_once_per_expert(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def mix(self, h: Any, chosen: Any, weight: Any, name: str) -> Any:
            mixed = super().mix(h, chosen, weight, name)
            return mixed + self.tensor(f"{name}.experts.bias")

    return Mistake


def missing_experts_bias(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def mix(self, h: Any, chosen: Any, weight: Any, name: str) -> Any:
            return super().mix(h, chosen, weight, name) - self.tensor(f"{name}.experts.bias")

    return Mistake


def w2_viewed_as_hidden_by_inner(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def w2(self, name: str, e: int) -> Any:
            return super().w2(name, e).reshape(self.hidden, self.inner).T

    return Mistake


def w1_viewed_as_hidden_by_inner(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def w1(self, name: str, e: int) -> Any:
            return super().w1(name, e).reshape(self.hidden, self.inner).T

    return Mistake


def experts_in_the_inner_axis(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def w1(self, name: str, e: int) -> Any:
            return self.tensor(f"{name}.experts.mlp.w1")[e :: self.config["num_experts"]]

    return Mistake


def tanh_gelu(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def gelu(self, x: Any) -> Any:
            return 0.5 * x * (1 + np.tanh(sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    return Mistake


def causal_attention(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def scores(self, q: Any, k: Any) -> Any:
            return np.where(np.tri(len(q), dtype=bool), super().scores(q, k), -1e9)

    return Mistake


def unscaled_attention(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def scores(self, q: Any, k: Any) -> Any:
            return q @ k.T

    return Mistake


def head_major_wqkv(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def split_qkv(self, qkv: Any) -> Any:
            parts = qkv.reshape(len(qkv), self.heads, 3, self.hidden // self.heads)
            return parts[:, :, 0], parts[:, :, 1], parts[:, :, 2]

    return Mistake


def transposed_out_proj(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def project(self, flat: Any, weight: Any, name: str) -> Any:
            return super().project(flat, weight.T, name)

    return Mistake


def missing_wqkv_bias(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def qkv_bias(self, name: str) -> Any:
            return np.zeros_like(super().qkv_bias(name))

    return Mistake


def missing_out_proj_bias(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def project(self, flat: Any, weight: Any, name: str) -> Any:
            return flat @ weight.T

    return Mistake


def epsilon_of_another_model(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def epsilon(self) -> float:
            return 1e-12 if super().epsilon() > 1e-9 else 1e-5

    return Mistake


def layer_norm_before_the_cut(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def pool(self, x: Any) -> Any:
            pooled = super().pool(x)
            return (pooled - pooled.mean()) / pooled.std()

    return Mistake


def special_tokens_left_out_of_the_mean(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def pool(self, x: Any) -> Any:
            return super().pool(x[1:-1])

    return Mistake


def rope_widened_by_repeating_each(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def widen(self, angle: Any) -> Any:
            return np.repeat(angle, 2, axis=-1)

    return Mistake


def rope_interleaved(base: type) -> type:
    class Mistake(rope_widened_by_repeating_each(base)):  # type: ignore[misc]
        def rotate_half(self, x: Any) -> Any:
            turned = np.empty_like(x)
            turned[..., 0::2], turned[..., 1::2] = -x[..., 1::2], x[..., 0::2]
            return turned

    return Mistake


def rope_base_of_another_model(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def angles(self, tokens: int, head: int) -> Any:
            self.config = {**self.config, "rotary_emb_base": 1000}
            return super().angles(tokens, head)

    return Mistake


def rope_left_out(base: type) -> type:
    class Mistake(base):  # type: ignore[misc]
        def rotate(self, x: Any) -> Any:
            return x

    return Mistake


ANY_POSITIONS = (
    renormalised_top_2,
    softmax_after_top_k,
    router_in_bfloat16,
    bias_inside_the_expert_loop,
    bias_once_per_expert,
    missing_experts_bias,
    w2_viewed_as_hidden_by_inner,
    w1_viewed_as_hidden_by_inner,
    experts_in_the_inner_axis,
    tanh_gelu,
    causal_attention,
    unscaled_attention,
    head_major_wqkv,
    transposed_out_proj,
    missing_wqkv_bias,
    missing_out_proj_bias,
    epsilon_of_another_model,
    layer_norm_before_the_cut,
    special_tokens_left_out_of_the_mean,
)
ROTARY_ONLY = (
    rope_widened_by_repeating_each,
    rope_interleaved,
    rope_base_of_another_model,
    rope_left_out,
)


@pytest.fixture(scope="session")
def distance(
    reference: ModuleType,
    reference_of: Callable[..., Any],
    run_graph: Callable[..., list[Any]],
    sentence_ids: Callable[[int], list[list[int]]],
) -> Callable[[Path, Path, Callable[[type], type] | None], float]:
    """Largest difference between a bundle's vectors and a reference with one mistake."""
    rows = sentence_ids(640)[:200:25]

    @cache
    def vectors(bundle: Path) -> Any:
        return run_graph(bundle / "model.onnx", rows, len(rows))[0]

    def measure(checkpoint: Path, bundle: Path, mistake: Callable[[type], type] | None) -> float:
        kind = mistake(reference.Reference) if mistake else None
        mutant = reference_of(checkpoint, kind)
        expected = np.stack([mutant.encode(row).unit() for row in rows])
        return float(np.abs(vectors(bundle) - expected).max())

    return measure


@pytest.mark.parametrize("mistake", ANY_POSITIONS + ROTARY_ONLY)
def test_mistake_with_rotary_positions_shows(
    mistake: Callable[[type], type],
    distance: Callable[..., float],
    tiny_checkpoint: Path,
    tiny_bundle: Path,
) -> None:
    assert distance(tiny_checkpoint, tiny_bundle, None) <= TOLERANCE
    assert distance(tiny_checkpoint, tiny_bundle, mistake) > TOLERANCE


@pytest.mark.parametrize("mistake", ANY_POSITIONS)
def test_mistake_with_learned_positions_shows(
    mistake: Callable[[type], type],
    distance: Callable[..., float],
    tiny_learned_checkpoint: Path,
    tiny_learned_bundle: Path,
) -> None:
    assert distance(tiny_learned_checkpoint, tiny_learned_bundle, None) <= TOLERANCE
    assert distance(tiny_learned_checkpoint, tiny_learned_bundle, mistake) > TOLERANCE


def test_experts_on_even_layers_are_refused(checkpoints: ModuleType, tmp_path: Path) -> None:
    """The other parity has other tensor names, so the contract catches it before any number."""
    from embedge.models.checkpoint import open_checkpoint
    from embedge.models.errors import CheckpointError

    config = checkpoints.tiny_config(n_layer=4)
    tensors = checkpoints.random_tensors(config)
    swapped = {}
    for name, values in tensors.items():
        for i in range(4):
            if name.startswith(f"encoder.layers.{i}.mlp."):
                name = name.replace(f"layers.{i}.", f"layers.{i ^ 1}.", 1)
                break
        swapped[name] = values
    folder = checkpoints.write_checkpoint(tmp_path / "even", config, swapped)
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.router\.layer\.weight"):
        open_checkpoint(folder)
