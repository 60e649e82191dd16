"""Where the training text comes from, and under which licence."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TextSource:
    """A source's licence, what kind of text it is, and its address."""

    licence: str
    nature: str
    home: str


SOURCES = {
    "tatoeba": TextSource(
        "CC BY 2.0 FR",
        "everyday sentences (Tatoeba Challenge, OPUS-MT)",
        "https://tatoeba.org",
    ),
    "tatoeba-anki": TextSource(
        "CC BY 2.0 FR",
        "everyday sentences",
        "https://tatoeba.org",
    ),
    "iot-for-beginners": TextSource(
        "MIT",
        "course prose (Microsoft)",
        "https://github.com/microsoft/IoT-For-Beginners",
    ),
    "edgeai-for-beginners": TextSource(
        "MIT",
        "course prose (Microsoft)",
        "https://github.com/microsoft/edgeai-for-beginners",
    ),
    "co-op-translator-docs": TextSource(
        "MIT",
        "tool documentation (Azure)",
        "https://github.com/Azure/co-op-translator",
    ),
    "python-docs": TextSource(
        "CC0 (translations), PSF-2.0 (English)",
        "documentation",
        "https://docs.python.org",
    ),
    "django-docs": TextSource(
        "BSD-3-Clause",
        "documentation",
        "https://docs.djangoproject.com",
    ),
    "winforms-xlf": TextSource(
        "MIT",
        "messages (dotnet/winforms)",
        "https://github.com/dotnet/winforms",
    ),
    "godot-l10n": TextSource(
        "MIT",
        "interface strings (Godot)",
        "https://github.com/godotengine/godot-editor-l10n",
    ),
    "tldr": TextSource(
        "CC BY 4.0",
        "command descriptions (tldr-pages)",
        "https://tldr.sh",
    ),
    "osm-id-presets": TextSource(
        "ISC",
        "map feature names (OpenStreetMap iD)",
        "https://github.com/openstreetmap/id-tagging-schema",
    ),
    "cldr": TextSource(
        "Unicode-3.0",
        "names and keywords (Unicode CLDR)",
        "https://github.com/unicode-org/cldr-json",
    ),
    "medquad": TextSource(
        "CC BY 4.0",
        "medical questions and answers (MedQuAD)",
        "https://github.com/abachaa/MedQuAD",
    ),
    "peps": TextSource(
        "public domain, CC0",
        "sections of Python's PEPs",
        "https://github.com/python/peps",
    ),
    "django": TextSource(
        "BSD-3-Clause",
        "interface strings of the package",
        "https://github.com/django/django",
    ),
    "wagtail": TextSource(
        "BSD-3-Clause",
        "interface strings of the package",
        "https://github.com/wagtail/wagtail",
    ),
    "sphinx": TextSource(
        "BSD-2-Clause",
        "interface strings of the package",
        "https://github.com/sphinx-doc/sphinx",
    ),
    "django_oscar": TextSource(
        "BSD-3-Clause",
        "interface strings of the package",
        "https://github.com/django-oscar/django-oscar",
    ),
    "django_allauth": TextSource(
        "MIT",
        "interface strings of the package",
        "https://github.com/pennersr/django-allauth",
    ),
    "djangorestframework": TextSource(
        "BSD-3-Clause",
        "interface strings of the package",
        "https://github.com/encode/django-rest-framework",
    ),
    "stsb-mt-train": TextSource(
        "CC BY-SA 4.0",
        "headlines and captions",
        "https://github.com/PhilipMay/stsb-multi-mt",
    ),
    "indian-parallel": TextSource(
        "CC BY-SA 3.0",
        "Wikipedia sentences",
        "https://github.com/joshua-decoder/indian-parallel-corpora",
    ),
}
"""The first fourteen and the last two are in the training pack; the others are catalogues."""
