"""Numbers and values as text."""

import json

from embedge.runtime.number_text import digits as digits
from embedge.runtime.number_text import json_array as json_array


def json_text(value: object) -> str:
    """Return compact JSON; lone surrogates (from file names) are escaped, the rest is UTF-8."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text
