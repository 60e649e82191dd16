"""LangChain's OpenAI and Ollama classes, pointed at `embed serve`."""

import numpy as np
import pytest

from embedge import Embedder

langchain_openai = pytest.importorskip(
    "langchain_openai", reason="langchain-openai comes with the extra [integration]"
)
langchain_ollama = pytest.importorskip(
    "langchain_ollama", reason="langchain-ollama comes with the extra [integration]"
)

# These clients keep connections open until they are collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("unclosed_sockets_of_clients"),
]

TEXTS = ["Leases renew by email.", "Bees make honey."]


@pytest.fixture(scope="module")
def embedder():
    with Embedder() as opened:
        yield opened


def test_openai_embeddings_give_the_vectors_of_the_library(server_url, embedder):
    embeddings = langchain_openai.OpenAIEmbeddings(
        base_url=f"{server_url}/v1",
        api_key="none",
        model="bundled:document",
        check_embedding_ctx_length=False,
    )
    vectors = embeddings.embed_documents(TEXTS)
    np.testing.assert_allclose(vectors, embedder.encode_document(TEXTS), atol=1e-6)


def test_token_ids_of_another_model_are_refused_with_the_way_out(server_url, monkeypatch):
    openai = pytest.importorskip("openai", reason="openai comes with the extra [integration]")
    embeddings = langchain_openai.OpenAIEmbeddings(
        base_url=f"{server_url}/v1", api_key="none", model="bundled:document", max_retries=0
    )
    # What its tokenizer, which it would download, does: ids instead of texts.
    ids = [[3923, 374, 420]]
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        embeddings.client.create(input=ids, model="bundled:document")


def test_ollama_embeddings_give_the_vectors_of_the_library(server_url, embedder):
    documents = langchain_ollama.OllamaEmbeddings(base_url=server_url, model="bundled:document")
    vectors = documents.embed_documents(TEXTS)
    np.testing.assert_allclose(vectors, embedder.encode_document(TEXTS), atol=1e-6)
    queries = langchain_ollama.OllamaEmbeddings(base_url=server_url, model="bundled:query")
    vector = queries.embed_query(TEXTS[0])
    np.testing.assert_allclose(vector, embedder.encode_query(TEXTS[0]), atol=1e-6)
