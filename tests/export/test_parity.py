"""The exported graph gives the same vectors as the naive float64 reference."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# float32 rounding through two layers stays near 1e-6; 2e-5 on unit vectors is the promise.
TOLERANCE = 2e-5
# Below this gap float32 cannot tell which expert is better, and either is right.
NEAR_TIE = 1e-6

MODELS = ("tiny_checkpoint", "tiny_learned_checkpoint", "real_size_checkpoint")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], Path]:
    from embedge.export import export_checkpoint

    made: dict[tuple[Path, str], Path] = {}

    def export(checkpoint: Path, flavor: Any) -> Path:
        key = (checkpoint, flavor)
        if key not in made:
            out = tmp_path_factory.mktemp("parity") / flavor
            made[key] = export_checkpoint(checkpoint, out, flavor=flavor, measure=False).path
        return made[key]

    return export


def far_rows(vectors: Any, outputs: Sequence[Any], dim: int | None = None) -> list[str]:
    """Name the rows beyond the tolerance that no near-tie of the router explains."""
    far = []
    for n, (vector, output) in enumerate(zip(vectors, outputs, strict=True)):
        error = np.abs(vector - output.unit(dim)).max()
        if error > TOLERANCE and output.gap >= NEAR_TIE:
            far.append(f"row {n}: {error:.1e}, routing gap {output.gap:.1e}")
    return far


@pytest.mark.slow
@pytest.mark.parametrize("flavor", ["ort", "standard"])
@pytest.mark.parametrize("model", MODELS)
def test_200_texts_in_40_languages_agree_ragged_and_alone(
    model: str,
    flavor: str,
    request: pytest.FixtureRequest,
    exported: Callable[[Path, str], Path],
    run_graph: Callable[..., list[Any]],
    sentence_ids: Callable[[int], list[list[int]]],
    sentence_outputs: Callable[[Path], list[Any]],
) -> None:
    checkpoint = request.getfixturevalue(model)
    rows, outputs = sentence_ids(640), sentence_outputs(checkpoint)
    graph = exported(checkpoint, flavor) / "model.onnx"
    for batch in (1, 16):
        (vectors,) = run_graph(graph, rows, batch)
        assert far_rows(vectors, outputs) == []


@pytest.mark.parametrize("flavor", ["ort", "standard"])
@pytest.mark.parametrize("model", MODELS[:2])
@pytest.mark.parametrize("tokens", [1, 2, 33, 512])
def test_any_length_to_512_agrees(
    tokens: int,
    model: str,
    flavor: str,
    request: pytest.FixtureRequest,
    exported: Callable[[Path, str], Path],
    run_graph: Callable[..., list[Any]],
    reference_of: Callable[..., Any],
) -> None:
    checkpoint = request.getfixturevalue(model)
    row = np.random.default_rng(tokens).integers(0, 640, tokens).tolist()
    (vectors,) = run_graph(exported(checkpoint, flavor) / "model.onnx", [row], 1)
    assert far_rows(vectors, [reference_of(checkpoint).encode(row)]) == []


@pytest.mark.parametrize("model", MODELS[:2])
def test_smaller_trained_size_is_the_cut_vector_at_unit_length(
    model: str,
    request: pytest.FixtureRequest,
    exported: Callable[[Path, str], Path],
    run_graph: Callable[..., list[Any]],
    reference_of: Callable[..., Any],
    sentence_ids: Callable[[int], list[list[int]]],
) -> None:
    checkpoint = request.getfixturevalue(model)
    rows = sentence_ids(640)[:10]
    outputs = [reference_of(checkpoint).encode(row) for row in rows]
    graph = exported(checkpoint, "ort") / "model-16.onnx"
    vectors, pooled = run_graph(graph, rows, 4, ("embedding", "pooled"))
    assert vectors.shape == (10, 16)
    assert far_rows(vectors, outputs, 16) == []
    np.testing.assert_allclose(pooled, [o.pooled for o in outputs], atol=1e-4)


def test_idle_experts_and_a_text_of_one_expert_agree(
    tiny_checkpoint: Path,
    exported: Callable[[Path, str], Path],
    run_graph: Callable[..., list[Any]],
    reference_of: Callable[..., Any],
) -> None:
    reference = reference_of(tiny_checkpoint)
    # One token repeated is routed the same way at almost every position.
    rows = [[token] * 3 for token in range(4, 40)]
    outputs = [reference.encode(row) for row in rows]
    idle = [row for row, o in zip(rows, outputs, strict=True) if len(np.unique(o.experts[1])) == 2]
    assert idle, "no row leaves two of the four experts without tokens"
    (vectors,) = run_graph(exported(tiny_checkpoint, "ort") / "model.onnx", rows, 1)
    assert far_rows(vectors, outputs) == []


def test_debug_outputs_name_the_experts_of_the_reference(
    tiny_checkpoint: Path,
    exported: Callable[[Path, str], Path],
    run_graph: Callable[..., list[Any]],
    reference_of: Callable[..., Any],
    tmp_path: Path,
) -> None:
    from embedge.export.parity import write_debug_graph

    bundle = exported(tiny_checkpoint, "ort")
    name = "encoder.layers.1.mlp.router.expert"
    debug = bundle / "debug.onnx"
    write_debug_graph(bundle / "model.onnx", debug, (name, "last_hidden_state"))
    try:
        row = [0, 5, 17, 99, 230, 2]
        experts, hidden = run_graph(debug, [row], 1, (name, "last_hidden_state"))
    finally:
        debug.unlink()
    output = reference_of(tiny_checkpoint).encode(row)
    np.testing.assert_array_equal(output.experts[1], experts)
    np.testing.assert_allclose(hidden[0], output.hidden, atol=1e-5)
