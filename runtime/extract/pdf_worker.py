"""The process that reads PDFs: PDFium may crash, hang or grow, and must not take us with it.

Run as a program of its own, so it imports nothing of embedge on Linux. It answers requests on
standard input until that ends. A request is `HEAD` and the bytes of a file, an answer its length
(8 bytes) and JSON: `{"pages": [text, ...], "properties": {...}, "bookmarks": [[depth, title, page],
...]}` or `{"error": code}`.
"""

import json
import os
import signal
import struct
import sys
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pypdfium2

HEAD = struct.Struct(">QII")
"""Bytes of the file, most pages, seconds after which the process ends by itself."""

LENGTH = struct.Struct(">Q")

OUT_OF_MEMORY = 77
"""Exit code of a process that has outgrown its limit."""

_MAX_CHARACTERS = 200 << 20
_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD, also for security handlers that PDFium lacks
_SECURITY_ERROR = 5
_WATCH_S = 0.05
_MAX_BOOKMARKS = 10_000
_MAX_DEPTH = 16
_MAX_TITLE = 1_000


def main(max_memory: int) -> int:
    """Answer requests until there are no more.

    Args:
        max_memory: bytes of address space (Linux) or resident memory that ends the process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    _limit_memory(max_memory)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(head := requests.read(HEAD.size)) == HEAD.size:
        size, max_pages, seconds = HEAD.unpack(head)
        data = requests.read(size)
        _end_after(seconds)
        answer = _answer(data, max_pages)
        _end_after(0)
        answers.write(LENGTH.pack(len(answer)))
        answers.write(answer)
        answers.flush()
    return 0


def _answer(data: bytes, max_pages: int) -> bytes:
    try:
        found = _read(data, max_pages)
        return json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _read(data: bytes, max_pages: int) -> dict[str, object]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        code = getattr(error, "err_code", None)
        is_locked = code in (_PASSWORD_ERROR, _SECURITY_ERROR)
        return {"error": "password" if is_locked else "format"}
    try:
        if len(document) > max_pages:
            return {"error": "limit", "pages": len(document)}
        pages: list[str] = []
        characters = 0
        for number in range(len(document)):
            pages.append(_page_text(document, number))
            characters += len(pages[-1])
            if characters > _MAX_CHARACTERS:
                return {"error": "memory"}
        return {
            "pages": pages,
            "properties": document.get_metadata_dict(skip_empty=True),
            "bookmarks": _bookmarks(document),
        }
    finally:
        document.close()


def _page_text(document: "pypdfium2.PdfDocument", number: int) -> str:
    """Return the text of a page; a page that cannot be loaded is empty, as viewers show it."""
    import pypdfium2

    try:
        page = document[number]
    except pypdfium2.PdfiumError:
        return ""
    try:
        text_page = page.get_textpage()
        try:
            return str(text_page.get_text_range())
        finally:
            text_page.close()
    except pypdfium2.PdfiumError:
        return ""
    finally:
        page.close()


def _bookmarks(document: "pypdfium2.PdfDocument") -> list[tuple[int, str, int | None]]:
    """Return depth, title and page (both from 0) of the outline's entries, parents first.

    The outline is a list of trees linked by the file itself, so its depth and length are limited;
    pypdfium2 visits no entry twice. One that cannot be read is left out.
    """
    import pypdfium2

    found: list[tuple[int, str, int | None]] = []
    for entry in islice(document.get_toc(max_depth=_MAX_DEPTH), _MAX_BOOKMARKS):
        try:
            target = entry.get_dest()
            page = target.get_index() if target else None
            found.append((entry.level, str(entry.get_title())[:_MAX_TITLE], page))
        except (pypdfium2.PdfiumError, UnicodeError):
            continue
    return found


def _end_after(seconds: int) -> None:
    """Let the system end this process if nobody else is left to do it; 0 calls it off."""
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)


def _limit_memory(limit: int) -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    else:  # no limit that the system keeps: look often
        threading.Thread(target=_watch_memory, args=(limit,), daemon=True).start()


def _watch_memory(limit: int) -> None:
    from embedge.runtime.memory import resident_rss

    while True:
        if resident_rss() > limit:
            os._exit(OUT_OF_MEMORY)
        time.sleep(_WATCH_S)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1])))
