"""From the bytes of a file to its text."""

from embedge.runtime.extract.document import Document
from embedge.runtime.extract.pdf_process import stop_reading
from embedge.runtime.extract.reader import extract, extract_found

__all__ = ["Document", "extract", "extract_found", "stop_reading"]
