"""Experts share their dispatch: fewer nodes, the same vectors bit for bit."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from embedge.models.graph_file import read_graph
from embedge.quantize import int8_graph
from embedge.quantize.shared_dispatch import share_dispatch

LENGTHS = ([1], [3, 3], [40, 7, 23], [2] * 9)


@pytest.fixture(scope="module")
def unshared(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], ir.Model]:
    """The int8 graphs of the tiny model as they are before this pass."""
    from embedge.quantize import quantize_bundle

    out = tmp_path_factory.mktemp("unshared") / "int8"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8_graph, "share_dispatch", lambda _: [])
        quantize_bundle(tiny_bundle, out, measure=False)
    return lambda name: read_graph(out / name)


@pytest.mark.parametrize("file", ["model.onnx", "model-avx2.onnx", "model-16.onnx"])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_vectors_stay_the_same_bit_for_bit(
    unshared: Callable[[str], ir.Model],
    run: Callable[..., Any],
    random_ids: Callable[..., Any],
    file: str,
    lengths: Sequence[int],
) -> None:
    ids = random_ids(lengths)
    model = unshared(file)
    before = run(model, ids, ["embedding"])[0]

    assert share_dispatch(model) != []

    np.testing.assert_array_equal(run(model, ids, ["embedding"])[0], before)


def test_experts_without_a_token_are_no_exception(
    unshared: Callable[[str], ir.Model], run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    model = unshared("model.onnx")
    chosen = next(n for n in model.graph if n.op_type == "TopK").outputs[1]
    ids = random_ids([3])  # four tokens at most choose two of four experts each
    model.graph.outputs.append(chosen)
    used, before = run(model, ids, [str(chosen.name), "embedding"])
    assert len(np.unique(used)) < 4

    share_dispatch(model)

    np.testing.assert_array_equal(run(model, ids, ["embedding"])[0], before)


def test_the_small_nodes_of_an_expert_are_gone(unshared: Callable[[str], ir.Model]) -> None:
    model = unshared("model.onnx")
    before = len(list(model.graph))

    share_dispatch(model)

    ops = [node.op_type for node in model.graph]
    assert [ops.count(op) for op in ("Equal", "NonZero", "TopK")] == [1, 1, 1]
    assert len(ops) < before - 4 * 10  # four experts


def test_a_second_run_changes_nothing(unshared: Callable[[str], ir.Model]) -> None:
    model = unshared("model.onnx")
    share_dispatch(model)
    nodes = [node.name for node in model.graph]

    assert share_dispatch(model) == []
    assert [node.name for node in model.graph] == nodes


def test_a_mixture_of_another_form_stays(unshared: Callable[[str], ir.Model]) -> None:
    model = unshared("model.onnx")
    equal = next(node for node in model.graph if node.op_type == "Equal")
    other = next(n for n in model.graph if n.op_type == "Equal" and n is not equal)
    equal.replace_input_with(1, other.inputs[1])  # expert 1 twice, expert 0 never
    nodes = len(list(model.graph))

    assert share_dispatch(model) == []
    assert len(list(model.graph)) == nodes


def test_dense_graphs_have_nothing_to_share(dense_graph: ir.Model) -> None:
    assert share_dispatch(dense_graph) == []
