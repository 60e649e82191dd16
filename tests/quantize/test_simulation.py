"""The recipe again, in numpy and from the checkpoint: per site and end to end.

Only the bundle's manifest and statistics are read; the arithmetic is written here a second time.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from embedge.models.checkpoint import open_checkpoint
from embedge.models.graph_file import read_graph
from embedge.models.sample_texts import language_sentences

F = np.float32


class Recipe:
    """What `embedge.json` and `calibration.json` of an int8 bundle say, for 8 or 7 bits."""

    def __init__(self, bundle: Path, bits: int) -> None:
        self.sites = json.loads((bundle / "embedge.json").read_text())["calibration"]["sites"]
        self.statistics = json.loads((bundle / "calibration.json").read_text())
        self.largest, self.zero, self.steps = (255, 128, 127) if bits == 8 else (127, 64, 63)
        self.shift_key = "shift" if bits == 8 else "shift_7_bits"

    def columns(self, w: Any) -> tuple[Any, Any]:
        scale = np.abs(w).max(axis=0) / F(127)
        return np.rint(w / scale), scale

    def smoothing(self, site: str, weights: Sequence[Any]) -> Any:
        alpha = self.sites[site]["alpha"]
        a = np.maximum(np.array(self.statistics["norms"][site]["calibration"]), 1e-5)
        w = np.maximum(np.max([np.abs(w).max(axis=1) for w in weights], axis=0), 1e-5)
        s = a**alpha / w.astype(np.float64) ** (1 - alpha)
        return np.array([float(np.format_float_scientific(v, precision=3)) for v in s], F)

    def correction(self, name: str, w: Any, codes: Any, scale: Any, s: Any = 1.0) -> Any:
        moments = self.statistics["moments"][name]
        if moments["rows"] < 100:
            return 0.0
        return (np.array(moments["mean"], F) / s) @ (w - codes * scale.astype(np.float64))

    def norm_fed(self, x: Any, site: str, w: Any, name: str, s: Any) -> Any:
        """(rows, inputs) by (inputs, outputs), without bias."""
        smoothed, w = (x / s).astype(F), (s[:, None] * w).astype(F)
        codes, scale = self.columns(w)
        if self.sites[site]["method"] == "static" and self.steps == 127:
            step = F(self.sites[site]["range"]) / F(self.steps)
            q = np.clip(np.rint(smoothed / step) + self.zero, 0, self.largest) - self.zero
        else:
            step = np.abs(smoothed).max(axis=1, keepdims=True) * F(1 / self.steps)
            q = np.rint(smoothed / step)
        return (q @ codes) * scale * step + self.correction(name, w, codes, scale, s)

    def per_row(self, x: Any, w: Any) -> Any:
        x = x.astype(F)
        codes, scale = self.columns(w)
        step = np.maximum(np.abs(x).max(axis=1, keepdims=True), F(1e-8)) * F(1 / self.steps)
        return (np.rint(x / step) @ codes) * scale * step

    def gelu_fed(self, g: Any, site: str, w: Any, name: str) -> Any:
        g, c0 = g.astype(F), F(self.sites[site][self.shift_key])
        codes, scale = self.columns(w)
        m = g.max(axis=1, keepdims=True)
        z = np.clip(np.floor(F(self.largest * float(c0)) / (m + c0)), 1, self.steps)
        step = np.maximum(c0 / z, m * F(1 / (self.largest - 1)))
        q = np.clip(np.rint(g / step) + z, 0, 255)
        out = (q @ codes) * scale * step - c0 * scale * codes.sum(axis=0)
        return out + self.correction(name, w, codes, scale)


@pytest.fixture(scope="session")
def simulation(reference: ModuleType) -> Callable[..., Any]:
    """Make the numpy model of a checkpoint under the recipe of an int8 bundle."""

    class Simulation(reference.Reference):  # type: ignore[name-defined, misc]
        recipe: Recipe

        def tensor_rows(self, name: str, rows: Sequence[int]) -> Any:
            table = self.tensor(name) + self.tensor("embeddings.token_type_embeddings.weight")
            table = table.astype(F)[list(rows)]
            scale = np.abs(table).max(axis=1, keepdims=True) / F(127)
            # The caller adds the type row, which is inside the table already.
            return np.rint(table / scale) * scale - self.tensor(
                "embeddings.token_type_embeddings.weight"
            )

        def site_of(self, name: str) -> str:
            layer = int(name.split(".")[2])
            if ".mlp" in name:
                return f"encoder.layers.{layer}.norm1"
            return f"encoder.layers.{layer - 1}.norm2" if layer else "emb_ln"

        def attention(self, x: Any, name: str) -> Any:
            self.x, self.attention_name = x, name
            return super().attention(x, name)

        def split_qkv(self, qkv: Any) -> Any:
            x, name = self.x, self.attention_name
            site = self.site_of(name)
            thirds = np.split(self.qkv_weight(name).astype(F).T, 3, axis=1)
            s = self.recipe.smoothing(site, thirds)
            parts = [
                self.recipe.norm_fed(x, site, w, f"{name}.Wqkv.weight.{part}", s)
                for part, w in zip("qkv", thirds, strict=True)
            ]
            return super().split_qkv(np.concatenate(parts, axis=1) + self.qkv_bias(name))

        def project(self, flat: Any, weight: Any, name: str) -> Any:
            return self.recipe.per_row(flat, weight.astype(F).T) + self.tensor(
                f"{name}.out_proj.bias"
            )

        def dense(self, h: Any, name: str) -> Any:
            fc1, fc2 = (self.tensor(f"{name}.{fc}.weight").astype(F).T for fc in ("fc1", "fc2"))
            site = self.site_of(name)
            s = self.recipe.smoothing(site, [fc1])
            inner = self.recipe.norm_fed(h, site, fc1, f"{name}.fc1.weight", s)
            g = self.gelu(inner + self.tensor(f"{name}.fc1.bias"))
            out = self.recipe.gelu_fed(g, f"{name}.fc2.weight", fc2, f"{name}.fc2.weight")
            return out + self.tensor(f"{name}.fc2.bias")

        def expert(self, h: Any, name: str, e: int) -> Any:
            count, mlp = self.config["num_experts"], f"{name}.experts.mlp"
            first = [self.w1(name, n).astype(F).T for n in range(count)]
            site = self.site_of(name)
            s = self.recipe.smoothing(site, first)
            g = self.gelu(self.recipe.norm_fed(h, site, first[e], f"{mlp}.w1.{e}", s))
            w2 = self.w2(name, e).astype(F)
            return self.recipe.gelu_fed(g, f"{mlp}.w2", w2, f"{mlp}.w2.{e}")

    def make(checkpoint: Path, bundle: Path, bits: int) -> Any:
        weights = open_checkpoint(checkpoint)
        config = json.loads((checkpoint / "config.json").read_text())
        model = Simulation(lambda name: weights.tensor(name).astype(np.float64), config)
        model.recipe = Recipe(bundle, bits)
        return model

    return make


@pytest.fixture(scope="session")
def sentence_rows(checkpoints: ModuleType) -> list[list[int]]:
    tokenizer = checkpoints.tiny_tokenizer()
    texts = [text for own in list(language_sentences().values())[:40] for text in own[:2]]
    return [tokenizer.encode(f"search_query: {text}").ids for text in texts]


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 7])
@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_graph_and_simulation_agree_end_to_end(
    request: pytest.FixtureRequest,
    simulation: Callable[..., Any],
    run: Callable[..., Any],
    sentence_rows: list[list[int]],
    positions: str,
    bits: int,
) -> None:
    kind = "tiny" if positions == "rotary" else "tiny_learned"
    bundle: Path = request.getfixturevalue(f"{kind}_int8")
    model = simulation(request.getfixturevalue(f"{kind}_checkpoint"), bundle, bits)
    graph = read_graph(bundle / ("model.onnx" if bits == 8 else "model-avx2.onnx"))
    cosines = [
        float(model.encode(row).unit() @ run(graph, np.array([row]), ["embedding"])[0][0])
        for row in sentence_rows
    ]
    # A last-bit difference may turn a code or an expert, so single texts may differ more.
    assert np.mean(cosines) >= 0.9999


@pytest.mark.parametrize("bits", [8, 7])
def test_every_site_equals_numpy_on_identical_inputs(
    tiny_int8: Path, tiny_bundle: Path, run: Callable[..., Any], random_ids: Any, bits: int
) -> None:
    recipe = Recipe(tiny_int8, bits)
    graph = read_graph(tiny_int8 / ("model.onnx" if bits == 8 else "model-avx2.onnx"))
    ids = random_ids([40, 7, 23], vocabulary=600)
    products = [n for n in graph.graph if n.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 4 + 2 + 4 + 8  # two attentions, one dense block, four experts
    for product in products:
        source, choices = _float_source(product)
        wanted = [source, product.outputs[0], *(value for value, _ in choices)]
        x, y, *rows = _values(graph, run, ids, wanted)
        for chosen, (_, part) in zip(rows, choices, strict=True):
            x = x[chosen] if part is None else np.split(x, np.cumsum(chosen)[:-1])[part]
        expected = _product(recipe, product, x)
        np.testing.assert_allclose(expected, y, atol=1e-5)


def _float_source(product: ir.Node) -> tuple[ir.Value, list[tuple[ir.Value, int | None]]]:
    """The float rows behind a product, and how its own are chosen from them.

    Each choice is an index of rows, or row counts of parts with the number of the part.
    """
    value = product.inputs[0]
    choices: list[tuple[ir.Value, int | None]] = []
    while True:
        assert value is not None
        node = value.producer()
        assert node is not None
        if node.op_type in ("Gather", "Split"):
            chosen = node.inputs[1]
            assert chosen is not None
            choices.insert(0, (chosen, value.index() if node.op_type == "Split" else None))
        if node.op_type == "QuantizeLinear":
            assert node.inputs[0] is not None
            return node.inputs[0], choices
        value = node.inputs[0]


def _values(graph: ir.Model, run: Any, ids: Any, wanted: Sequence[ir.Value]) -> list[Any]:
    copy = graph.clone()
    known = {value.name: value for node in copy.graph for value in node.outputs}
    names = list(dict.fromkeys(str(value.name) for value in wanted))
    for name in names:
        value = known[name]
        if value.type is None:
            is_choice = name.endswith((".tokens", ".counts"))
            kind = ir.DataType.INT64 if is_choice else ir.DataType.FLOAT
            value.type = ir.TensorType(kind)
        if not value.is_graph_output():
            copy.graph.outputs.append(value)
    found = dict(zip(names, run(copy, ids, names), strict=True))
    return [found[str(value.name)] for value in wanted]


def _product(recipe: Recipe, product: ir.Node, x: Any) -> Any:
    """`step * scale * sum(codes) + bias`, from the stored int8 weight and scale alone."""
    codes, scale = (np.array(product.inputs[i].const_value.numpy()) for i in (1, 3))  # type: ignore[union-attr]  # constants
    static = len(product.inputs) > 4 and float(product.inputs[2].const_value.numpy()) != 1.0  # type: ignore[union-attr]  # constant
    bias = product.inputs[6].const_value.numpy() if len(product.inputs) > 6 else 0.0  # type: ignore[union-attr]  # constant
    name = str(product.inputs[1].name).removesuffix(".int8")  # type: ignore[union-attr]  # constant
    if static:
        step = F(product.inputs[2].const_value.numpy())  # type: ignore[union-attr]  # constant
        q = np.clip(np.rint(x / step) + recipe.zero, 0, recipe.largest) - recipe.zero
        return (q @ codes.astype(np.float64)) * scale * step + bias
    head, _, tail = name.rpartition(".")
    site = recipe.sites.get(head if tail.isdecimal() else name, {"method": "row"})
    if site["method"] != "shifted":
        step = np.abs(x).max(axis=1, keepdims=True) * F(1 / recipe.steps)
        return (np.rint(x / step) @ codes.astype(np.float64)) * scale
    c0 = F(site[recipe.shift_key])
    m = x.max(axis=1, keepdims=True)
    z = np.clip(np.floor(F(recipe.largest * float(c0)) / (m + c0)), 1, recipe.steps)
    step = np.maximum(c0 / z, m * F(1 / (recipe.largest - 1)))
    return ((np.rint(x / step) + z) @ codes.astype(np.float64)) * scale
