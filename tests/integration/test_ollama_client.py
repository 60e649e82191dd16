"""The official `ollama` client against `embed serve`."""

import numpy as np
import pytest

from embedge import Embedder

ollama = pytest.importorskip("ollama", reason="ollama comes with the extra [integration]")

# These clients keep connections open until they are collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("unclosed_sockets_of_clients"),
]

TEXTS = ["Leases renew by email.", "Bees make honey."]


@pytest.fixture
def client(server_url):
    return ollama.Client(server_url)


@pytest.fixture(scope="module")
def embedder():
    with Embedder() as opened:
        yield opened


def test_vectors_equal_those_of_the_library(client, embedder):
    answer = client.embed(model="bundled:document", input=TEXTS)
    np.testing.assert_allclose(answer.embeddings, embedder.encode_document(TEXTS), atol=1e-6)
    assert answer.prompt_eval_count == sum(embedder.count_tokens(TEXTS))
    cut = client.embed(model="embedge-mini:query", input=TEXTS[0], dimensions=128)
    expected = embedder.encode_query(TEXTS[0], dim=128)
    np.testing.assert_allclose(cut.embeddings[0], expected, atol=1e-6)


def test_the_older_call_works(client, embedder):
    answer = client.embeddings(model="bundled:latest", prompt=TEXTS[0])
    np.testing.assert_allclose(answer.embedding, embedder.encode(TEXTS[0], task="none"), atol=1e-6)


def test_the_model_is_listed_and_shown(client):
    (listed,) = client.list().models
    assert listed.model == "embedge-mini:latest"
    assert listed.size > 10_000_000
    (running,) = client.ps().models
    assert running.name == "embedge-mini:latest"
    shown = client.show("bundled")
    assert shown.modelinfo["nomic-bert-moe.embedding_length"] == 384
    assert shown.capabilities == ["embedding"]


def test_errors_become_the_clients_own_class(client):
    with pytest.raises(ollama.ResponseError, match="model 'llama3' not found") as missing:
        client.embed(model="llama3", input="a")
    assert missing.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="exceeds the context length"):
        client.embed(model="bundled", input="word " * 2000, truncate=False)
