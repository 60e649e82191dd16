"""A small dense encoder with 3-D activations, int8 bundles of the tiny models, and a runner."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from embedge.models.graph_file import read_graph

HIDDEN, HEADS, INNER, LAYERS, VOCABULARY = 32, 4, 64, 2, 96
Run = Callable[..., list[NDArray[Any]]]


class DenseEncoder:
    """Writes a BERT-like graph as a plain exporter would: MatMul, Add, spelt-out GELU, 3-D."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def op(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def linear(self, x: str, name: str, inputs: int, outputs: int) -> str:
        values = self.rng.standard_normal((inputs, outputs)).astype(np.float32) / np.sqrt(inputs)
        weight = self.constant(f"{name}.weight", values.astype(np.float32))
        bias = self.constant(
            f"{name}.bias", self.rng.standard_normal(outputs).astype(np.float32) * np.float32(0.1)
        )
        product = self.op("MatMul", [x, weight], f"{name}.matmul")
        return self.op("Add", [bias, product], f"{name}.out")

    def norm(self, x: str, name: str) -> str:
        gamma = 1 + 0.2 * self.rng.standard_normal(HIDDEN)
        gamma[3] = 4.0  # an outlier channel, as trained encoders have
        beta = 0.2 * self.rng.standard_normal(HIDDEN)
        scale = self.constant(f"{name}.weight", gamma.astype(np.float32))
        shift = self.constant(f"{name}.bias", beta.astype(np.float32))
        return self.op("LayerNormalization", [x, scale, shift], f"{name}.out", axis=-1)

    def gelu(self, x: str, name: str) -> str:
        root = self.constant(f"{name}.root", np.array(np.sqrt(2), np.float32))
        one = self.constant(f"{name}.one", np.array(1, np.float32))
        half = self.constant(f"{name}.half", np.array(0.5, np.float32))
        scaled = self.op("Div", [x, root], f"{name}.scaled")
        gate = self.op("Add", [self.op("Erf", [scaled], f"{name}.erf"), one], f"{name}.gate")
        product = self.op("Mul", [x, gate], f"{name}.product")
        return self.op("Mul", [product, half], f"{name}.out")

    def heads(self, x: str, name: str) -> str:
        shape = self.constant(f"{name}.split", np.array([0, 0, HEADS, -1], np.int64))
        split = self.op("Reshape", [x, shape], f"{name}.heads")
        return self.op("Transpose", [split], f"{name}.by_head", perm=[0, 2, 1, 3])

    def attention(self, x: str, mask: str, name: str) -> str:
        q, k, v = (
            self.heads(self.linear(x, f"{name}.{part}", HIDDEN, HIDDEN), f"{name}.{part}")
            for part in "qkv"
        )
        turned = self.op("Transpose", [k], f"{name}.turned", perm=[0, 1, 3, 2])
        factor = self.constant(f"{name}.factor", np.array((HIDDEN / HEADS) ** -0.5, np.float32))
        scores = self.op("MatMul", [q, turned], f"{name}.scores")
        scores = self.op("Mul", [scores, factor], f"{name}.scaled")
        weights = self.op("Add", [scores, mask], f"{name}.masked")
        weights = self.op("Softmax", [weights], f"{name}.weights", axis=-1)
        mixed = self.op("MatMul", [weights, v], f"{name}.mixed")
        joined = self.op("Transpose", [mixed], f"{name}.joined", perm=[0, 2, 1, 3])
        shape = self.constant(f"{name}.join", np.array([0, 0, HIDDEN], np.int64))
        flat = self.op("Reshape", [joined, shape], f"{name}.flat")
        return self.linear(flat, f"{name}.out_proj", HIDDEN, HIDDEN)

    def layer(self, x: str, mask: str, name: str) -> str:
        attended = self.attention(x, mask, f"{name}.attn")
        h = self.norm(self.op("Add", [attended, x], f"{name}.sum1"), f"{name}.norm1")
        inner = self.gelu(self.linear(h, f"{name}.fc1", HIDDEN, INNER), f"{name}.gelu")
        out = self.linear(inner, f"{name}.fc2", INNER, HIDDEN)
        return self.norm(self.op("Add", [out, h], f"{name}.sum2"), f"{name}.norm2")

    def build(self) -> onnx.ModelProto:
        table = self.rng.standard_normal((VOCABULARY, HIDDEN)).astype(np.float32)
        words = self.op("Gather", [self.constant("words.weight", table), "input_ids"], "rows")
        real = self.op("Cast", ["attention_mask"], "real", to=TensorProto.FLOAT)
        axes = self.constant("axes", np.array([1, 2], np.int64))
        one, far = (
            self.constant(name, np.array(value, np.float32))
            for name, value in (("one", 1.0), ("far", -1e9))
        )
        missing = self.op("Sub", [one, real], "missing")
        wide = self.op("Unsqueeze", [missing, axes], "wide")
        mask = self.op("Mul", [wide, far], "mask")
        x = self.norm(words, "emb_ln")
        for i in range(LAYERS):
            x = self.layer(x, mask, f"layers.{i}")
        first = self.constant("first_axis", np.array([1], np.int64))
        row = self.op("Unsqueeze", [real, first], "row")
        total = self.op("Squeeze", [self.op("MatMul", [row, x], "total"), first], "flat_total")
        count = self.op("ReduceSum", [real, first], "count", keepdims=1)
        self.op("Div", [total, count], "pooled")
        self.op("LpNormalization", ["pooled"], "embedding", axis=-1, p=2)
        return self._model()

    def _model(self) -> onnx.ModelProto:
        batch = ["batch", "sequence"]
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, batch)
            for name in ("input_ids", "attention_mask")
        ]
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", HIDDEN])
            for name in ("embedding", "pooled")
        ]
        graph = helper.make_graph(self.nodes, "dense", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.fixture
def dense_graph() -> ir.Model:
    """A dense two-layer encoder of hidden 32, 3-D throughout, fresh for every test."""
    return ir.from_proto(DenseEncoder(seed=5).build())


@pytest.fixture
def moe_graph(tiny_bundle: Path) -> ir.Model:
    """The tiny mixture encoder, fresh for every test."""
    return read_graph(tiny_bundle / "model.onnx")


@pytest.fixture
def either_graph(request: pytest.FixtureRequest) -> ir.Model:
    """The graph whose fixture a test names by indirect parameter."""
    graph: ir.Model = request.getfixturevalue(request.param)
    return graph


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a graph in memory: `run(model, ids, mask, outputs)`, each row of ids padded with 1."""
    import onnxruntime

    def call(
        model: ir.Model,
        ids: NDArray[np.int64],
        outputs: Sequence[str] = ("embedding", "pooled"),
        threads: int = 1,
    ) -> list[NDArray[Any]]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        proto = ir.to_proto(_inline(model))
        session = onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        mask = (ids != 1).astype(np.int64)
        result: list[NDArray[Any]] = session.run(
            list(outputs), {"input_ids": ids, "attention_mask": mask}
        )
        return result

    return call


def _inline(model: ir.Model) -> ir.Model:
    """Return a copy whose constants are all held in memory."""
    copy = model.clone()
    for name, value in copy.graph.initializers.items():
        assert value.const_value is not None
        value.const_value = ir.tensor(np.array(value.const_value.numpy()), name=name)
    return copy


@pytest.fixture(scope="session")
def random_ids() -> Callable[..., NDArray[np.int64]]:
    """Give padded rows of random ids: `<s>` 0, tokens, `</s>` 2, padding 1."""

    def make(lengths: Sequence[int], seed: int = 0, vocabulary: int = VOCABULARY) -> Any:
        rng = np.random.default_rng(seed)
        ids = np.ones((len(lengths), max(lengths)), np.int64)
        for row, length in enumerate(lengths):
            ids[row, :length] = rng.integers(4, vocabulary, length)
            ids[row, 0], ids[row, length - 1] = 0, 2
        return ids

    return make


@pytest.fixture(scope="session")
def tiny_int8(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8 bundle of `tiny_bundle`, not measured."""
    return _quantize(tiny_bundle, tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_learned_int8(tiny_learned_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8 bundle of the model with learned positions, not measured."""
    return _quantize(tiny_learned_bundle, tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_standard_int8(
    tiny_standard_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """int8 bundle in standard operators, not measured."""
    return _quantize(tiny_standard_bundle, tmp_path_factory)


def _quantize(bundle: Path, factory: pytest.TempPathFactory, **options: Any) -> Path:
    from embedge.quantize import quantize_bundle

    out: Path = factory.mktemp("int8") / bundle.name
    return quantize_bundle(bundle, out, measure=False, **options).bundle


@pytest.fixture(scope="session")
def statistics_of(run: Run) -> Callable[..., Any]:
    """Calibrate a graph in memory on rows of ids: the first half sets ranges, the second checks."""
    from embedge.quantize.calibrate import summarise
    from embedge.quantize.probes import add_probes

    def measure(model: ir.Model, ids: NDArray[np.int64]) -> Any:
        copy = model.clone()
        probes = add_probes(copy)
        totals = []
        for half in np.array_split(ids, 2):
            values = run(copy, half, [probe.output for probe in probes])
            totals.append(
                {
                    (probe.source, probe.what): np.asarray(value, np.float64).reshape(-1)
                    for probe, value in zip(probes, values, strict=True)
                }
            )
        return summarise(probes, totals[0], totals[1], "0" * 64, int((ids != 1).sum()))

    return measure
