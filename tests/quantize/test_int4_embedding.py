"""4-bit word rows: found where they are, carried over exactly, and nowhere else."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedge.export import export_checkpoint
from embedge.models.graph_file import read_graph
from embedge.quantize import quantize_bundle
from embedge.quantize.int4_embedding import (
    find_four_bit_tables,
    four_bit_codes,
    four_bit_scales,
    int4_embedding,
)

WORDS = "embeddings.word_embeddings.weight"


def four_bit_rows(rows: int, width: int, seed: int) -> NDArray[np.float32]:
    """Rows as a 4-bit file gives them: scales of both signs, blocks with few codes, zero rows."""
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1, 1], (rows, width // 32))
    scale = (sign * rng.uniform(0.001, 0.2, sign.shape)).astype(np.float16)
    spread = rng.integers(1, 9, (rows, width // 32, 1))
    codes = np.clip(rng.integers(-8, 8, (rows, width // 32, 32)), -spread, spread - 1)
    values = (codes * scale.astype(np.float32)[..., None]).reshape(rows, width)
    values[rng.integers(rows)] = 0
    return values.astype(np.float32)


def decoded(packed: NDArray[np.uint8], scale: NDArray[np.float16]) -> NDArray[np.float32]:
    codes = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
    blocks = codes.reshape(len(packed), -1, 32) * scale.astype(np.float32)[..., None]
    return blocks.reshape(len(packed), -1)


@given(st.integers(1, 40), st.sampled_from([64, 128, 384]), st.integers(0, 2**31))
def test_rows_of_four_bits_are_recovered_after_rounding_to_half_precision(
    rows: int, width: int, seed: int
) -> None:
    values = four_bit_rows(rows, width, seed)
    table = values.astype(np.float16).astype(np.float32)
    scale = four_bit_scales(table)
    assert scale is not None
    packed = four_bit_codes(table, scale)
    assert packed.shape == (rows, width // 2)
    assert scale.shape == (rows, width // 32)
    largest = np.abs(values).max(initial=1e-6)
    np.testing.assert_allclose(decoded(packed, scale), values, atol=2**-9 * largest)


def test_ordinary_rows_are_not_mistaken_for_four_bit_rows() -> None:
    values = four_bit_rows(50, 64, 3)
    values[49] = np.random.default_rng(1).standard_normal(64)
    assert four_bit_scales(values) is None


@pytest.fixture(scope="module", params=["ort", "standard"])
def four_bit_bundle(
    request: pytest.FixtureRequest,
    checkpoints: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """fp32 bundle of a model with learned positions whose word rows have four bits."""
    config = checkpoints.tiny_config(n_embd=64, n_inner=128, rotary_emb_fraction=0.0)
    tensors = checkpoints.random_tensors(config)
    tensors[WORDS] = four_bit_rows(*tensors[WORDS].shape, seed=5)
    folder = tmp_path_factory.mktemp("four-bit")
    side_file = {
        "name": "four-bit", "license": "MIT", "matryoshka": [64, 32],
        "prompts": checkpoints.PROMPTS,
    }  # fmt: skip
    checkpoint = checkpoints.write_checkpoint(
        folder / "checkpoint", config, tensors, dtype="F16", side_file=side_file
    )
    return export_checkpoint(checkpoint, folder / "fp32", flavor=request.param).path


def test_table_is_stored_in_half_the_bytes_and_gives_the_same_vectors(
    four_bit_bundle: Path, run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    model = read_graph(four_bit_bundle / "model.onnx")
    ids = random_ids([5, 20], vocabulary=640)
    before = run(model, ids)[0]
    found = find_four_bit_tables(model)
    assert list(found) == [WORDS]
    int4_embedding(model, found)
    assert WORDS not in model.graph.initializers
    codes, scales = (model.graph.initializers[f"{WORDS}.{end}"] for end in ("int4", "int4_scale"))
    assert (codes.dtype, scales.dtype) == (ir.DataType.UINT8, ir.DataType.FLOAT16)
    assert codes.const_value is not None
    assert codes.const_value.nbytes == 640 * 64 // 2
    np.testing.assert_allclose(run(model, ids)[0], before, atol=1e-3)


def test_quantized_bundle_keeps_the_four_bit_codes_in_every_graph(
    four_bit_bundle: Path,
    tmp_path: Path,
    run: Callable[..., Any],
    random_ids: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched = []

    def count(table: Any) -> Any:
        searched.append(table.shape)
        return four_bit_scales(table)

    monkeypatch.setattr("embedge.quantize.int4_embedding.four_bit_scales", count)
    report = quantize_bundle(four_bit_bundle, tmp_path / "int8", measure=False)
    assert f"  {WORDS}: 4-bit rows" in list(report.lines())
    assert searched == [(640, 64)]  # once, not for every graph
    ids = random_ids([5, 20], vocabulary=640)
    expected = run(read_graph(four_bit_bundle / "model.onnx"), ids)[0]
    for file in ("model.onnx", "model-avx2.onnx"):
        model = read_graph(tmp_path / "int8" / file)
        assert f"{WORDS}.int4" in model.graph.initializers
        assert f"{WORDS}.int8" not in model.graph.initializers
        assert (run(model, ids)[0] * expected).sum(axis=1).min() > 0.99


def test_ids_in_rows_give_hidden_states_in_rows() -> None:
    table = ir.tensor(four_bit_rows(96, 64, seed=2), name="table")
    ids = ir.val("input_ids", ir.DataType.INT64, ["batch", "sequence"])
    rows = ir.Value(name="table", const_value=table, shape=ir.Shape([96, 64]),
                    type=ir.TensorType(ir.DataType.FLOAT))  # fmt: skip
    gather = ir.node("Gather", [rows, ids], {"axis": 0})
    out = gather.outputs[0]
    out.name, out.type = "hidden", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([ids], [out], nodes=[gather], initializers=[rows], opset_imports={"": 21})
    model = ir.Model(graph, ir_version=10)
    int4_embedding(model, find_four_bit_tables(model))
    chosen = np.array([[3, 95, 0], [7, 7, 1]])
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (hidden,) = session.run(None, {"input_ids": chosen})
    assert hidden.shape == (2, 3, 64)
    np.testing.assert_allclose(hidden, table.numpy()[chosen], atol=1e-6)
