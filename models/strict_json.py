"""JSON without its traps: no NaN, no doubled keys, no broken text, bounded size and depth."""

import json
import stat
from pathlib import Path

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

MAX_BYTES = 64 << 20
"""No file of ours comes near; a larger one is refused before it is read into memory."""


def loads(text: str) -> Json:
    """Decode one JSON text.

    Raises:
        ValueError: not JSON, a doubled key, NaN or a number beyond float64, an unpaired surrogate
            (it could never be written back as UTF-8), or nesting beyond Python's stack.
    """
    try:
        value: Json = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
        )
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def load(path: Path) -> Json:
    """Read and decode a JSON file in UTF-8.

    Raises:
        OSError: the file cannot be read.
        ValueError: not a plain file, larger than `MAX_BYTES`, not UTF-8, or as in `loads`.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a plain file")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"{status.st_size} bytes, at most {MAX_BYTES} are read")
    return loads(path.read_text(encoding="utf-8"))


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        doubled = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"the key {doubled[0]!r} occurs twice in one object")
    return found


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits} is beyond the range of float64")
    return value
