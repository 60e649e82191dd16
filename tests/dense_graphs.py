"""A tiny BERT-like model: float64 reference, and `model.onnx` files as exporters write them.

No torch: the nodes are put together by hand, in the forms that are found in published files.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import erf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

HIDDEN, HEADS, INNER, LAYERS, POSITIONS = 32, 4, 64, 2, 64
EPSILON = 1e-12

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:;!?-'()"
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = [*SPECIALS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]

Array = NDArray[Any]


def random_weights(seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights under the names of transformers' BertModel, linears as (outputs, inputs)."""
    rng = np.random.default_rng(seed)
    weights: dict[str, Array] = {}

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = 1 + 0.2 * rng.standard_normal(HIDDEN)
        weights[f"{name}.weight"][3] = 4.0  # an outlier channel, as trained encoders have
        weights[f"{name}.bias"] = 0.2 * rng.standard_normal(HIDDEN)

    def linear(name: str, inputs: int, outputs: int) -> None:
        weights[f"{name}.weight"] = rng.standard_normal((outputs, inputs)) / sqrt(inputs)
        weights[f"{name}.bias"] = 0.1 * rng.standard_normal(outputs)

    for table, rows in (("word", len(VOCABULARY)), ("position", POSITIONS), ("token_type", 2)):
        weights[f"embeddings.{table}_embeddings.weight"] = rng.standard_normal((rows, HIDDEN))
    norm("embeddings.LayerNorm")
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{part}", HIDDEN, HIDDEN)
        linear(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", HIDDEN, INNER)
        linear(f"{layer}.output.dense", INNER, HIDDEN)
        norm(f"{layer}.output.LayerNorm")
    return {name: values.astype(np.float32) for name, values in weights.items()}


class Reference:
    """The model in float64, one text at a time."""

    def __init__(self, weights: dict[str, NDArray[np.float32]]) -> None:
        self.weights = {name: values.astype(np.float64) for name, values in weights.items()}

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        scale, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return centred / spread * scale + shift

    def attention(self, x: Array, name: str) -> Array:
        def heads(part: str) -> Array:
            return self.linear(x, f"{name}.self.{part}").reshape(len(x), HEADS, -1).swapaxes(0, 1)

        q, k, v = (heads(part) for part in ("query", "key", "value"))
        scores = q @ k.swapaxes(1, 2) / sqrt(HIDDEN / HEADS)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return (weights @ v).swapaxes(0, 1).reshape(len(x), HIDDEN)

    def hidden_states(self, ids: Sequence[int]) -> Array:
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][list(ids)]
        x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
        x = self.norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for i in range(LAYERS):
            layer = f"encoder.layer.{i}"
            mixed = self.attention(x, f"{layer}.attention")
            mixed = self.linear(mixed, f"{layer}.attention.output.dense")
            x = self.norm(x + mixed, f"{layer}.attention.output.LayerNorm")
            inner = self.linear(x, f"{layer}.intermediate.dense")
            inner = inner * 0.5 * (1 + np.vectorize(erf)(inner / sqrt(2)))
            x = self.norm(
                x + self.linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm"
            )
        return x

    def vector(self, ids: Sequence[int], pooling: str) -> Array:
        states = self.hidden_states(ids)
        pooled = states[0] if pooling == "cls" else states.mean(axis=0)
        return np.asarray(pooled / np.linalg.norm(pooled))


