"""Checks and conversions of flag values; every message names the flag and what it takes."""

import difflib
import json
from collections.abc import Sequence

from embedge.models.errors import InvalidOption


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
