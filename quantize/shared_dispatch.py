"""One dispatch for all experts of a layer: fewer small nodes, the same numbers bit for bit.

The exporter finds the slots of each expert by itself, which reads well and costs a dozen small
nodes per expert; at five microseconds each they are a tenth of a short query. Here the slots of
all experts are found at once, rows are gathered once in expert order and split, and whatever is
computed per row between an expert's matrix products (its GELU's range, its gate weight) is computed
for all rows together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from embedge.models.graph_edit import GraphEdit, constant, producer

_PER_ROW = {
    "Add", "Sub", "Mul", "Div", "Max", "Min", "Floor", "Clip", "Cast", "Unsqueeze", "Abs",
}  # fmt: skip
"""Operators that may run over the rows of all experts instead of each expert's own."""


@dataclass(frozen=True)
class _Expert:
    """What one expert reads and writes: its slots, the tokens of these, its weighted outputs."""

    slots: ir.Value
    tokens: ir.Value
    outputs: ir.Value


@dataclass(frozen=True)
class _Mixture:
    """A layer's experts in the order of their numbers.

    Attributes:
        experts: each with the same nodes.
        chosen: expert of each slot, int64 (k * tokens,).
        per_token: constant k.
        all_slots: the Concat of the experts' slots.
        all_outputs: the Concat of their weighted outputs.
    """

    experts: tuple[_Expert, ...]
    chosen: ir.Value
    per_token: ir.Value
    all_slots: ir.Value
    all_outputs: ir.Value


def share_dispatch(model: ir.Model) -> list[str]:
    """Rewrite every mixture of experts; return the names of their choices.

    A mixture that is not exactly as expected stays: it is correct, only slower.
    """
    edit = GraphEdit(model.graph)
    shared = []
    for node in list(model.graph):
        if node.op_type == "Reshape":
            mixture = _match(node.outputs[0])
            if mixture is not None:
                _Joint(edit, mixture).rewrite()
                shared.append(str(mixture.chosen.name))
    model.graph.sort()  # so that nodes come before their readers, and unused ones go in one pass
    edit.finish()
    return shared


def _match(chosen: ir.Value) -> _Mixture | None:
    found: dict[int, ir.Value] = {}
    for equal in chosen.consumers():
        number = constant(equal.inputs[1]) if equal.op_type == "Equal" else None
        slots = _only_reader(_only_reader(equal.outputs[0], "NonZero"), "Reshape")
        if number is None or number.size != 1 or slots is None:
            return None
        found[int(number.numpy().reshape(()))] = slots
    if not found or sorted(found) != list(range(len(found))):
        return None
    slots_of = [found[i] for i in range(len(found))]
    all_slots = _concat_of(slots_of)
    divs = [[n for n in slots.consumers() if n.op_type == "Div"] for slots in slots_of]
    if all_slots is None or any(len(nodes) != 1 for nodes in divs):
        return None
    tokens = [nodes[0].outputs[0] for nodes in divs]
    per_token = divs[0][0].inputs[1]
    all_outputs = _weighted_outputs(all_slots)
    if per_token is None or constant(per_token) is None or all_outputs is None:
        return None
    outputs = list(all_outputs.producer().inputs)  # type: ignore[union-attr]  # a Concat
    if len(outputs) != len(found) or any(value is None for value in outputs):
        return None
    parts = zip(slots_of, tokens, outputs, strict=True)
    experts = tuple(_Expert(s, t, o) for s, t, o in parts if o is not None)
    return _Mixture(experts, chosen, per_token, all_slots, all_outputs)


def _only_reader(value: ir.Value | None, op_type: str) -> ir.Value | None:
    readers = [] if value is None else value.consumers()
    return readers[0].outputs[0] if [n.op_type for n in readers] == [op_type] else None


def _concat_of(values: Sequence[ir.Value]) -> ir.Value | None:
    for node in values[0].consumers():
        if node.op_type == "Concat" and list(node.inputs) == list(values):
            return node.outputs[0]
    return None


def _weighted_outputs(all_slots: ir.Value) -> ir.Value | None:
    """Return the Concat that is gathered back into token order by the inverse of `all_slots`."""
    for scatter in all_slots.consumers():
        if scatter.op_type == "ScatterElements":
            for gather in scatter.outputs[0].consumers():
                source = gather.inputs[0]
                if gather.op_type == "Gather" and source is not None:
                    if producer(source, "Concat") is not None:
                        return source
    return None


