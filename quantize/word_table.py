"""Which tables are indexed by token ids, and their rows in blocks."""

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.graph_edit import constant, first_input, producer

Float32 = NDArray[np.float32]

_BLOCK_BYTES = 16 << 20


def word_gathers(graph: ir.Graph) -> list[ir.Node]:
    """Return the nodes that choose float rows by token id, in graph order."""
    return [node for node in graph if node.op_type == "Gather" and _indexed_by_tokens(node)]


def constant_of(gather: ir.Node) -> ir.TensorProtocol:
    """Return the table (rows, width) that a node of `word_gathers` reads."""
    table = constant(first_input(gather))
    assert table is not None
    return table


def row_blocks(table: Float32) -> Iterator[Float32]:
    """Yield the rows in blocks of at most 16 MiB."""
    rows = max(1, math.floor(_BLOCK_BYTES / table[:1].nbytes))
    for start in range(0, len(table), rows):
        yield table[start : start + rows]


def _indexed_by_tokens(gather: ir.Node) -> bool:
    table = constant(first_input(gather))
    if table is None or table.shape.rank() != 2 or table.dtype != ir.DataType.FLOAT:
        return False
    if "axis" in gather.attributes and gather.attributes["axis"].as_int() != 0:
        return False
    index = gather.inputs[1]
    while index is not None and not index.is_graph_input():
        node = producer(index, "Reshape", "Cast", "Identity", "Flatten", "Squeeze", "Unsqueeze")
        index = None if node is None else first_input(node)
    return index is not None and index.name == "input_ids"
