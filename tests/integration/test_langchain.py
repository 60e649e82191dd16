"""`EmbedgeEmbeddings` passes LangChain's own suites."""

import asyncio

import numpy as np
import pytest

pytest.importorskip("langchain_tests", reason="langchain-tests comes with the extra [integration]")

from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from embedge import Embedder
from embedge.runtime.adapters import EmbedgeEmbeddings

TEXTS = ["Leases renew by email.", "Bees make honey."]


class TestUnitSuite(EmbeddingsUnitTests):
    @property
    def embeddings_class(self):
        return EmbedgeEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": "bundled", "dimensionality": 128}


class TestIntegrationSuite(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self):
        return EmbedgeEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": "bundled"}


@pytest.fixture(scope="module")
def model():
    return EmbedgeEmbeddings(dimensionality=128)


def test_vectors_are_those_of_the_embedder_with_the_prefix_of_their_role(model):
    with Embedder(dim=128) as embedder:
        documents, query = embedder.encode_document(TEXTS), embedder.encode_query("lease")
        clusters = embedder.encode(TEXTS, task="clustering")
        assert model.space.fingerprint == embedder.space.fingerprint
    assert np.array_equal(np.float32(model.embed_documents(TEXTS)), documents)
    assert np.array_equal(np.float32(model.embed_query("lease")), query)
    assert np.array_equal(np.float32(model.embed(TEXTS, task_type="clustering")), clusters)


def test_awaited_vectors_are_the_same(model):
    async def both():
        return await asyncio.gather(model.aembed_documents(TEXTS), model.aembed_query("lease"))

    documents, query = asyncio.run(both())
    assert documents == model.embed_documents(TEXTS)
    assert query == model.embed_query("lease")


def test_no_documents_give_no_vectors(model):
    assert model.embed_documents([]) == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"inference_mode": "remote"}, "inference_mode"),
        ({"device": "gpu"}, "device"),
        ({"dimensionality": 4096}, "4096"),
    ],
)
def test_what_a_local_cpu_cannot_do_is_a_value_error(arguments, word):
    with pytest.raises(ValueError, match=word):
        EmbedgeEmbeddings(**arguments)


def test_an_unknown_argument_is_a_type_error():
    with pytest.raises(TypeError):
        EmbedgeEmbeddings(vision_model="nomic-embed-vision-v1.5")
