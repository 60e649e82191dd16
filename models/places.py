"""Where models, settings and indexes live on each platform, and what `embed models use` chose."""

import json
import os
import sys
from pathlib import Path

from embedge.models import strict_json
from embedge.models.durable import write_atomically
from embedge.models.errors import InvalidOption
from embedge.models.strict_json import Json

_SETTINGS_NAME = "settings.json"


def cache_dir() -> Path:
    """Return the folder of downloads, models and checked hashes; `EMBED_CACHE_DIR` overrides it.

    Raises:
        InvalidOption: the system names no home folder.
    """
    chosen = os.environ.get("EMBED_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        return _local_app_data() / "embedge" / "Cache"
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "embedge"
    return _xdg("XDG_CACHE_HOME", ".cache") / "embedge"


def data_dir() -> Path:
    """Return the folder of settings and indexes.

    Raises:
        InvalidOption: the system names no home folder.
    """
    if sys.platform == "win32":
        return _local_app_data() / "embedge"
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support" / "embedge"
    return _xdg("XDG_DATA_HOME", ".local/share") / "embedge"


def read_settings() -> dict[str, Json]:
    """Read the settings; empty when there are none.

    Raises:
        InvalidOption: the file is damaged.
    """
    path = data_dir() / _SETTINGS_NAME
    try:
        settings = strict_json.load(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise InvalidOption(f"{path} cannot be read: {error}. Mend or remove it.") from error
    if not isinstance(settings, dict):
        raise InvalidOption(f"{path} holds no JSON object. Mend or remove it.")
    return settings


def change_settings(**changes: Json) -> None:
    """Change some settings and keep the others; None removes one. The file is private (0600).

    Raises:
        InvalidOption: the existing file is damaged.
        OSError: the file cannot be written.
    """
    settings = read_settings() | changes
    kept = {key: value for key, value in settings.items() if value is not None}
    folder = data_dir()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = json.dumps(kept, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / _SETTINGS_NAME, text.encode("utf-8"), mode=0o600)


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise InvalidOption(f"{error}; set EMBED_CACHE_DIR (and XDG_DATA_HOME)") from error


def _xdg(variable: str, below_home: str) -> Path:
    # The XDG base directory specification ignores relative values.
    chosen = Path(os.environ.get(variable, ""))
    return chosen if chosen.is_absolute() else _home() / below_home


def _local_app_data() -> Path:
    chosen = os.environ.get("LOCALAPPDATA")
    return Path(chosen) if chosen else _home() / "AppData" / "Local"
