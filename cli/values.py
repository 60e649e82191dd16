"""Checks and conversions of flag values; every message names the flag and what it takes."""

import difflib
import json
import re
from collections.abc import Sequence

from embedge.models.errors import InvalidOption

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*")


def one_of(value: str, allowed: Sequence[str], flag: str) -> str:
    """Return `value` if it is allowed.

    Raises:
        InvalidOption: it is not; the message gives the nearest spelling.
    """
    if value in allowed:
        return value
    near = difflib.get_close_matches(value.lower(), allowed, n=1)
    way_out = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(allowed)}"
    raise InvalidOption(f"{flag} {value!r} is unknown; {way_out}")


def size_in_bytes(value: str, flag: str) -> int:
    """Read `800MB` (powers of 1000), `1GiB` (powers of 1024) or a plain number of bytes.

    Raises:
        InvalidOption: it is none of these, or not above zero.
    """
    from embedge.runtime.memory import parse_size

    try:
        return parse_size(value)
    except InvalidOption as error:
        raise InvalidOption(f"{flag}: {error}") from None


def seconds(value: str, flag: str, *, zero: bool = False) -> float:
    """Read `2s`, `15m`, `1.5h`, `1d` or `2w`.

    Args:
        value: as typed.
        flag: for the message.
        zero: whether no time at all is a time.

    Raises:
        InvalidOption: anything else.
    """
    match = _DURATION.fullmatch(value.lower())
    found = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not match or not (found or zero):
        raise InvalidOption(f"{flag} {value!r} is no time; write it like 30s, 15m, 12h or 30d")
    return found


def json_object(value: str, flag: str) -> dict[str, object]:
    """Read a JSON object.

    Raises:
        InvalidOption: it is no JSON, or no object.
    """
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise InvalidOption(f"{flag} is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise InvalidOption(f'{flag} is not an object; write it like \'{{"key": "value"}}\'')
    return parsed
