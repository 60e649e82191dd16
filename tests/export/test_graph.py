"""What the exported protos are made of."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from embedge.export.trace import OPSETS, bind_weights, trace
from embedge.models.checkpoint import open_checkpoint, tensor_shapes
from embedge.models.graph_file import read_graph, write_graphs
from embedge.models.source import PUBLISHED_CONFIG
from embedge.models.weight import Weight

BUNDLES = ("tiny_bundle", "tiny_learned_bundle", "tiny_standard_bundle")


@pytest.fixture(params=BUNDLES)
def graphs(request: pytest.FixtureRequest) -> list[ir.Model]:
    bundle: Path = request.getfixturevalue(request.param)
    return [read_graph(path) for path in sorted(bundle.glob("*.onnx"))]


def test_onnx_accepts_every_proto(request: pytest.FixtureRequest) -> None:
    for name in BUNDLES:
        for path in sorted(request.getfixturevalue(name).glob("*.onnx")):
            onnx.checker.check_model(path)


def test_attention_always_has_its_mask(tiny_bundle: Path, tiny_learned_bundle: Path) -> None:
    for bundle in (tiny_bundle, tiny_learned_bundle):
        for path in bundle.glob("*.onnx"):
            attention = [n for n in read_graph(path).graph if n.op_type == "MultiHeadAttention"]
            assert len(attention) == 2
            for node in attention:
                assert node.inputs[3] is None  # the bias was added before the rotation
                assert node.inputs[4] is not None


def test_standard_flavour_has_no_operator_of_onnx_runtime(tiny_standard_bundle: Path) -> None:
    for path in tiny_standard_bundle.glob("*.onnx"):
        model = read_graph(path)
        assert dict(model.graph.opset_imports) == {"": 21}
        assert {node.domain for node in model.graph} == {""}


def test_products_take_flat_rows_and_constant_weights(graphs: list[ir.Model]) -> None:
    for model in graphs:
        gemms = [node for node in model.graph if node.op_type == "Gemm"]
        # Two layers: q, k, v and the projection in both, two linears in the dense one.
        assert len(gemms) == 10
        for node in gemms:
            x, weight = node.inputs[0], node.inputs[1]
            assert x is not None
            assert x.shape is not None
            assert len(x.shape) == 2
            assert weight is not None
            assert weight.is_initializer()
            assert not node.attributes  # stored (inputs, outputs), no transpose at run time


def test_each_expert_is_one_chain_over_its_own_rows(graphs: list[ir.Model]) -> None:
    for model in graphs:
        counts = Counter(node.op_type for node in model.graph)
        assert counts["TopK"] == 1
        assert counts["NonZero"] == 4
        assert counts["Gelu"] == 5  # four experts and the dense block
        assert counts["ScatterElements"] == 1
        assert counts["LayerNormalization"] == 5


def test_inputs_outputs_and_router_values_are_named_and_described(
    graphs: list[ir.Model],
) -> None:
    for model in graphs:
        inputs = {value.name: value for value in model.graph.inputs}
        outputs = {value.name: value for value in model.graph.outputs}
        assert list(inputs) == ["input_ids", "attention_mask"]
        assert list(outputs) == ["embedding", "pooled"]
        for value in (*inputs.values(), *outputs.values()):
            assert value.doc_string
            assert value.shape is not None
        names = {value.name for node in model.graph for value in node.outputs}
        router = "encoder.layers.1.mlp.router"
        assert {f"{router}.gate_weight", f"{router}.expert", "last_hidden_state"} <= names


def test_protos_tell_other_runtimes_what_they_need(graphs: list[ir.Model]) -> None:
    for model in graphs:
        told = model.metadata_props
        assert (told["embedge.pooling"], told["embedge.max_tokens"]) == ("mean", "512")
        assert json.loads(told["embedge.trained_sizes"]) == [32, 16]
        assert json.loads(told["embedge.prompts"])["query"] == "search_query: "
        assert told["embedge.license"] == "MIT"


def test_protos_are_small_and_share_one_weight_file(real_size_bundle: Path) -> None:
    protos = sorted(real_size_bundle.glob("*.onnx"))
    assert [path.name for path in protos] == ["model-384.onnx", "model.onnx"]
    assert all(path.stat().st_size < 300_000 for path in protos)
    assert (real_size_bundle / "weights.bin").stat().st_size > 90_000_000


@pytest.mark.parametrize("rotary_base", [10000.0, None])
def test_every_checkpoint_value_is_used_exactly_once(rotary_base: float | None) -> None:
    """The table of the published model: each row of each tensor goes to one graph constant."""
    from dataclasses import replace

    config = replace(PUBLISHED_CONFIG, rotary_base=rotary_base)
    model = trace(config, 768, max_tokens=512)
    used: dict[str, list[tuple[int, int]]] = {}
    for value in model.graph.initializers.values():
        if isinstance(value, Weight):
            cut = value.cut
            used.setdefault(value.tensor_name, []).append((cut.start, cut.stop))
            if cut.plus_row_of:
                used.setdefault(cut.plus_row_of, []).append((0, 1))
    shapes = tensor_shapes(config)
    assert used.keys() == shapes.keys()
    for name, parts in used.items():
        ends = [stop for _, stop in sorted(parts)]
        assert [start for start, _ in sorted(parts)] == [0, *ends[:-1]]
        assert ends[-1] == shapes[name][0]


def test_tracing_reads_no_weight(tiny_checkpoint: Path) -> None:
    weights = open_checkpoint(tiny_checkpoint)
    model = trace(weights.config, 32, max_tokens=512)
    assert all(
        value.const_value is None
        for value in model.graph.initializers.values()
        if isinstance(value, Weight)
    )
    bind_weights(model, weights)
    bound = model.graph.initializers["embeddings.word_embeddings.weight"].const_value
    assert isinstance(bound, ir.LazyTensor)


@pytest.mark.parametrize("flavor", ["ort", "standard"])
@pytest.mark.parametrize("opset", OPSETS)
def test_every_offered_opset_gives_the_same_vectors(
    opset: int,
    flavor: Any,
    tiny_checkpoint: Path,
    tiny_bundle: Path,
    run_graph: Callable[..., list[Any]],
    tmp_path: Path,
) -> None:
    from embedge.export import export_checkpoint

    rows = [[0, 5, 17, 99, 2], [0, 300, 2]]
    bundle = export_checkpoint(
        tiny_checkpoint, tmp_path / "out", opset=opset, flavor=flavor, measure=False
    )
    onnx.checker.check_model(bundle.path / "model.onnx")
    (expected,) = run_graph(tiny_bundle / "model.onnx", rows, 2)
    (vectors,) = run_graph(bundle.path / "model.onnx", rows, 2)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-6)


def test_the_reference_evaluator_of_onnx_agrees_on_the_standard_flavour(
    tiny_standard_bundle: Path,
    tiny_checkpoint: Path,
    reference_of: Callable[..., Any],
    checkpoints: Any,
) -> None:
    from onnx.reference import ReferenceEvaluator

    rows = [[0, 5, 17, 99, 230, 2], [0, 300, 2], [7]]
    (batch,) = checkpoints.batches(rows, 3)
    for dim, name in ((32, "model.onnx"), (16, "model-16.onnx")):
        evaluator = ReferenceEvaluator(onnx.load(tiny_standard_bundle / name))
        vectors = evaluator.run(
            ["embedding"], dict(zip(("input_ids", "attention_mask"), batch, strict=True))
        )[0]
        expected = [reference_of(tiny_checkpoint).encode(row).unit(dim) for row in rows]
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=2e-5)


def test_writing_holds_one_constant_at_a_time(real_size_checkpoint: Path, tmp_path: Path) -> None:
    import tracemalloc

    weights = open_checkpoint(real_size_checkpoint)
    model = trace(weights.config, 768, max_tokens=512)
    bind_weights(model, weights)
    tracemalloc.start()
    try:
        write_graphs({"model.onnx": model}, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The largest constant is 768 x 3072 float32, 9.4 MB; the file holds ten times as much.
    assert (tmp_path / "weights.bin").stat().st_size > 90_000_000
    assert peak < 20_000_000
