"""INT8 word rows: one scale per row, and the rows are chosen before they become float.

Dequantizing the table before the Gather would cost the whole table at every run.
"""

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.graph_file import BlockTensor
from embedge.quantize.graph_edit import GraphEdit
from embedge.quantize.trace import constant, first_input, producer

Float32 = NDArray[np.float32]
Int8 = NDArray[np.int8]

_CODES = 127
_TINY = np.float32(1e-12)
_BLOCK_BYTES = 16 << 20


def quantize_rows(table: Float32) -> tuple[Int8, Float32]:
    """Quantize each row symmetrically to -127..127: codes (rows, width), scales (rows, 1)."""
    largest = np.abs(table).max(axis=1, keepdims=True)
    scale = np.maximum(largest / np.float32(_CODES), _TINY)
    return np.rint(table / scale).astype(np.int8), scale


def int8_embedding(model: ir.Model) -> list[str]:
    """Store the tables that token ids index as int8 rows; positions stay in float.

    Args:
        model: changed in place.

    Returns:
        Names of the quantized tables.
    """
    edit = GraphEdit(model.graph)
    names = []
    for node in list(model.graph):
        if node.op_type == "Gather" and _indexed_by_tokens(node):
            _replace(edit, node)
            names.append(str(first_input(node).name))
    edit.finish()
    return names


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


def _replace(edit: GraphEdit, gather: ir.Node) -> None:
    table, index, output = first_input(gather), gather.inputs[1], gather.outputs[0]
    name, tensor = str(table.name), constant(table)
    assert tensor is not None
    rows, width = (int(size) for size in tensor.shape)  # type: ignore[arg-type]  # constants have fixed shapes

    def blocks() -> Iterator[Int8]:
        for block in _row_blocks(tensor.numpy()):
            yield quantize_rows(block)[0]

    scales = np.concatenate([quantize_rows(block)[1] for block in _row_blocks(tensor.numpy())])
    codes = BlockTensor(blocks, ir.DataType.INT8, (rows, width), name=f"{name}.int8")
    x = edit.op(
        "Gather", [edit.lazy_constant(f"{name}.int8", codes), index], f"{name}.codes", axis=0
    )
    x = edit.op("Cast", [x], f"{name}.float_codes", to=int(ir.DataType.FLOAT))
    step = edit.op(
        "Gather", [edit.constant(f"{name}.scale", scales), index], f"{name}.steps", axis=0
    )
    x = edit.op("Mul", [x, step], f"{name}.rows")
    x.shape, x.type = output.shape, ir.TensorType(ir.DataType.FLOAT)
    edit.replace(output, x)


def _row_blocks(table: Float32) -> Iterator[Float32]:
    rows = max(1, math.floor(_BLOCK_BYTES / table[:1].nbytes))
    for start in range(0, len(table), rows):
        yield table[start : start + rows]
