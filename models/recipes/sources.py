"""Where the training text comes from, and under which licence."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TextSource:
    """A source's licence and what kind of text it is."""

    licence: str
    nature: str


SOURCES = {
    "tatoeba": TextSource("CC BY 2.0 FR", "everyday sentences (Tatoeba Challenge, OPUS-MT)"),
    "tatoeba-anki": TextSource("CC BY 2.0 FR", "everyday sentences"),
    "iot-for-beginners": TextSource("MIT", "course prose (Microsoft)"),
    "edgeai-for-beginners": TextSource("MIT", "course prose (Microsoft)"),
    "co-op-translator-docs": TextSource("MIT", "tool documentation (Azure)"),
    "python-docs": TextSource("CC0 (translations), PSF-2.0 (English)", "documentation"),
    "django-docs": TextSource("BSD-3-Clause", "documentation"),
    "winforms-xlf": TextSource("MIT", "messages (dotnet/winforms)"),
    "godot-l10n": TextSource("MIT", "interface strings (Godot)"),
    "tldr": TextSource("CC BY 4.0", "command descriptions (tldr-pages)"),
    "osm-id-presets": TextSource("ISC", "map feature names (OpenStreetMap iD)"),
    "cldr": TextSource("Unicode-3.0", "names and keywords (Unicode CLDR)"),
    "medquad": TextSource("CC BY 4.0", "medical questions and answers (MedQuAD)"),
    "peps": TextSource("public domain, CC0", "sections of Python's PEPs"),
    "django": TextSource("BSD-3-Clause", "interface strings of the package"),
    "wagtail": TextSource("BSD-3-Clause", "interface strings of the package"),
    "sphinx": TextSource("BSD-2-Clause", "interface strings of the package"),
    "django_oscar": TextSource("BSD-3-Clause", "interface strings of the package"),
    "django_allauth": TextSource("MIT", "interface strings of the package"),
    "djangorestframework": TextSource("BSD-3-Clause", "interface strings of the package"),
    "stsb-mt-train": TextSource("CC BY-SA 4.0", "headlines and captions"),
    "indian-parallel": TextSource("CC BY-SA 3.0", "Wikipedia sentences"),
}
"""The first fourteen and the last two are in the training pack; the others are catalogues."""
