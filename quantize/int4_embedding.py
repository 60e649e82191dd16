"""4-bit word rows in blocks of 32, for models that were trained with such rows.

Rounding finished rows to 4 bits costs about 1e-3 in cosine, so this form is chosen only where it
changes nothing: where every block already is a scale times whole numbers from -8 to 7. The codes
are then carried over exactly.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.graph_edit import GraphEdit
from embedge.models.graph_file import BlockTensor
from embedge.quantize.word_table import constant_of, row_blocks, word_gathers

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
Float16 = NDArray[np.float16]

BLOCK = 32
_ZERO = 8
_LOWEST, _HIGHEST = -8, 7

# A checkpoint in half precision keeps 11 bits of every value and of the scale behind it.
_TOLERANCE = 2.0**-9
_HALF_STEP = 2.0**-24  # spacing of the smallest half-precision values


def four_bit_scales(table: Float32) -> Float16 | None:
    """Find the scale of every block of rows that have a 4-bit form.

    Args:
        table: (rows, width); width is a multiple of 64.

    Returns:
        Scales (rows, width / 32), or None where a value is further than 2^-9 of its block's largest
        from the nearest code.
    """
    blocks = _blocks(table)
    scale = _scales(blocks)
    codes = np.rint(_ratio(blocks, scale))
    error = np.abs(codes * scale.astype(np.float32)[..., None] - blocks)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    return None if (error > _TOLERANCE * largest + _HALF_STEP).any() else scale


def four_bit_codes(table: Float32, scale: Float16) -> UInt8:
    """Return the codes of rows whose scales `four_bit_scales` found, as bytes (rows, width / 2).

    Column j lies in the low bits of byte j, column j + width / 2 in its high bits, each as
    code + 8.
    """
    rows, width = table.shape
    codes = np.rint(_ratio(_blocks(table), scale))
    flat = (codes.reshape(rows, width) + _ZERO).astype(np.uint8)
    low, high = flat[:, : width // 2], flat[:, width // 2 :]
    packed: UInt8 = low | np.left_shift(high, 4, dtype=np.uint8)
    return packed


def find_four_bit_tables(model: ir.Model) -> dict[str, Float16]:
    """Return the scales of every word table whose rows are 4-bit blocks, by its name.

    This is the slow part of the form, and the same for every graph of a bundle.
    """
    found = {}
    for gather in word_gathers(model.graph):
        table = constant_of(gather)
        width = int(table.shape[1])  # type: ignore[arg-type]  # constants have fixed shapes
        scale = None if width % (2 * BLOCK) else _table_scales(table)
        if scale is not None:
            found[str(table.name)] = scale
    return found


def int4_embedding(model: ir.Model, scales: Mapping[str, Float16]) -> None:
    """Store word tables in 4 bits; other tables stay.

    Args:
        model: changed in place.
        scales: of the tables to store so, from `find_four_bit_tables`.
    """
    edit = GraphEdit(model.graph)
    for gather in word_gathers(model.graph):
        table = constant_of(gather)
        if str(table.name) in scales:
            _replace(edit, gather, table, scales[str(table.name)])
    edit.finish()


def _table_scales(table: ir.TensorProtocol) -> Float16 | None:
    """Return the scales of a table, or None at the first rows that have none.

    Finding them is the slow part, so they are kept, at 1/64 of the table's bytes; codes are made
    from them while they are written.
    """
    parts = []
    for block in row_blocks(table.numpy()):
        scale = four_bit_scales(block)
        if scale is None:
            return None
        parts.append(scale)
    return np.concatenate(parts)


def _blocks(table: Float32) -> Float32:
    rows, width = table.shape
    return table.reshape(rows, width // BLOCK, BLOCK)


def _scales(blocks: Float32) -> Float16:
    """Return the scale of each block, or of the nearest form, half precision."""
    place = np.abs(blocks).argmax(axis=-1)[..., None]
    largest = np.take_along_axis(blocks, place, axis=-1)[..., 0]
    best = np.zeros_like(largest)
    least = np.full_like(largest, np.inf)
    # The largest magnitude is some code times the scale; which one, the other values tell. There
    # is a code -8 and no 8, so the scale is negative where a block needs 8.
    for code in range(_LOWEST, 0):
        scale = largest / code
        codes = np.clip(np.rint(_ratio(blocks, scale)), _LOWEST, _HIGHEST)
        energy = np.maximum((codes * codes).sum(axis=-1), 1)
        fitted = (codes * blocks).sum(axis=-1) / energy
        error = np.abs(codes * fitted[..., None] - blocks).max(axis=-1)
        # A finer scale always fits at least as well; only a real gain counts.
        better = error < 0.5 * least
        best, least = np.where(better, fitted, best), np.where(better, error, least)
    half: Float16 = best.astype(np.float16)
    return half


def _ratio(blocks: Float32, scale: NDArray[np.floating]) -> Float32:
    safe = np.where(scale == 0, 1, scale).astype(np.float32)
    ratio: Float32 = blocks / safe[..., None]
    return ratio


def _replace(edit: GraphEdit, gather: ir.Node, table: ir.TensorProtocol, scale: Float16) -> None:
    name, index, output = str(table.name), gather.inputs[1], gather.outputs[0]
    rows, width = (int(size) for size in table.shape)  # type: ignore[arg-type]  # constants have fixed shapes

    def codes() -> Iterator[UInt8]:
        start = 0
        for block in row_blocks(table.numpy()):
            yield four_bit_codes(block, scale[start : start + len(block)])
            start += len(block)

    packed = BlockTensor(codes, ir.DataType.UINT8, (rows, width // 2), name=f"{name}.int4")
    x = edit.op(
        "Gather", [edit.lazy_constant(f"{name}.int4", packed), index], f"{name}.bytes", axis=0
    )
    fifteen = edit.constant("int4.low_bits", np.array(15, np.uint8))
    four = edit.constant("int4.bits", np.array(4, np.uint8))
    halves = [
        edit.op("BitwiseAnd", [x, fifteen], f"{name}.low"),
        edit.op("BitShift", [x, four], f"{name}.high", direction="RIGHT"),
    ]
    x = edit.op("Concat", halves, f"{name}.codes", axis=-1)
    x = edit.op("Cast", [x], f"{name}.float_codes", to=int(ir.DataType.FLOAT))
    zero = edit.constant("int4.zero_point", np.array(_ZERO, np.float32))
    x = edit.op("Sub", [x, zero], f"{name}.signed_codes")
    blocks = edit.constant(f"{name}.block_shape", np.array([-1, width // BLOCK, BLOCK], np.int64))
    x = edit.op("Reshape", [x, blocks], f"{name}.blocks")  # (tokens, blocks, 32)
    step = edit.op(
        "Gather", [edit.constant(f"{name}.int4_scale", scale), index], f"{name}.half_steps", axis=0
    )
    step = edit.op("Cast", [step], f"{name}.block_steps", to=int(ir.DataType.FLOAT))
    per_block = edit.constant(f"{name}.step_shape", np.array([-1, width // BLOCK, 1], np.int64))
    step = edit.op("Reshape", [step, per_block], f"{name}.steps")
    x = edit.op("Mul", [x, step], f"{name}.scaled_blocks")
    # Token ids may be flat or (texts, tokens).
    columns = edit.constant(f"{name}.width", np.array([width], np.int64))
    of_ids = edit.op("Shape", [index], f"{name}.shape_of_ids")
    shape = edit.op("Concat", [of_ids, columns], f"{name}.row_shape", axis=0)
    x = edit.op("Reshape", [x, shape], f"{name}.rows")
    x.shape, x.type = output.shape, ir.TensorType(ir.DataType.FLOAT)
    edit.replace(output, x)
