import zipfile
from pathlib import Path

import pytest

from embedge.models.recipes.training_text import Pair, read_catalogues

CATALOGUE = """\
msgid ""
msgstr ""
"Language: ca\\n"

#: views.py:12
msgid "Save the file"
msgstr "Desa el fitxer"

#, fuzzy
msgid "Open the window"
msgstr "Obre la porta"

#, python-format
msgid ""
"Delete <strong>%(name)s</strong> "
"for ever?"
msgstr ""
"Voleu suprimir <strong>%(name)s</strong> "
"per sempre?"

msgid "Untranslated message"
msgstr ""

msgid "Wi-Fi"
msgstr "Wi-Fi"
"""


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "shop-2.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("shop/locale/ca/LC_MESSAGES/django.po", CATALOGUE)
        archive.writestr("shop/locale/ca_ES/LC_MESSAGES/django.po", CATALOGUE)
        archive.writestr("shop/locale/en/LC_MESSAGES/django.po", CATALOGUE)
        archive.writestr("shop/README.po", CATALOGUE)
    return path


def test_catalogues_give_each_translation_once_without_markup(wheel: Path) -> None:
    assert read_catalogues([wheel]) == [
        Pair("ca", "shop", "Desa el fitxer", "Save the file"),
        Pair("ca", "shop", "Voleu suprimir per sempre?", "Delete for ever?"),
    ]


def test_a_wheel_without_catalogues_gives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "plain-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("plain/__init__.py", "")

    assert read_catalogues([path]) == []
