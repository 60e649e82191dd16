"""INT8 word rows: one scale per row, and the rows are chosen before they become float.

Dequantizing the table before the Gather would cost the whole table at every run.
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.graph_edit import GraphEdit
from embedge.models.graph_file import BlockTensor
from embedge.quantize.word_table import constant_of, row_blocks, word_gathers

Float32 = NDArray[np.float32]
Int8 = NDArray[np.int8]

_CODES = 127
_TINY = np.float32(1e-12)


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
    for gather in word_gathers(model.graph):
        table = constant_of(gather)
        _replace(edit, gather, table)
        names.append(str(table.name))
    edit.finish()
    return names


def _replace(edit: GraphEdit, gather: ir.Node, table: ir.TensorProtocol) -> None:
    name, index, output = str(table.name), gather.inputs[1], gather.outputs[0]
    rows, width = (int(size) for size in table.shape)  # type: ignore[arg-type]  # constants have fixed shapes

    def blocks() -> Iterator[Int8]:
        for block in row_blocks(table.numpy()):
            yield quantize_rows(block)[0]

    scales = np.concatenate([quantize_rows(block)[1] for block in row_blocks(table.numpy())])
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
