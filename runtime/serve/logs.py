"""Lines on stderr: what the server does, and one per request without texts, paths or keys."""

import logging
import sys
from typing import TextIO

from embedge.models.errors import InvalidOption
from embedge.runtime.serve.options import LOG_LEVELS


def set_up_logs(level: str) -> None:
    """Send our log lines and uvicorn's warnings to stderr, from `level` on.

    Raises:
        InvalidOption: no such level.
    """
    if level not in LOG_LEVELS:
        raise InvalidOption(
            f"--log-level {level!r} is unknown; choose one of {', '.join(LOG_LEVELS)}"
        )
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("embedge.serve", "embedge.access", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level.upper())
    # Its lines at info repeat ours.
    uvicorn_level = "WARNING" if level == "info" else level.upper()
    logging.getLogger("uvicorn.error").setLevel(uvicorn_level)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is now, not to what it was when the server started."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)
