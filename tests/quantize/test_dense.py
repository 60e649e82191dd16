"""The passes on graphs that other tools wrote: every linear quantized, or named with its reason."""

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from embedge import Embedder
from embedge.export.dense import export_dense
from embedge.models.bundle import open_bundle
from embedge.models.graph_file import read_graph
from embedge.quantize import QuantizeReport, quantize_bundle
from embedge.quantize.codes import EIGHT_BITS
from embedge.quantize.int8_linear import int8_linears
from embedge.quantize.linears import find_linears
from embedge.quantize.scheme import Options, choose_schemes
from embedge.quantize.smooth import smooth
from embedge.quantize.weights import WeightQuantizer

TEXTS = ["hello world", "a", "the quick brown fox jumps over the lazy dog", "", "x" * 40]

Quantized = tuple[Path, Path, QuantizeReport]


def _write(dense_graphs: ModuleType, folder: Path, **form: Any) -> Path:
    dense_graphs.write_side_files(folder, pooling=form.pop("pooling", "mean"))
    graph = dense_graphs.DenseFile(dense_graphs.random_weights(7), **form).build()
    onnx.save(graph, folder / "model.onnx")
    return folder


@pytest.fixture(
    scope="module",
    params=[
        {"pooling": "cls"},
        {"norms": "spelt", "opset": 14},
        {"gelu": "node"},
        {"gelu": "tanh"},
        {"fused": True},
    ],
    ids=["torch-cls", "old", "gelu", "tanh", "fused"],
)
def quantized(
    request: pytest.FixtureRequest,
    dense_graphs: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Quantized:
    """A published graph, its fp32 bundle and its int8 bundle."""
    place = tmp_path_factory.mktemp("dense")
    folder = _write(dense_graphs, place / "model", **request.param)
    parent = export_dense(folder, place / "fp32", engine="onnx", measure=False)
    report = quantize_bundle(parent.path, place / "int8", measure=False)
    return parent.path, place / "int8", report


def test_every_linear_becomes_an_integer_product(quantized: Quantized) -> None:
    _, int8, report = quantized
    graph = read_graph(int8 / "model.onnx").graph
    kinds = [node.op_type for node in graph]
    assert kinds.count("MatMulIntegerToFloat") == 12  # two layers: q, k, v, out, up, down
    assert report.kept_float == {}
    assert report.tables == {"embeddings.word_embeddings.weight": "int8 rows"}
    for table in ("position", "token_type"):
        names = [n for n in graph.initializers if n.startswith(f"embeddings.{table}")]
        assert all(graph.initializers[name].dtype == ir.DataType.FLOAT for name in names)


def test_norms_are_smoothed_and_the_rest_names_its_node(quantized: Quantized) -> None:
    methods = {site: scheme.method for site, scheme in quantized[2].schemes.items()}
    norms = {"embeddings.LayerNorm", "encoder.layer.0.attention.output.LayerNorm"}
    assert {methods[name] for name in norms} <= {"static", "row"}
    assert all(quantized[2].schemes[name].smoothing is not None for name in norms)
    out = quantized[2].schemes["encoder.layer.0.attention.output.dense.weight"]
    assert out.method == "row"
    assert re.search(r"comes from (Reshape|MultiHeadAttention) \S*encoder", out.reason)


def test_only_the_erf_forms_are_taken_for_gelu(quantized: Quantized) -> None:
    fp32, _, report = quantized
    has_tanh = any(node.op_type == "Tanh" for node in read_graph(fp32 / "model.onnx").graph)
    down = report.schemes["encoder.layer.1.output.dense.weight"]
    assert down.method == ("row" if has_tanh else "shifted")
    if has_tanh:
        assert "Mul /encoder/layer/1/gelu" in down.reason


@pytest.mark.parametrize("bits", [8, 7])
def test_every_product_equals_numpy_on_identical_inputs(
    quantized: Quantized, int8_sites: ModuleType, dense_graphs: ModuleType, bits: int
) -> None:
    rng = np.random.default_rng(3)
    ids = rng.integers(5, len(dense_graphs.VOCABULARY), (3, 24))
    mask = np.ones_like(ids)
    mask[1, 7:] = 0
    sites = int8_sites.sites_of(quantized[1], bits, ids, mask)
    assert len(sites) == 12
    assert {name: value for name, value in int8_sites.worst(sites) if value > 1e-5} == {}


@pytest.mark.parametrize("variant", ["int8", "int8-avx2"])
def test_vectors_stay_near_fp32_and_do_not_depend_on_the_batch(
    quantized: Quantized, variant: str
) -> None:
    fp32, int8, _ = quantized
    with Embedder(fp32, variant="fp32") as parent, Embedder(int8, variant=variant) as child:
        wanted, found = parent.encode(TEXTS), child.encode(TEXTS)
        alone = np.array([child.encode(text) for text in TEXTS])
    assert (wanted * found).sum(axis=1).min() > (0.99 if variant == "int8" else 0.97)
    np.testing.assert_array_equal(alone, found)


def test_the_bundle_says_its_pooling(quantized: Quantized) -> None:
    fp32, int8, _ = quantized
    parent, child = (open_bundle(path).manifest.identity for path in (fp32, int8))
    assert child.pooling == parent.pooling
    assert child.recipe == "int8/1"


@pytest.fixture
def opened(dense_graphs: ModuleType, tmp_path: Path) -> Callable[..., ir.Model]:
    """The fp32 graph of a file, before quantizing."""

    def make(**form: Any) -> ir.Model:
        folder = _write(dense_graphs, tmp_path / "model", **form)
        bundle = export_dense(folder, tmp_path / "fp32", engine="onnx", measure=False)
        return read_graph(bundle.path / "model.onnx")

    return make


def _linear(model: ir.Model, name: str) -> ir.Node:
    return next(n for n in model.graph if n.op_type == "MatMul" and n.inputs[1].name == name)  # type: ignore[union-attr]  # MatMul has two


def test_a_weight_that_is_computed_is_named_and_not_passed_over(
    opened: Callable[..., ir.Model],
) -> None:
    model = opened()
    node = _linear(model, "encoder.layer.0.output.dense.weight")
    turned = ir.node("Transpose", [node.inputs[1]], {"perm": [1, 0]}, name="/turn")
    back = ir.node("Transpose", [turned.outputs[0]], {"perm": [1, 0]}, name="/back")
    back.outputs[0].name = "turned.weight"
    model.graph.insert_before(node, [turned, back])
    node.replace_input_with(1, back.outputs[0])
    found = find_linears(model.graph)
    assert len(found.found) == 11
    assert found.kept_float == {"turned.weight": "Transpose /back computes it from constants"}


def test_a_weight_inside_another_operator_is_named(opened: Callable[..., ir.Model]) -> None:
    model = opened()
    node = _linear(model, "encoder.layer.0.output.dense.weight")
    other = ir.node("FusedMatMul", node.inputs, domain="com.microsoft", name="/fused", outputs=None)
    model.graph.insert_before(node, other)
    ir.convenience.replace_all_uses_with(node.outputs[0], other.outputs[0])
    model.graph.remove(node, safe=True)
    assert find_linears(model.graph).kept_float == {
        "encoder.layer.0.output.dense.weight": "com.microsoft.FusedMatMul /fused holds it, which "
        "is no MatMul or Gemm"
    }


def test_layers_that_share_a_weight_are_smoothed_each_on_its_own(
    opened: Callable[..., ir.Model], run: Callable[..., Any]
) -> None:
    model = opened()
    shared = _linear(model, "encoder.layer.0.intermediate.dense.weight").inputs[1]
    _linear(model, "encoder.layer.1.intermediate.dense.weight").replace_input_with(1, shared)
    ids = np.random.default_rng(0).integers(5, 60, (2, 9))
    before = run(model, ids)[0]
    rng = np.random.default_rng(1)
    scales = {
        f"encoder.layer.{i}.attention.output.LayerNorm": rng.uniform(0.3, 3, 32).astype(np.float32)
        for i in range(2)
    }
    smooth(model, scales)
    np.testing.assert_allclose(before, run(model, ids)[0], atol=1e-5)
    int8_linears(model, {}, EIGHT_BITS, WeightQuantizer())
    assert (before * run(model, ids)[0]).sum(axis=1).min() > 0.99


def test_schemes_cover_every_linear(
    opened: Callable[..., ir.Model], statistics_of: Callable[..., Any], random_ids: Any
) -> None:
    model = opened()
    statistics = statistics_of(model, random_ids([20] * 8, vocabulary=60))
    schemes = choose_schemes(model, statistics, Options())
    assert {linear.site for linear in find_linears(model.graph).found} == set(schemes)
