"""Formats: which there are, and how to open one."""

from importlib import import_module
from typing import Protocol

from embedge.cli.output.target import Target
from embedge.cli.records import Fields, Record
from embedge.cli.values import one_of

# Format -> (module, class). A new format is one file and one line.
_WRITERS = {
    "jsonl": ("embedge.cli.output.json_records", "JsonLines"),
    "json": ("embedge.cli.output.json_records", "JsonArray"),
    "openai": ("embedge.cli.output.json_records", "OpenAiBody"),
    "csv": ("embedge.cli.output.csv_rows", "CsvRows"),
    "hex": ("embedge.cli.output.raw_bytes", "HexLines"),
    "base64": ("embedge.cli.output.raw_bytes", "Base64Lines"),
    "blob": ("embedge.cli.output.raw_bytes", "Blob"),
    "npy": ("embedge.cli.output.numpy_arrays", "NpyFile"),
    "npz": ("embedge.cli.output.numpy_arrays", "NpzFile"),
    "parquet": ("embedge.cli.output.arrow_tables", "ParquetFile"),
    "arrow": ("embedge.cli.output.arrow_tables", "ArrowFile"),
}
FORMATS = tuple(_WRITERS)
BINARY_FORMATS = ("blob", "npy", "npz", "parquet", "arrow")


class Writer(Protocol):
    """One open output. Vectors are (dim,), little-endian where bytes are written."""

    def __init__(self, target: Target, facts: Fields) -> None:
        """Start writing.

        Args:
            target: where the bytes go.
            facts: what is known before the first record: `dim` (features per vector),
                `precision`, `space`, `task`, `model`, `single` (exactly one text was asked for),
                `manifest` (JSON text of the run's description).
        """

    def write(self, record: Record) -> None:
        """Add one record."""

    def finish(self) -> None:
        """Write what comes at the end; the target is committed by the caller."""


def open_writer(format: str, target: Target, facts: Fields) -> Writer:
    """Open a writer.

    Raises:
        InvalidOption: the format is unknown.
        ModuleNotFoundError: the format needs an extra.
    """
    module, name = _WRITERS[one_of(format, FORMATS, "--format")]
    writer: Writer = getattr(import_module(module), name)(target, facts)
    return writer
