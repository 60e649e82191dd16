"""The official `openai` client against `embed serve`."""

import numpy as np
import pytest

from embedge import Embedder

openai = pytest.importorskip("openai", reason="openai comes with the extra [integration]")

# These clients keep connections open until they are collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("unclosed_sockets_of_clients"),
]

TEXTS = ["Leases renew by email.", "Bees make honey."]


@pytest.fixture
def client(server_url):
    with openai.OpenAI(base_url=f"{server_url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


@pytest.fixture(scope="module")
def embedder():
    with Embedder() as opened:
        yield opened


# Left out, the client asks for base64 and decodes it.
@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_vectors_equal_those_of_the_library(client, embedder, encoding):
    options = {} if encoding is None else {"encoding_format": encoding}
    answer = client.embeddings.create(model="bundled:document", input=TEXTS, **options)
    rows = [row.embedding for row in answer.data]
    if encoding == "base64":
        import base64

        rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in rows]
    np.testing.assert_allclose(rows, embedder.encode_document(TEXTS), atol=1e-6)
    assert answer.usage.prompt_tokens == sum(embedder.count_tokens(TEXTS))


def test_dimensions_and_tasks(client, embedder):
    answer = client.embeddings.create(
        model="bundled", input=TEXTS[0], dimensions=128, extra_body={"task": "query"}
    )
    expected = embedder.encode_query(TEXTS[0], dim=128)
    np.testing.assert_allclose(answer.data[0].embedding, expected, atol=1e-6)


def test_models_are_listed(client):
    names = [model.id for model in client.models.list()]
    assert names == ["embedge-mini", "embedge-mini:query", "embedge-mini:document"]
    assert client.models.retrieve("embedge-mini:query").owned_by == "embedge"


def test_errors_become_the_clients_own_classes(client):
    with pytest.raises(openai.NotFoundError) as missing:
        client.embeddings.create(model="text-embedding-3-small", input="a")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as empty:
        client.embeddings.create(model="bundled", input=[])
    assert (empty.value.param, empty.value.type) == ("input", "invalid_request_error")


def test_the_async_client_works(server_url, embedder):
    import asyncio

    async def embed_both():
        url = f"{server_url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
            calls = [client.embeddings.create(model="bundled:query", input=t) for t in TEXTS]
            return [answer.data[0].embedding for answer in await asyncio.gather(*calls)]

    rows = asyncio.run(embed_both())
    np.testing.assert_allclose(rows, embedder.encode_query(TEXTS), atol=1e-6)
