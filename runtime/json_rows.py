"""One row of JSON Lines as a text: which field holds it, and which its id."""

import json

from embedge.models.errors import InputError


def text_of_row(line: str, field: str, id_field: str | None) -> tuple[str | None, str]:
    """Return the id, None without `id_field`, and the text of a row.

    Raises:
        InputError: `bad_row`: not a JSON object, or a field is missing or of another type.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})", "bad_row") from None
    if not isinstance(row, dict):
        raise InputError(f"holds {type(row).__name__}, expected an object", "bad_row")
    text = text_field(row.get(field), field, is_there=field in row)
    return None if id_field is None else id_value(row.get(id_field), id_field), text


def text_field(value: object, field: str, *, is_there: bool = True) -> str:
    """Return the value of a text field.

    Raises:
        InputError: `bad_row`: it is missing, or no text.
    """
    if not isinstance(value, str):
        found = f"is {type(value).__name__}" if is_there else "is missing"
        raise InputError(f"field {field!r} {found}, expected text", "bad_row")
    return value


def id_value(value: object, field: str) -> str:
    """Return the value of an id field.

    Raises:
        InputError: `bad_row`: it is neither text nor a whole number.
    """
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(f"field {field!r} is no text or whole number, expected an id", "bad_row")
    return str(value)
