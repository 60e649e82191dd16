"""`csv`: RFC 4180 in UTF-8 without byte-order mark, one column per feature."""

import csv
import io

from embedge.cli.output.numbers import digits
from embedge.cli.output.target import Target
from embedge.cli.records import Fields, Record

COLUMNS = (
    "id", "path", "chunk", "char_start", "char_end", "line_start", "line_end", "page", "n_tokens",
    "truncated", "space", "task", "error",
)  # fmt: skip


class CsvRows:
    """Rows end in CR LF, as RFC 4180 says; a failed input has its code in `error`."""

    def __init__(self, target: Target, facts: Fields) -> None:
        self._target = target
        dim = facts["dim"]
        assert isinstance(dim, int)
        self._dim = dim
        self._row([*COLUMNS, *(f"e{i}" for i in range(dim))])

    def write(self, record: Record) -> None:
        """Add one row."""
        cells = [_cell(record.fields.get(column)) for column in COLUMNS]
        vector = record.vector
        self._row(cells + (digits(vector) if vector is not None else [""] * self._dim))

    def finish(self) -> None:
        """Write nothing more."""

    def _row(self, cells: list[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(cells)
        self._target.write(line.getvalue().encode("utf-8", "backslashreplace"))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):  # the error of a failed input
        return str(value["code"])
    return str(value)
