"""Reading and changing a graph; new names depend on nothing but the model."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

CONTRIB = "com.microsoft"

Attribute = int | float | str | Sequence[int] | ir.TensorProtocol


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return the tensor behind an initializer or a Constant node, else None."""
    if value is None:
        return None
    return ir.convenience.get_const_tensor(value)


def producer(value: ir.Value, *op_types: str) -> ir.Node | None:
    """Return the node that makes `value` if it has one of these types."""
    node = value.producer()
    return node if node is not None and node.op_type in op_types else None


def first_input(node: ir.Node) -> ir.Value:
    """Return the first input, which every op handled here has."""
    value = node.inputs[0]
    assert value is not None, f"{node.op_type} {node.name} has no first input"
    return value


class GraphEdit:
    """Adds nodes to the end of a graph; `finish` brings all nodes into order again.

    Every new node takes its name from the linear, norm or table it serves, so the same model and
    statistics give the same bytes.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph

    @property
    def has_contrib(self) -> bool:
        """Whether the graph may use ONNX Runtime's own operators."""
        return CONTRIB in self.graph.opset_imports

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        name: str,
        *,
        domain: str = "",
        **attributes: Attribute,
    ) -> ir.Value:
        """Append a node with one output and return that; `name` names both."""
        node = ir.node(op_type, inputs, attributes or None, domain=domain, name=name)
        node.outputs[0].name = name
        self.graph.append(node)
        return node.outputs[0]

    def constant(self, name: str, values: NDArray[np.generic]) -> ir.Value:
        """Return the initializer of that name, made from `values` if the graph lacks it."""
        return self.lazy_constant(name, ir.tensor(np.array(values, order="C"), name=name))

    def lazy_constant(self, name: str, tensor: ir.TensorProtocol) -> ir.Value:
        """Return the initializer of that name, bound to `tensor` if the graph lacks it."""
        if name in self.graph.initializers:
            return self.graph.initializers[name]
        value = ir.Value(
            name=name,
            const_value=tensor,
            shape=ir.Shape(tensor.shape.numpy()),
            type=ir.TensorType(tensor.dtype),
        )
        self.graph.register_initializer(value)
        return value

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Let every reader of `old`, graph outputs included, read `new`, under the old name."""
        if old.is_graph_output():
            old.name, new.name = f"{old.name}/replaced", old.name
            new.shape, new.type = old.shape, old.type
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)

    def finish(self) -> None:
        """Drop what nothing reads any more, constants included, and sort the nodes."""
        remove_unused(self.graph)
        self.graph.sort()


def remove_unused(graph: ir.Graph) -> None:
    """Remove nodes without readers, then constants without readers."""
    for node in reversed(graph):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def lazy(
    make: Callable[[], NDArray[np.generic]], dtype: ir.DataType, shape: tuple[int, ...], name: str
) -> ir.LazyTensor:
    """Return a tensor that is computed each time it is read, and never kept."""
    return ir.LazyTensor(
        lambda: ir.Tensor(np.ascontiguousarray(make()), name=name),
        dtype=dtype,
        shape=ir.Shape(shape),
        name=name,
    )
