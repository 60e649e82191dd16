"""The encoder, written once: modules whose parameter paths are the checkpoint's tensor names.

Calling the modules records an ONNX graph; nothing is computed and no weight is read. Everything
works on `tokens` = batch * sequence flattened rows, so that no kernel depends on the batch's
shape; only attention sees (batch, sequence, hidden).
"""

from dataclasses import dataclass
from typing import Protocol, cast

from onnx_ir import Value
from onnxscript import OpBuilder, nn

from embedge.models.config import EncoderConfig
from embedge.models.moe import MoE
from embedge.models.weight import Pieces, Weight


@dataclass(frozen=True)
class BatchShape:
    """Sizes of the running batch, as graph values.

    Attributes:
        ids: int64 (2,), batch and sequence.
        hidden: int64 (3,), batch, sequence and hidden.
        sequence: int64 scalar.
    """

    ids: Value
    hidden: Value
    sequence: Value


class AttentionForm(Protocol):
    """The operators that attention is written with, one implementation per flavour of the graph."""

    def prepare(self, op: OpBuilder, attention_mask: Value, shape: BatchShape) -> None:
        """Record what all layers share: the mask in this form, the rotation tables."""

    def attend(self, op: OpBuilder, q: Value, k: Value, v: Value) -> Value:
        """Rotate q and k where the model does, then softmax(q k' / sqrt(head) + mask) v.

        All are (batch, sequence, hidden), heads side by side.
        """


class Encoder(nn.Module):
    """Token ids to hidden states: int64 (batch, sequence) -> (tokens, hidden)."""

    def __init__(self, config: EncoderConfig, attention: AttentionForm) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.emb_ln = LayerNorm(config)
        self.encoder = Layers(config, attention)
        self._config = config
        self._attention = attention

    def forward(self, op: OpBuilder, input_ids: Value, attention_mask: Value) -> Value:
        shape = _batch_shape(op, input_ids, self._config.hidden)
        self._attention.prepare(op, attention_mask, shape)
        x = self.embeddings(op, input_ids, shape)
        x = self.emb_ln(op, x)
        return cast(Value, self.encoder(op, x, shape))


def _batch_shape(op: OpBuilder, input_ids: Value, hidden: int) -> BatchShape:
    ids = op.Shape(input_ids)
    return BatchShape(
        ids=ids,
        hidden=op.Concat(ids, [hidden], axis=0),
        sequence=op.Squeeze(op.Shape(input_ids, start=1, end=2), [0]),
    )


class Embeddings(nn.Module):
    """Word rows plus positions where learned; the only token-type row is added in advance.

    It is added to the positions where there are any, so that word rows stay as they were trained:
    those of a model that keeps them in 4-bit blocks are then stored without any loss.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        type_row = "embeddings.token_type_embeddings.weight"
        self.position_embeddings: Table | None = None
        if config.rotary_base is not None:
            self.word_embeddings = Table(config.vocabulary, config.hidden, plus_row_of=type_row)
        else:
            self.word_embeddings = Table(config.vocabulary, config.hidden)
            self.position_embeddings = Table(config.positions, config.hidden, plus_row_of=type_row)

    def forward(self, op: OpBuilder, input_ids: Value, shape: BatchShape) -> Value:
        x = self.word_embeddings(op, op.Reshape(input_ids, [-1]))
        if self.position_embeddings is None:
            return cast(Value, x)
        positions = op.Expand(op.Range(0, shape.sequence, 1), shape.ids)
        return cast(Value, op.Add(x, self.position_embeddings(op, op.Reshape(positions, [-1]))))


class Table(nn.Module):
    """Rows chosen by index: int64 (tokens,) -> (tokens, hidden)."""

    def __init__(self, rows: int, hidden: int, plus_row_of: str | None = None) -> None:
        super().__init__()
        self.weight = Weight((rows, hidden), plus_row_of=plus_row_of)

    def forward(self, op: OpBuilder, index: Value) -> Value:
        return cast(Value, op.Gather(self.weight, index, axis=0))


class Layers(nn.Module):
    """The stack of layers; no norm follows the last one."""

    def __init__(self, config: EncoderConfig, attention: AttentionForm) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(config, i, attention) for i in range(config.layers)])

    def forward(self, op: OpBuilder, x: Value, shape: BatchShape) -> Value:
        for layer in self.layers:
            x = layer(op, x, shape)
        return x


class Layer(nn.Module):
    """Attention, then a dense or a mixture block; each is added to its input and normalised."""

    def __init__(self, config: EncoderConfig, layer: int, attention: AttentionForm) -> None:
        super().__init__()
        self.attn = Attention(config, attention)
        self.norm1 = LayerNorm(config)
        self.mlp: nn.Module = MoE(config) if config.is_moe(layer) else Mlp(config)
        self.norm2 = LayerNorm(config)

    def forward(self, op: OpBuilder, x: Value, shape: BatchShape) -> Value:
        h = self.norm1(op, op.Add(self.attn(op, x, shape), x))
        return cast(Value, self.norm2(op, op.Add(self.mlp(op, h), h)))


class Attention(nn.Module):
    """Bidirectional multi-head attention with biases on all four maps."""

    def __init__(self, config: EncoderConfig, attention: AttentionForm) -> None:
        super().__init__()
        self.Wqkv = ThreeLinears(config.hidden)
        self.out_proj = Linear(config.hidden, config.hidden)
        self._hidden = config.hidden
        self._attention = attention

    def forward(self, op: OpBuilder, x: Value, shape: BatchShape) -> Value:
        q, k, v = (op.Reshape(part, shape.hidden) for part in self.Wqkv(op, x))
        a = self._attention.attend(op, q, k, v)
        return cast(Value, self.out_proj(op, op.Reshape(a, [-1, self._hidden])))


class ThreeLinears(nn.Module):
    """q, k and v from one tensor that holds all q rows, then all k rows, then all v rows.

    Three products instead of one: a split of (tokens, 3 * hidden) would copy it.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = Pieces("qkv", (hidden, hidden), transposed=True)
        self.bias = Pieces("qkv", (hidden,))

    def forward(self, op: OpBuilder, x: Value) -> tuple[Value, ...]:
        parts = zip(self.weight(op), self.bias(op), strict=True)
        return tuple(op.Gemm(x, weight, bias) for weight, bias in parts)


class Mlp(nn.Module):
    """The dense block: gelu(h @ fc1 + b1) @ fc2 + b2, with the exact (erf) GELU."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.fc1 = Linear(config.hidden, config.inner)
        self.fc2 = Linear(config.inner, config.hidden)

    def forward(self, op: OpBuilder, h: Value) -> Value:
        return cast(Value, self.fc2(op, op.Gelu(self.fc1(op, h), approximate="none")))


class Linear(nn.Module):
    """Linear map with bias: (tokens, inputs) -> (tokens, outputs)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = Weight((inputs, outputs), transposed=True)
        self.bias = Weight((outputs,))

    def forward(self, op: OpBuilder, x: Value) -> Value:
        return cast(Value, op.Gemm(x, self.weight, self.bias))


class LayerNorm(nn.Module):
    """Normalise every row, then scale and shift its features."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.weight = Weight((config.hidden,))
        self.bias = Weight((config.hidden,))
        self._epsilon = config.epsilon

    def forward(self, op: OpBuilder, x: Value) -> Value:
        return cast(
            Value,
            op.LayerNormalization(x, self.weight, self.bias, axis=-1, epsilon=self._epsilon),
        )
