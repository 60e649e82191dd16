"""Graphs over one weight file: aligned, shared, streamed, movable."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from embedge.models.errors import BundleError
from embedge.models.graph_file import (
    ALIGNMENT,
    EXTERNAL_BYTES,
    MAPPED_BYTES,
    BlockTensor,
    read_graph,
    write_graphs,
)

ROWS = MAPPED_BYTES // 64 + 3
VALUES = np.arange(ROWS * 16, dtype=np.float32).reshape(ROWS, 16)


def graph_of(weights: dict[str, ir.TensorProtocol]) -> ir.Model:
    """Multiply x (16, 1) by every weight and add up."""
    x = ir.val("x", ir.DataType.FLOAT, [16, 1])
    values = [
        ir.Value(name=name, const_value=tensor, shape=ir.Shape(tensor.shape.numpy()),
                 type=ir.TensorType(tensor.dtype))
        for name, tensor in weights.items()
    ]  # fmt: skip
    nodes = [ir.node("MatMul", [value, x]) for value in values]
    total = nodes[0].outputs[0]
    for node in nodes[1:]:
        nodes.append(ir.node("Add", [total, node.outputs[0]]))
        total = nodes[-1].outputs[0]
    total.name = "y"
    total.type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], [total], nodes=nodes, initializers=values, opset_imports={"": 21})
    return ir.Model(graph, ir_version=10)


def run(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": np.eye(16, dtype=np.float32)[:, :1]})[0]
    return result


def test_a_name_in_two_graphs_is_written_once_and_both_run_after_a_move(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    shared = ir.tensor(VALUES, name="shared")
    own = ir.tensor(2 * VALUES, name="own")
    graphs = {
        "one.onnx": graph_of({"shared": shared}),
        "two.onnx": graph_of({"shared": shared, "own": own}),
    }
    write_graphs(graphs, first)
    assert (first / "weights.bin").stat().st_size < 3 * VALUES.nbytes
    shutil.move(first, second)
    np.testing.assert_array_equal(VALUES[:, :1], run(second / "one.onnx"))
    np.testing.assert_array_equal(3 * VALUES[:, :1], run(second / "two.onnx"))


def test_small_constants_are_shared_by_their_bytes_and_not_by_their_name(tmp_path: Path) -> None:
    rows = EXTERNAL_BYTES // 64
    ones = np.ones((rows, 16), np.float32)
    graphs = {
        "one.onnx": graph_of({"offset": ir.tensor(ones, name="offset")}),
        "two.onnx": graph_of({"offset": ir.tensor(2 * ones, name="offset")}),
        "three.onnx": graph_of({"other": ir.tensor(2 * ones, name="other")}),
    }
    write_graphs(graphs, tmp_path)
    assert (tmp_path / "weights.bin").stat().st_size == 2 * ones.nbytes
    for name, factor in (("one", 1), ("two", 2), ("three", 2)):
        np.testing.assert_array_equal(factor * ones[:, :1], run(tmp_path / f"{name}.onnx"))


def test_large_constants_start_at_page_boundaries_and_small_ones_stay_in_the_proto(
    tmp_path: Path,
) -> None:
    small = ir.tensor(np.ones((ROWS, 1), np.float32).T[:, :16].reshape(1, 16), name="small")
    large = [ir.tensor(n * VALUES, name=f"large{n}") for n in range(3)]
    tensors: dict[str, ir.TensorProtocol] = {"small": small, **{t.name: t for t in large}}
    write_graphs({"model.onnx": graph_of(tensors)}, tmp_path)
    read = read_graph(tmp_path / "model.onnx").graph.initializers
    assert not isinstance(read["small"].const_value, ir.ExternalTensor)
    for n in range(3):
        tensor = read[f"large{n}"].const_value
        assert isinstance(tensor, ir.ExternalTensor)
        assert tensor.offset is not None
        assert tensor.offset % ALIGNMENT == 0
        np.testing.assert_array_equal(n * VALUES, tensor.numpy())


def test_blocks_are_made_while_they_are_written(tmp_path: Path) -> None:
    alive: list[int] = []

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, ROWS, 100):
            alive.append(start)
            yield VALUES[start : start + 100]

    tensor = BlockTensor(blocks, ir.DataType.FLOAT, VALUES.shape, name="w")
    write_graphs({"model.onnx": graph_of({"w": tensor})}, tmp_path)
    assert alive == list(range(0, ROWS, 100))
    np.testing.assert_array_equal(VALUES[:, :1], run(tmp_path / "model.onnx"))
    np.testing.assert_array_equal(VALUES, tensor.numpy())


def test_a_tensor_that_gives_too_few_values_is_refused(tmp_path: Path) -> None:
    tensor = BlockTensor(lambda: iter([VALUES[:-1]]), ir.DataType.FLOAT, VALUES.shape, name="w")
    with pytest.raises(BundleError, match="w wrote"):
        write_graphs({"model.onnx": graph_of({"w": tensor})}, tmp_path)


def test_graphs_that_disagree_about_a_name_are_refused(tmp_path: Path) -> None:
    graphs = {
        "one.onnx": graph_of({"w": ir.tensor(VALUES, name="w")}),
        "two.onnx": graph_of({"w": ir.tensor(VALUES[:-1], name="w")}),
    }
    with pytest.raises(BundleError, match=r"two\.onnx: w is"):
        write_graphs(graphs, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_bytes_to_the_total(tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    tensors: dict[str, ir.TensorProtocol] = {
        f"w{n}": ir.tensor(VALUES, name=f"w{n}") for n in range(3)
    }
    write_graphs({"model.onnx": graph_of(tensors)}, tmp_path, lambda *event: told.append(event))
    total = 3 * VALUES.nbytes
    assert told == [("write weights", n * VALUES.nbytes, total) for n in range(4)]


def test_a_damaged_proto_is_a_bundle_error(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0anot a graph")
    with pytest.raises(BundleError, match=r"model\.onnx cannot be read"):
        read_graph(path)


def test_int8_and_transposed_tensors_are_written_in_their_own_bytes(tmp_path: Path) -> None:
    codes = (np.arange(ROWS * 16) % 251 - 125).astype(np.int8).reshape(ROWS, 16)
    wide = np.tile(codes, (1, 8))
    turned = np.asfortranarray(VALUES)
    for name, values in (("codes", wide), ("turned", turned)):
        folder = tmp_path / name
        folder.mkdir()
        model = graph_of({"w": ir.tensor(VALUES, name="w")})
        model.graph.initializers["w"].const_value = ir.tensor(values, name="w")
        write_graphs({"model.onnx": model}, folder)
        tensor = read_graph(folder / "model.onnx").graph.initializers["w"].const_value
        assert tensor is not None
        np.testing.assert_array_equal(values, tensor.numpy())
