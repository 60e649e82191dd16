"""A constant of the traced graph, and the part of the checkpoint that it is cut from."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from onnxscript import OpBuilder, nn

from embedge.models.tensor_file import Float32

# Rows that are read, changed and written at a time: 3 MiB of 768 float32.
_BLOCK_ROWS = 1024

ReadRows = Callable[[str, int, int], Float32]
"""Reads rows `start..stop` of a checkpoint tensor."""


@dataclass(frozen=True)
class Cut:
    """How a graph constant is made from rows of one checkpoint tensor.

    Attributes:
        start: first row, counted from the tensor's beginning.
        stop: one past the last row.
        transposed: the checkpoint stores (outputs, inputs), the graph multiplies by
            (inputs, outputs).
        plus_row_of: a one-row tensor added to every row.
    """

    start: int
    stop: int
    transposed: bool = False
    plus_row_of: str | None = None


class Weight(nn.Parameter):
    """A float32 graph constant.

    Its name, once traced, is the checkpoint's tensor name followed by `suffix`, which tells apart
    several constants cut from one tensor (`.q`, `.k`, `.v`, or an expert's number).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        suffix: str = "",
        first_row: int = 0,
        transposed: bool = False,
        plus_row_of: str | None = None,
    ) -> None:
        """Declare a constant of `shape`; no value is read.

        Args:
            shape: shape in the graph, (inputs, outputs) for a linear map.
            suffix: appended to the name.
            first_row: where its rows begin in the checkpoint tensor.
            transposed: the checkpoint stores the transpose.
            plus_row_of: name of a one-row tensor that is added to every row.
        """
        super().__init__(shape)
        rows = shape[-1] if transposed else shape[0]
        self._sizes = shape
        self.suffix = suffix
        self.cut = Cut(first_row, first_row + rows, transposed, plus_row_of)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Shape in the graph."""
        return self._sizes

    @property
    def tensor_name(self) -> str:
        """Name of the checkpoint tensor it is cut from."""
        assert self.name is not None
        return self.name.removesuffix(self.suffix)

    def blocks(self, read_rows: ReadRows) -> Iterator[Float32]:
        """Yield the values in row blocks of the graph's shape, in order.

        A transposed constant comes as one block: it is at most one linear map.
        """
        cut, name = self.cut, self.tensor_name
        if cut.transposed:
            yield np.ascontiguousarray(read_rows(name, cut.start, cut.stop).T)
            return
        added = read_rows(cut.plus_row_of, 0, 1) if cut.plus_row_of else None
        for start in range(cut.start, cut.stop, _BLOCK_ROWS):
            rows = read_rows(name, start, min(start + _BLOCK_ROWS, cut.stop))
            yield rows if added is None else rows + added


class Pieces(nn.Module):
    """Several constants cut from one checkpoint tensor, one after the other along its rows.

    As the attribute `w1` of a module, with the pieces `0` and `1`, they are named `w1.0`, `w1.1`.
    """

    def __init__(
        self, names: Iterable[str], shape: tuple[int, ...], *, transposed: bool = False
    ) -> None:
        """Declare one constant of `shape` per name."""
        super().__init__()
        rows = shape[-1] if transposed else shape[0]
        for n, name in enumerate(names):
            piece = Weight(shape, suffix=f".{name}", first_row=n * rows, transposed=transposed)
            setattr(self, name, piece)

    def forward(self, op: OpBuilder) -> tuple[nn.Parameter, ...]:
        return tuple(self.parameters())
