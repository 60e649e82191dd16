"""Small JSON files beside the weights: absent is empty, damaged is an error that names the file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedge.models.errors import ConfigError


def read_object(path: Path) -> Mapping[str, Any]:
    """Return the object in `path`, an empty one where there is no such file.

    Raises:
        ConfigError: the file cannot be read, or holds something else than an object.
    """
    raw = read_json(path)
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds {type(raw).__name__}, expected a JSON object")
    return raw


def read_json(path: Path) -> Any:
    """Return what `path` holds, None where there is no such file.

    Raises:
        ConfigError: the file cannot be read.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; correct or remove it") from error
