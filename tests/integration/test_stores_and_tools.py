"""Chroma, Haystack, `llm` and GPT4All: each through its own front door."""

import inspect
from importlib.util import find_spec

import numpy as np
import pytest

from embedge import Embedder, SpaceMismatch

TEXTS = ["Leases renew by email.", "Bees make honey."]


def needs(module):
    reason = f"{module} is not installed; it comes with the extra [integration]"
    return pytest.mark.skipif(find_spec(module) is None, reason=reason)


@pytest.fixture(scope="module")
def embedder():
    with Embedder() as opened:
        yield opened


@needs("chromadb")
def test_chroma_embeds_documents_and_queries_by_role(embedder):
    from embedge.runtime.adapters import EmbedgeEmbeddingFunction

    function = EmbedgeEmbeddingFunction()
    assert np.array_equal(function(TEXTS), embedder.encode_document(TEXTS))
    assert np.array_equal(function.embed_query(TEXTS), embedder.encode_query(TEXTS))
    assert function.space.fingerprint == embedder.space.fingerprint


@needs("chromadb")
def test_chroma_finds_the_function_of_a_stored_collection_again(tmp_path):
    import chromadb

    from embedge.runtime.adapters import EmbedgeEmbeddingFunction

    client = chromadb.PersistentClient(str(tmp_path))
    made = client.create_collection("notes", embedding_function=EmbedgeEmbeddingFunction())
    made.add(ids=["lease", "bees"], documents=TEXTS)
    found = client.get_collection("notes").query(query_texts=["renew the lease"], n_results=1)
    assert found["ids"] == [["lease"]]


@needs("chromadb")
def test_chroma_refuses_a_collection_of_another_space():
    from embedge.runtime.adapters import EmbedgeEmbeddingFunction

    config = EmbedgeEmbeddingFunction().get_config()
    assert EmbedgeEmbeddingFunction.build_from_config(config).get_config() == config
    with pytest.raises(SpaceMismatch, match="other-12345678"):
        EmbedgeEmbeddingFunction.build_from_config(config | {"space": "other-12345678"})
    with pytest.raises(SpaceMismatch, match="a new collection"):
        EmbedgeEmbeddingFunction().validate_config_update(config, config | {"space": "other"})


@needs("haystack")
def test_haystack_embeds_documents_and_queries_by_role(embedder):
    from haystack import Document

    from embedge.runtime.adapters import EmbedgeDocumentEmbedder, EmbedgeTextEmbedder

    documents = [Document(content=text, meta={"title": "T"}) for text in TEXTS]
    embedded = EmbedgeDocumentEmbedder().run(documents)["documents"]
    vectors = np.float32([document.embedding for document in embedded])
    assert np.array_equal(vectors, embedder.encode_document(TEXTS))
    assert documents[0].embedding is None
    titled = EmbedgeDocumentEmbedder(meta_fields_to_embed=["title"]).run(documents)["documents"]
    expected = embedder.encode_document([f"T\n{text}" for text in TEXTS])
    assert np.array_equal(np.float32([document.embedding for document in titled]), expected)
    query = EmbedgeTextEmbedder().run("lease")["embedding"]
    assert np.array_equal(np.float32(query), embedder.encode_query("lease"))


@needs("haystack")
def test_haystack_stores_the_pair_in_a_pipeline():
    from haystack import Pipeline

    from embedge.runtime.adapters import EmbedgeDocumentEmbedder, EmbedgeTextEmbedder

    pipeline = Pipeline()
    pipeline.add_component("query", EmbedgeTextEmbedder(truncate_dim=128))
    pipeline.add_component("documents", EmbedgeDocumentEmbedder(meta_fields_to_embed=["title"]))
    allowed = ["embedge.runtime.adapters.haystack_embedders"]
    again = Pipeline.from_dict(pipeline.to_dict(), allowed_modules=allowed)
    assert again.to_dict() == pipeline.to_dict()
    assert len(again.get_component("query").run("lease")["embedding"]) == 128
    with pytest.raises(TypeError, match="EmbedgeDocumentEmbedder"):
        EmbedgeTextEmbedder().run(TEXTS)


@needs("llm")
def test_llm_has_a_model_for_documents_and_one_for_queries(embedder):
    import llm

    document, query = (
        llm.get_embedding_model("embedge-document"),
        llm.get_embedding_model("embedge-mini-query"),
    )
    assert np.array_equal(
        np.float32(list(document.embed_multi(TEXTS))), embedder.encode_document(TEXTS)
    )
    assert np.array_equal(np.float32(query.embed("lease")), embedder.encode_query("lease"))
    with pytest.raises(ValueError, match="binary"):
        query.embed(b"\x00")


@needs("gpt4all")
def test_the_shim_takes_every_argument_that_gpt4all_takes():
    import gpt4all

    from embedge.runtime.adapters import Embed4All

    for name in ("__init__", "embed", "close", "__enter__", "__exit__"):
        theirs = inspect.signature(getattr(gpt4all.Embed4All, name)).parameters.values()
        ours = inspect.signature(getattr(Embed4All, name)).parameters.values()
        described = [(each.name, each.kind, each.default) for each in theirs]
        assert [(each.name, each.kind, each.default) for each in ours] == described
    assert Embed4All.MIN_DIMENSIONALITY == gpt4all.Embed4All.MIN_DIMENSIONALITY


@needs("gpt4all")
def test_the_shim_takes_no_other_keyword_than_gpt4all():
    import gpt4all

    from embedge.runtime.adapters.embed4all import ConstructorOptions

    theirs = set(inspect.signature(gpt4all.GPT4All.__init__).parameters)
    used_by_embed4all = {"self", "model_name", "n_threads", "device"}
    assert set(ConstructorOptions.__annotations__) == theirs - used_by_embed4all
