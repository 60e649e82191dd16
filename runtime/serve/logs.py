"""Lines on stderr: what the server does, and one per request without texts, paths or keys."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from embedge.models.errors import InvalidOption
from embedge.runtime.serve.options import LOG_LEVELS

_LOGGERS = ("embedge.serve", "embedge.access", "embedge.browse", "uvicorn.error")


@contextmanager
def logs_on_stderr(level: str) -> Iterator[None]:
    """Send our log lines and uvicorn's warnings to stderr within the block, from `level` on.

    Raises:
        InvalidOption: no such level.
    """
    if level not in LOG_LEVELS:
        raise InvalidOption(
            f"--log-level {level!r} is unknown; choose one of {', '.join(LOG_LEVELS)}"
        )
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(level.upper())
    if level == "info":  # its lines at this level repeat ours
        logging.getLogger("uvicorn.error").setLevel("WARNING")
    try:
        yield
    finally:
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.removeHandler(handler)
            logger.propagate = True
            logger.setLevel(logging.NOTSET)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is now, not to what it was when the server started."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)
