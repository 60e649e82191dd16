"""Graphs on disk: small protos over one weight file, written in a stream and read lazily."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.bundle import WEIGHTS_NAME
from embedge.models.errors import BundleError
from embedge.models.steps import StepProgress, no_progress

# Tensors of at least this size leave the proto, so that its 2 GB limit never matters.
EXTERNAL_BYTES = 64 * 1024
# The size of a memory page: every tensor can be mapped at its own offset.
ALIGNMENT = 4096

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

    Constants of at least 64 KiB go to the weight file, each at a page boundary; a name that
    occurs in several graphs is written once. Tensors are evaluated one at a time.

    Args:
        graphs: file name of the proto (`model.onnx`) to graph.
        folder: an existing folder without a weight file.
        progress: told the bytes written, under the step `write weights`.

    Raises:
        BundleError: two graphs use one name for constants of different shape or type.
    """
    external = _external_tensors(graphs)
    total = sum(tensor.nbytes for tensor in external.values())
    stored: dict[str, ir.ExternalTensor] = {}
    done = 0
    with (folder / WEIGHTS_NAME).open("xb") as file:
        for name, tensor in external.items():
            progress("write weights", done, total)
            offset = -(-file.tell() // ALIGNMENT) * ALIGNMENT
            file.write(bytes(offset - file.tell()))
            _write_values(tensor, file)
            if file.tell() - offset != tensor.nbytes:
                raise BundleError(
                    f"{name} wrote {file.tell() - offset} bytes, expected {tensor.nbytes}; "
                    f"the model cannot be written"
                )
            stored[name] = ir.ExternalTensor(
                WEIGHTS_NAME, offset, tensor.nbytes, tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()), name=name, base_dir=folder,
            )  # fmt: skip
            done += tensor.nbytes
    progress("write weights", total, total)
    for file_name, model in graphs.items():
        write_proto(model, stored, folder / file_name)


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
            elif tensor.nbytes >= EXTERNAL_BYTES:
                first = external.setdefault(name, tensor)
                if (first.dtype, first.shape) != (tensor.dtype, tensor.shape):
                    problems.append(
                        f"{file_name}: {name} is {tensor.dtype.name}{list(tensor.shape)}, in "
                        f"another graph {first.dtype.name}{list(first.shape)}"
                    )
    if problems:
        raise BundleError(f"the graphs cannot share a weight file: {'; '.join(problems)}")
    return external
