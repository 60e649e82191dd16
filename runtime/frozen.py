"""In a frozen program there is no interpreter beside it, so it starts itself as a worker.

The first argument then is the name of the worker; `main` of such a program calls `work_if_asked`
before anything else.
"""

import sys
from collections.abc import Sequence

PDF_WORKER = "__read_pdfs__"
"""Reads PDFs; see `extract/pdf_worker.py`."""


def is_frozen() -> bool:
    """Say whether this program was packed together with its interpreter."""
    return bool(getattr(sys, "frozen", False))


def work_if_asked(arguments: Sequence[str]) -> None:
    """Do the work of a worker and exit, if the first of the arguments names one."""
    if arguments[:1] == [PDF_WORKER]:
        from embedge.runtime.extract.pdf_worker import main

        raise SystemExit(main(int(arguments[1])))