@dataclass
class DenseFile:
    """Writes the model as a graph.

    Attributes:
        weights: from `random_weights`.
        norms: `node`, or `spelt` out as files below opset 17 have it.
        gelu: `erf` spelt out, `node` of com.microsoft, or the `tanh` form (another function).
        fused: hold layers in four operators of com.microsoft, as optimized files do.
        opset: of the standard operators.
        inputs: names of the graph's inputs.
        output: name of the hidden states.
    """

    weights: dict[str, NDArray[np.float32]]
    norms: str = "node"
    gelu: str = "erf"
    fused: bool = False
    opset: int = 18
    inputs: tuple[str, ...] = ("input_ids", "attention_mask", "token_type_ids")
    output: str = "last_hidden_state"
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def constant(self, name: str, values: Any) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def number(self, value: float) -> str:
        return self.constant(f"number.{value}", np.array(value, np.float32))

    def op(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        name = f"/{output.replace('.', '/')}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def linear(self, x: str, name: str) -> str:
        # As torch writes it: the transposed weight gets a counter, the bias keeps its name.
        weight = self.constant(
            f"onnx::MatMul_{700 + len(self.constants)}", self.weights[f"{name}.weight"].T.copy()
        )
        bias = self.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.op("Add", [bias, self.op("MatMul", [x, weight], f"{name}.MatMul")], name)

    def norm(self, x: str, name: str) -> str:
        scale, shift = (
            self.constant(f"{name}.{part}", self.weights[f"{name}.{part}"])
            for part in ("weight", "bias")
        )
        if self.norms == "node":
            return self.op("LayerNormalization", [x, scale, shift], name, axis=-1, epsilon=EPSILON)
        mean = self.mean(x, f"{name}.mean")
        centred = self.op("Sub", [x, mean], f"{name}.centred")
        square = self.op("Pow", [centred, self.number(2.0)], f"{name}.square")
        variance = self.mean(square, f"{name}.variance")
        spread = self.op("Add", [variance, self.number(EPSILON)], f"{name}.spread")
        root = self.op("Sqrt", [spread], f"{name}.root")
        unit = self.op("Div", [centred, root], f"{name}.unit")
        return self.op("Add", [self.op("Mul", [unit, scale], f"{name}.scaled"), shift], name)

    def mean(self, x: str, name: str) -> str:
        if self.opset < 18:
            return self.op("ReduceMean", [x], name, axes=[-1])
        return self.op("ReduceMean", [x, self.constant("last", np.array([-1]))], name)

    def activation(self, x: str, name: str) -> str:
        if self.gelu == "node":
            return self.op("Gelu", [x], name, domain="com.microsoft")
        if self.gelu == "tanh":
            cube = self.op("Pow", [x, self.number(3.0)], f"{name}.cube")
            part = self.op("Mul", [cube, self.number(0.044715)], f"{name}.part")
            total = self.op("Add", [x, part], f"{name}.total")
            scaled = self.op("Mul", [total, self.number(sqrt(2 / np.pi))], f"{name}.scaled")
            gate = self.op("Tanh", [scaled], f"{name}.tanh")
        else:
            scaled = self.op("Div", [x, self.number(sqrt(2))], f"{name}.scaled")
            gate = self.op("Erf", [scaled], f"{name}.erf")
        gate = self.op("Add", [gate, self.number(1.0)], f"{name}.gate")
        product = self.op("Mul", [x, gate], f"{name}.product")
        return self.op("Mul", [product, self.number(0.5)], name)

    def attention(self, x: str, mask: str, name: str) -> str:
        split = self.constant("split", np.array([0, 0, HEADS, HIDDEN // HEADS]))
        parts = {}
        for part, turn in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            rows = self.linear(x, f"{name}.self.{part}")
            heads = self.op("Reshape", [rows, split], f"{name}.self.{part}.heads")
            parts[part] = self.op("Transpose", [heads], f"{name}.self.{part}.turned", perm=turn)
        scores = self.op("MatMul", [parts["query"], parts["key"]], f"{name}.self.scores")
        factor = self.number(sqrt(HIDDEN / HEADS))
        scores = self.op("Div", [scores, factor], f"{name}.self.scaled")
        scores = self.op("Add", [scores, mask], f"{name}.self.masked")
        weights = self.op("Softmax", [scores], f"{name}.self.weights", axis=-1)
        mixed = self.op("MatMul", [weights, parts["value"]], f"{name}.self.mixed")
        mixed = self.op("Transpose", [mixed], f"{name}.self.joined", perm=[0, 2, 1, 3])
        shape = self.constant("join", np.array([0, 0, HIDDEN]))
        flat = self.op("Reshape", [mixed, shape], f"{name}.self.flat")
        return self.linear(flat, f"{name}.output.dense")

    def table(self, kind: str, index: str) -> str:
        name = f"embeddings.{kind}_embeddings"
        table = self.constant(f"{name}.weight", self.weights[f"{name}.weight"])
        return self.op("Gather", [table, index], name)

    def positions(self) -> str:
        every = self.constant("every_position", np.arange(POSITIONS)[None])
        shape = self.op("Shape", ["input_ids"], "shape")
        one = self.constant("one", np.array([1]))
        length = self.op("Gather", [shape, one], "length", axis=0)
        zero = self.constant("zero", np.array([0]))
        return self.op("Slice", [every, zero, length, one], "positions")

    def additive_mask(self) -> str:
        real = self.op("Cast", ["attention_mask"], "real", to=TensorProto.FLOAT)
        missing = self.op("Sub", [self.number(1.0), real], "missing")
        axes = self.constant("axes", np.array([1, 2]))
        wide = self.op("Unsqueeze", [missing, axes], "wide")
        return self.op("Mul", [wide, self.number(-1e9)], "mask")

    def build(self) -> onnx.ModelProto:
        if self.fused:
            return self._fused()
        x = self.table("word", "input_ids")
        if "token_type_ids" in self.inputs:
            x = self.op("Add", [x, self.table("token_type", "token_type_ids")], "embeddings.typed")
        x = self.op("Add", [x, self.table("position", self.positions())], "embeddings.sum")
        mask = self.additive_mask()
        x = self.norm(x, "embeddings.LayerNorm")
        for i in range(LAYERS):
            layer = f"encoder.layer.{i}"
            mixed = self.attention(x, mask, f"{layer}.attention")
            x = self.op("Add", [mixed, x], f"{layer}.attention.sum")
            x = self.norm(x, f"{layer}.attention.output.LayerNorm")
            inner = self.activation(self.linear(x, f"{layer}.intermediate.dense"), f"{layer}.gelu")
            out = self.op("Add", [self.linear(inner, f"{layer}.output.dense"), x], f"{layer}.sum")
            x = self.norm(out, f"{layer}.output.LayerNorm")
        self.op("Identity", [x], self.output)
        return self._model()

    def named(self, *names: str) -> list[str]:
        return [self.constant(name, self.weights[name]) for name in names]

    def both(self, name: str) -> list[str]:
        return self.named(f"{name}.weight", f"{name}.bias")

    def microsoft(self, kind: str, inputs: Sequence[str], output: str, **options: Any) -> str:
        return self.op(kind, inputs, output, domain="com.microsoft", **options)

    def product(self, x: str, name: str) -> str:
        weight = self.constant(f"onnx::MatMul_{800 + len(self.constants)}",
                               self.weights[f"{name}.weight"].T.copy())  # fmt: skip
        return self.op("MatMul", [x, weight], f"{name}.MatMul")

    def _fused(self) -> onnx.ModelProto:
        """As `onnxruntime.transformers.optimizer` leaves a BERT."""
        small = {
            name: self.op("Cast", [name], f"{name}.int32", to=TensorProto.INT32)
            for name in self.inputs
        }
        tables = [
            f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")
        ]
        inputs = [small["input_ids"], small["token_type_ids"], *self.named(*tables)]
        inputs += [*self.both("embeddings.LayerNorm"), small["attention_mask"]]
        node = helper.make_node(
            "EmbedLayerNormalization", inputs, ["x", "lengths"], name="embed",
            domain="com.microsoft", epsilon=EPSILON,
        )  # fmt: skip
        self.nodes.append(node)
        x = "x"
        for i in range(LAYERS):
            layer = f"encoder.layer.{i}"
            parts = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
            weight = np.concatenate([self.weights[f"{p}.weight"].T for p in parts], axis=1)
            bias = np.concatenate([self.weights[f"{p}.bias"] for p in parts])
            packed = [
                self.constant(f"qkv_weight.{i}", weight),
                self.constant(f"qkv_bias.{i}", bias),
            ]
            mixed = self.microsoft(
                "Attention", [x, *packed, "lengths"], f"{layer}.mixed", num_heads=HEADS
            )
            x = self.skip(self.product(mixed, f"{layer}.attention.output.dense"), x,
                          f"{layer}.attention.output")  # fmt: skip
            inner = self.product(x, f"{layer}.intermediate.dense")
            bias_of = self.named(f"{layer}.intermediate.dense.bias")
            inner = self.microsoft("BiasGelu", [inner, *bias_of], f"{layer}.inner")
            x = self.skip(self.product(inner, f"{layer}.output.dense"), x, f"{layer}.output")
        self.op("Identity", [x], self.output)
        return self._model()

    def skip(self, x: str, residual: str, name: str) -> str:
        inputs = [x, residual, *self.both(f"{name}.LayerNorm"), *self.named(f"{name}.dense.bias")]
        return self.microsoft("SkipLayerNormalization", inputs, f"{name}.norm", epsilon=EPSILON)

    def _model(self) -> onnx.ModelProto:
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in self.inputs
        ]
        output = helper.make_tensor_value_info(
            self.output, TensorProto.FLOAT, ["batch", "sequence", HIDDEN]
        )
        graph = helper.make_graph(
            self.nodes, "dense", inputs, [output], list(self.constants.values())
        )
        opsets = [helper.make_opsetid("", self.opset)]
        if self.gelu == "node" or self.fused:
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


CONFIG: dict[str, Any] = {
    "architectures": ["BertModel"], "model_type": "bert", "vocab_size": len(VOCABULARY),
    "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "intermediate_size": INNER, "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
    "hidden_act": "gelu", "layer_norm_eps": EPSILON, "pad_token_id": 0,
}  # fmt: skip


def word_pieces() -> Any:
    """An uncased WordPiece tokenizer of letters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {piece: number for number, piece in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    # Published files bring their own cutting and padding.
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16, pad_id=0, pad_token="[PAD]")
    return tokenizer


def write_side_files(folder: Path, *, pooling: str = "mean", config: Any = None) -> None:
    """Write config, tokenizer and the files of Sentence Transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    word_pieces().save(str(folder / "tokenizer.json"))
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    files: dict[str, Any] = {
        "config.json": CONFIG if config is None else config,
        "modules.json": [
            {"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": HIDDEN,
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_cls_token": pooling == "cls",
        },
        "sentence_bert_config.json": {"max_seq_length": 48, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {"query": "query: ", "passage": "passage: "}
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
