"""JSON from strangers: decoded strictly, read field by field."""

import json
from collections.abc import Iterable
from typing import NoReturn, cast

from embedge.runtime.serve.failures import BadField, RequestError

MAX_DEPTH = 32
MAX_DIM = 1 << 20
"""Beyond this a length of vectors is refused before any model is asked."""


def decode(body: bytes) -> object:
    """Decode one JSON text.

    Raises:
        RequestError: 400: not UTF-8, not JSON, NaN or infinity, or nested too deeply.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad(f"not UTF-8 at byte {error.start}; send JSON in UTF-8") from None
    try:
        value: object = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise _bad(f"the JSON is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        # Never the decoder's excerpt: texts stay out of answers and logs.
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise _bad(f"not JSON{where}; send one JSON object") from None
    if not _is_shallow(value):
        raise _bad(f"the JSON is nested deeper than {MAX_DEPTH} levels")
    return value


def _bad(message: str) -> RequestError:
    return RequestError(400, "bad_json", message)


def _no_constant(name: str) -> NoReturn:
    raise _bad(f"{name} is not JSON; numbers must be finite")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise _bad("a number is beyond the range of float64; numbers must be finite")
    return value


def _is_shallow(value: object) -> bool:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return True
    return False


def _children(value: object) -> Iterable[object]:
    found: Iterable[object] = ()
    if isinstance(value, dict):
        found = value.values()
    elif isinstance(value, list):
        found = value
    return (child for child in found if isinstance(child, dict | list))


class Fields:
    """One JSON object; every reader names the field in its error. `null` is the same as absent."""

    def __init__(self, value: object, *, known: frozenset[str] | None = None) -> None:
        """Take a decoded body.

        Args:
            value: must be an object.
            known: refuse other names; None lets them pass, as clients of other servers send
                fields of their own.

        Raises:
            BadField: it is no object, or a name is unknown.
        """
        if not isinstance(value, dict):
            raise BadField("", f"{_kind(value)} came, expected a JSON object")
        self._fields = cast("dict[str, object]", value)
        unknown = [] if known is None else sorted(self._fields.keys() - known)
        if unknown:
            names = ", ".join(sorted(known or ())) or "none"
            raise BadField("", f"{len(unknown)} unknown fields; known here: {names}")

    def get(self, name: str) -> object:
        """Return the raw value, None if it is absent."""
        return self._fields.get(name)

    def text(self, name: str) -> str | None:
        """Return a string."""
        value = self._fields.get(name)
        if value is None or isinstance(value, str):
            return value
        raise BadField(name, f"{name} is {_kind(value)}, expected a string")

    def required_text(self, name: str) -> str:
        """Return a string that must be there."""
        value = self.text(name)
        if value is None:
            raise BadField(name, f"{name} is missing")
        return whole_text(value)

    def flag(self, name: str) -> bool | None:
        """Return true or false."""
        value = self._fields.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise BadField(name, f"{name} is {_kind(value)}, expected true or false")

    def number(self, name: str) -> float | None:
        """Return a number."""
        value = self._fields.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadField(name, f"{name} is {_kind(value)}, expected a number")
        return float(value)

    def integer(self, name: str, least: int, most: int) -> int | None:
        """Return a whole number of a range."""
        value = self._fields.get(name)
        if value is None:
            return None
        number = whole_number(value)
        if number is None:
            raise BadField(name, f"{name} is {_kind(value)}, expected a whole number")
        if not least <= number <= most:
            raise BadField(name, f"{name} {number:.20g} is outside {least} to {most}")
        return number

    def choice(self, name: str, allowed: tuple[str, ...]) -> str | None:
        """Return one of some strings."""
        value = self.text(name)
        if value is None or value in allowed:
            return value
        raise BadField(name, f"{name} is unknown; choose one of {', '.join(allowed)}")

    def nested(self, name: str) -> "Fields":
        """Return an object inside, an empty one if it is absent."""
        value = self._fields.get(name)
        if value is None:
            return Fields({})
        if not isinstance(value, dict):
            raise BadField(name, f"{name} is {_kind(value)}, expected an object")
        return Fields(value)

    def texts(self, name: str) -> list[str] | None:
        """Return a list of strings; one string is a list of one."""
        value = self._fields.get(name)
        if value is None:
            return None
        if isinstance(value, str):
            return [whole_text(value)]
        if not isinstance(value, list):
            raise BadField(name, f"{name} is {_kind(value)}, expected a string or strings")
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise BadField(name, f"{name}[{index}] is {_kind(item)}, expected a string")
        return [whole_text(item) for item in value]


def whole_number(value: object) -> int | None:
    """Return a JSON number without fraction, `3.0` included, as an integer; else None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def id_list(value: object, name: str, vocabulary: int) -> list[int]:
    """Return a list of token ids.

    Raises:
        BadField: no list, or an entry is no id of the vocabulary.
    """
    if not isinstance(value, list):
        raise BadField(name, f"{name} is {_kind(value)}, expected token ids")
    ids = [whole_number(entry) for entry in value]
    found = [number for number in ids if number is not None]
    if len(found) != len(ids):
        raise BadField(name, f"{name} must be whole numbers, or lists of them")
    if not all(0 <= number < vocabulary for number in found):
        raise BadField(name, f"a token id of {name} is outside 0 to {vocabulary - 1}")
    return found


def whole_text(text: str) -> str:
    r"""Replace halves of surrogate pairs (`"\ud83d"`), which UTF-8 cannot carry, by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")
