"""Graphs on disk: small protos over one weight file, written in a stream and read lazily."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.bundle import WEIGHTS_NAME
from embedge.models.errors import BundleError
from embedge.models.steps import StepProgress, no_progress

# Tensors of at least this size leave the proto, so that its 2 GB limit never matters and the
# protos of a bundle (one per variant and size) do not repeat biases and scales. Smaller ones stay:
# shapes and indices must be seen when a graph is checked.
EXTERNAL_BYTES = 1024
# Tensors of this size and more are named apart in every graph of a bundle, and begin at a memory
# page, so that each can be mapped by itself. Smaller ones are shared where their bytes are equal.
MAPPED_BYTES = 64 * 1024
ALIGNMENT = 4096
_SMALL_ALIGNMENT = 64

Blocks = Callable[[], Iterator[NDArray[np.generic]]]
"""Yields the values of a tensor in order, as arrays whose rows follow each other."""


class BlockTensor(ir.LazyTensor):
    """A tensor whose values are made in row blocks while they are written, and never kept."""

    def __init__(
        self, blocks: Blocks, dtype: ir.DataType, shape: tuple[int, ...], *, name: str
    ) -> None:
        super().__init__(self._whole, dtype, ir.Shape(shape), name=name)
        self._blocks = blocks

    def _whole(self) -> ir.TensorProtocol:
        values = np.concatenate(list(self._blocks())).reshape(self.shape.numpy())
        return ir.Tensor(values, name=self.name)

    def tofile(self, file: BinaryIO) -> None:
        """Write the values block by block."""
        for block in self._blocks():
            file.write(np.ascontiguousarray(block).data)


def write_graphs(
    graphs: Mapping[str, ir.Model], folder: Path, progress: StepProgress = no_progress
) -> None:
    """Write one `weights.bin` for all graphs, and each graph as a proto that points into it.

    Constants of at least 1 KiB go to the weight file, those of 64 KiB and more each at a page
    boundary. Of the latter, a name that occurs in several graphs is written once; the smaller ones
    are written once where bytes, type and shape are equal. Tensors are evaluated one at a time.

    Args:
        graphs: file name of the proto (`model.onnx`) to graph.
        folder: an existing folder without a weight file.
        progress: told the bytes written, under the step `write weights`.

    Raises:
        BundleError: two graphs use one name for large constants of different shape or type.
    """
    external = _external_tensors(graphs)
    total = sum(tensor.nbytes for tensor in external.values())
    stored: dict[str, ir.ExternalTensor] = {}
    done = 0
    with (folder / WEIGHTS_NAME).open("xb") as file:
        for name, tensor in external.items():
            progress("write weights", done, total)
            stored[name] = _append(tensor, name, file, folder, ALIGNMENT)
            done += tensor.nbytes
        small = _append_small(graphs, file, folder)
    progress("write weights", total, total)
    for file_name, model in graphs.items():
        write_proto(model, stored | small[file_name], folder / file_name)


def _append(
    tensor: ir.TensorProtocol, name: str, file: BinaryIO, folder: Path, alignment: int
) -> ir.ExternalTensor:
    offset = -(-file.tell() // alignment) * alignment
    file.write(bytes(offset - file.tell()))
    _write_values(tensor, file)
    if file.tell() - offset != tensor.nbytes:
        raise BundleError(
            f"{name} wrote {file.tell() - offset} bytes, expected {tensor.nbytes}; "
            f"the model cannot be written"
        )
    return ir.ExternalTensor(
        WEIGHTS_NAME, offset, tensor.nbytes, tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()), name=name, base_dir=folder,
    )  # fmt: skip


def _append_small(
    graphs: Mapping[str, ir.Model], file: BinaryIO, folder: Path
) -> dict[str, dict[str, ir.ExternalTensor]]:
    """Write constants of 1 to 64 KiB; return them by graph and name.

    Variants of a bundle use one name for different values (an offset depends on the activation
    codes), so what is shared follows from the bytes.
    """
    written: dict[tuple[bytes, ir.DataType, tuple[int, ...]], ir.ExternalTensor] = {}
    stored: dict[str, dict[str, ir.ExternalTensor]] = {}
    for file_name, model in graphs.items():
        stored[file_name] = {}
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is None or not EXTERNAL_BYTES <= tensor.nbytes < MAPPED_BYTES:
                continue
            values = np.ascontiguousarray(tensor.numpy())
            key = (hashlib.sha256(values.tobytes()).digest(), tensor.dtype, values.shape)
            if key not in written:
                written[key] = _append(tensor, name, file, folder, _SMALL_ALIGNMENT)
            stored[file_name][name] = _named(written[key], name)
    return stored


def _named(tensor: ir.ExternalTensor, name: str) -> ir.ExternalTensor:
    return ir.ExternalTensor(
        tensor.location, tensor.offset, tensor.length, tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()), name=name, base_dir=tensor.base_dir,
    )  # fmt: skip


def _write_values(tensor: ir.TensorProtocol, file: BinaryIO) -> None:
    if isinstance(tensor, BlockTensor):
        tensor.tofile(file)
    else:
        # A view of the map for a tensor that lies in another weight file: nothing is copied.
        file.write(np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data)


def write_proto(model: ir.Model, stored: Mapping[str, ir.ExternalTensor], path: Path) -> None:
    """Write a graph whose constants named in `stored` already lie in a weight file beside it."""
    inline = {}
    for name, value in model.graph.initializers.items():
        if name in stored:
            inline[name] = value.const_value
            value.const_value = stored[name]
    try:
        proto = ir.to_proto(model)
    finally:
        for name, tensor in inline.items():
            model.graph.initializers[name].const_value = tensor
    path.write_bytes(proto.SerializeToString(deterministic=True))


def read_graph(path: Path) -> ir.Model:
    """Read a proto; its large constants are mapped from the weight file when first used.

    Raises:
        BundleError: the file is not an ONNX graph.
    """
    try:
        return ir.load(path)
    except Exception as error:
        # The protobuf library raises its own kinds for damaged files.
        raise BundleError(
            f"{path} cannot be read as an ONNX graph: {error}. Export the bundle again."
        ) from error


def _external_tensors(graphs: Mapping[str, ir.Model]) -> dict[str, ir.TensorProtocol]:
    external: dict[str, ir.TensorProtocol] = {}
    problems = []
    for file_name, model in graphs.items():
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is None:
                problems.append(f"{file_name}: {name} has no value")
            elif tensor.nbytes >= MAPPED_BYTES:
                first = external.setdefault(name, tensor)
                if (first.dtype, first.shape) != (tensor.dtype, tensor.shape):
                    problems.append(
                        f"{file_name}: {name} is {tensor.dtype.name}{list(tensor.shape)}, in "
                        f"another graph {first.dtype.name}{list(first.shape)}"
                    )
    if problems:
        raise BundleError(f"the graphs cannot share a weight file: {'; '.join(problems)}")
    return external
