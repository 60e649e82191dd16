import tarfile
import zipfile
from pathlib import Path

import pytest

from embedge.models.recipes.training_text import Graded, Pair, read_catalogues, read_graded

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


def test_files_that_are_no_wheel_are_skipped(wheel: Path, tmp_path: Path) -> None:
    text, package = tmp_path / "broken-1.0-py3-none-any.whl", tmp_path / "dictionary-1.0.tgz"
    text.write_text(CATALOGUE)
    with tarfile.open(package, "w:gz") as archive:
        archive.add(text, "dictionary/locale/ca/LC_MESSAGES/dictionary.po")

    assert read_catalogues([text, package]) == []
    assert read_catalogues([text, wheel, package]) == read_catalogues([wheel])


def test_graded_pairs_have_their_language_and_grade_without_the_head_of_the_table(
    tmp_path: Path,
) -> None:
    zstandard = pytest.importorskip("zstandard", reason="needs the extra train")
    table = (
        "lang\tgenre\trow\tscore\tsentence1\tsentence2\n"
        "en\tmain-captions\t7\t3.2\tA large boat at the marina.\tA large boat on the sea.\n"
        "ja\tmain-captions\t8\t0\t大きな船です。\t猫がいます。\n"
    )
    (tmp_path / "sts.tsv.zst").write_bytes(zstandard.ZstdCompressor().compress(table.encode()))

    assert read_graded(tmp_path) == [
        Graded("en", "A large boat at the marina.", "A large boat on the sea.", 3.2),
        Graded("ja", "大きな船です。", "猫がいます。", 0.0),
    ]


def test_a_pack_without_graded_pairs_gives_none(tmp_path: Path) -> None:
    assert read_graded(tmp_path) == []
