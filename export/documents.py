"""The files of a bundle that people read: card, licence, notice."""

import re
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from embedge.models.card import CARD_NAME, model_card
from embedge.models.manifest import Manifest

_LICENSE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md")
_SOURCE_KEYS = ("what", "from", "license")
_NOTICE_FILES = ("NOTICE", "NOTICE.txt", "NOTICE.md")


def write_documents(folder: Path, manifest: Manifest, checkpoint: Path) -> None:
    """Write card.md, LICENSE and NOTICE; the checkpoint's own licence files go before ours."""
    (folder / CARD_NAME).write_text(model_card(manifest), encoding="utf-8", newline="\n")
    if not _copy_first(checkpoint, _LICENSE_FILES, folder / "LICENSE"):
        (folder / "LICENSE").write_text(_license(manifest), encoding="utf-8", newline="\n")
    if not _copy_first(checkpoint, _NOTICE_FILES, folder / "NOTICE"):
        (folder / "NOTICE").write_text(_notice(manifest), encoding="utf-8", newline="\n")


def _copy_first(folder: Path, names: tuple[str, ...], target: Path) -> bool:
    for name in names:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target)
            return True
    return False


def _license(manifest: Manifest) -> str:
    """The texts of all licences in the expression that we hold; the others by name."""
    texts = []
    for name in re.findall(r"[A-Za-z0-9][A-Za-z0-9.+-]*", manifest.license):
        text = files("embedge.models") / "licenses" / f"{name}.txt"
        if text.is_file():
            texts.append(text.read_text(encoding="utf-8").strip("\n"))
    head = f"{manifest.name} is licensed under: {manifest.license}"
    if not texts:
        return f"{head}\nIts publisher has the text of this licence.\n"
    return "\n\n".join([head, *texts]) + "\n"


def _notice(manifest: Manifest) -> str:
    lines = [manifest.name, f"Licence: {manifest.license}", ""]
    lines += ["Made from:"] if manifest.sources else ["Its sources were not declared."]
    lines += [_source_line(source) for source in manifest.sources]
    return "\n".join(lines) + "\n"


def _source_line(source: Mapping[str, str]) -> str:
    # A manifest that was read back has its keys in alphabetical order.
    ordered = dict.fromkeys(key for key in (*_SOURCE_KEYS, *source) if key in source)
    return "- " + ", ".join(f"{key}: {source[key]}" for key in ordered)
