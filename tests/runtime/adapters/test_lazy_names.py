"""Adapters are loaded by name, each with its own framework and no other."""

import subprocess
import sys

import pytest

from embedge import MissingExtra
from embedge.runtime import adapters

OF_EXTRAS = {
    "EmbedgeEmbeddings": ("langchain_core", "langchain"),
    "EmbedgeEmbedding": ("llama_index", "llama-index"),
    "EmbedgeEmbeddingFunction": ("chromadb", "chroma"),
    "EmbedgeTextEmbedder": ("haystack", "haystack"),
    "EmbedgeDocumentEmbedder": ("haystack", "haystack"),
}


def test_importing_the_package_loads_no_adapter():
    code = "import sys, embedge.runtime.adapters; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = done.stdout.split()
    assert "embedge.runtime.embedder" not in loaded
    assert [name for name in loaded if name.startswith("embedge.runtime.adapters.")] == []


@pytest.mark.parametrize("name", OF_EXTRAS)
def test_a_missing_framework_is_named_with_its_extra(name, monkeypatch):
    framework, extra = OF_EXTRAS[name]
    for loaded in [each for each in sys.modules if each.startswith("embedge.runtime.adapters.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.delitem(adapters.__dict__, name, raising=False)
    for loaded in [each for each in sys.modules if each.partition(".")[0] == framework]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, framework, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'embedge\[{extra}\]'"):
        getattr(adapters, name)


def test_an_unknown_adapter_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NoSuchAdapter"):
        _ = adapters.NoSuchAdapter


def test_every_adapter_is_listed():
    assert {*OF_EXTRAS, "SentenceEncoder", "Embed4All"} == set(adapters.__all__)
    assert dir(adapters) == sorted(adapters.__all__)