class _Joint:
    """Rewrites one mixture; values of all experts' rows are in expert order."""

    def __init__(self, edit: GraphEdit, mixture: _Mixture) -> None:
        self._edit = edit
        self._mixture = mixture
        self._name = str(mixture.chosen.name)
        self._joined: dict[tuple[ir.Value, ...], ir.Value] = {}

    def rewrite(self) -> None:
        """Change the graph; nodes without readers are left to `GraphEdit.finish`."""
        mixture, edit, name = self._mixture, self._edit, self._name
        numbers = edit.constant(
            f"experts.{len(mixture.experts)}", np.arange(len(mixture.experts))[:, None]
        )
        is_slot_of = edit.op("Equal", [mixture.chosen, numbers], f"{name}.is_slot_of")
        places = edit.op("NonZero", [is_slot_of], f"{name}.places")
        one = edit.constant("index.1", np.array(1, np.int64))
        self._slots = edit.op("Gather", [places, one], f"{name}.slots", axis=0)
        flags = edit.op("Cast", [is_slot_of], f"{name}.flags", to=int(ir.DataType.INT64))
        last = edit.constant("axes.1", np.array([1], np.int64))
        self._counts = edit.op("ReduceSum", [flags, last], f"{name}.counts", keepdims=0)
        self._tokens = edit.op("Div", [self._slots, mixture.per_token], f"{name}.tokens")
        self._gather_once([e.slots for e in mixture.experts], self._slots)
        self._gather_once([e.tokens for e in mixture.experts], self._tokens)
        self._share_ranges()
        outputs = tuple(expert.outputs for expert in mixture.experts)
        edit.replace(mixture.all_outputs, self._join(outputs))
        edit.replace(mixture.all_slots, self._slots)

    def _gather_once(self, indices: Sequence[ir.Value], joint: ir.Value) -> None:
        """Gather each source that all experts read once, and split the rows."""
        readers = [
            {n.inputs[0]: n for n in index.consumers() if _gathers_rows(n, index)}
            for index in indices
        ]
        for source in readers[0]:
            if source is None or any(source not in of_expert for of_expert in readers):
                continue
            nodes = [of_expert[source] for of_expert in readers]
            rows = self._edit.op("Gather", [source, joint], f"{nodes[0].name}.all", axis=0)
            self._split(rows, [node.outputs[0] for node in nodes])

    def _share_ranges(self) -> None:
        """Compute steps and zero points of the experts' quantizers for all rows at once."""
        branches = [self._quantizers(e.outputs) for e in self._mixture.experts]
        if len({len(branch) for branch in branches}) != 1:
            return
        for nodes in zip(*branches, strict=True):
            for place in (1, 2):
                values = tuple(node.inputs[place] for node in nodes)
                known = tuple(v for v in values if v is not None and constant(v) is None)
                if len(known) == len(nodes) and len(set(known)) > 1:
                    rows = self._join(known)
                    if producer(rows, "Concat") is None:  # else nothing was shared
                        self._split(rows, known)

    def _quantizers(self, outputs: ir.Value) -> list[ir.Node]:
        """Quantizers behind an expert's outputs, up to its gathered rows; nearest first."""
        found, seen, waiting = [], set(), [outputs]
        while waiting:
            node = waiting.pop(0).producer()
            if node is None or node in seen or node.op_type in ("Gather", "Split"):
                continue
            seen.add(node)
            if node.op_type == "QuantizeLinear":
                found.append(node)
            waiting += [value for value in node.inputs if value is not None]
        return found

    def _split(self, rows: ir.Value, old: Sequence[ir.Value]) -> None:
        """Give the readers of each expert's value its part of `rows`."""
        name = f"{rows.name}.parts"
        node = ir.node("Split", [rows, self._counts], {"axis": 0}, num_outputs=len(old), name=name)
        self._edit.graph.append(node)
        for number, (value, part) in enumerate(zip(old, node.outputs, strict=True)):
            part.name = f"{name}.{number}"
            self._edit.replace(value, part)
        self._joined[tuple(node.outputs)] = rows

    def _join(self, values: tuple[ir.Value, ...]) -> ir.Value:
        """Return the rows of all experts where `values` are those of each."""
        if values not in self._joined:
            self._joined[values] = self._joined_operator(values) or self._edit.op(
                "Concat", values, f"{values[0].name}.all", axis=0
            )
        return self._joined[values]

    def _joined_operator(self, values: tuple[ir.Value, ...]) -> ir.Value | None:
        """Return the operator behind all values over joined inputs, None where there is none."""
        nodes = [value.producer() for value in values]
        first = nodes[0]
        if first is None or first.op_type not in _PER_ROW or len(set(nodes)) != len(nodes):
            return None
        attributes = {name: a.value for name, a in first.attributes.items()}
        inputs: list[ir.Value | None] = []
        for node in nodes:
            if node is None or (node.op_type, node.domain) != (first.op_type, first.domain):
                return None
            if {name: a.value for name, a in node.attributes.items()} != attributes:
                return None
        for place in range(len(first.inputs)):
            column = tuple(node.inputs[place] for node in nodes if node is not None)
            present = tuple(value for value in column if value is not None)
            if len(present) != len(nodes):
                return None
            if all(constant(value) is not None for value in present):
                if not _equal(present):
                    return None
                inputs.append(present[0])
            else:
                inputs.append(self._join(present))
        return self._edit.op(
            first.op_type, inputs, f"{values[0].name}.all", domain=first.domain, **attributes
        )


def _gathers_rows(node: ir.Node, index: ir.Value) -> bool:
    axis = node.attributes.get("axis")
    on_rows = axis is None or axis.as_int() == 0
    return node.op_type == "Gather" and on_rows and node.inputs[1] is index


def _equal(values: Sequence[ir.Value]) -> bool:
    tensors = [constant(value) for value in values]
    first = tensors[0]
    return first is not None and all(
        t is first or (t is not None and np.array_equal(t.numpy(), first.numpy())) for t in tensors
    )
