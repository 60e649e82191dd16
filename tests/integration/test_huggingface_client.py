"""`InferenceClient` of `huggingface_hub` against `embed serve`, in the shape of TEI."""

import numpy as np
import pytest

from embedge import Embedder

pytest.importorskip("uvicorn", reason="uvicorn comes with the extra [integration]")

from huggingface_hub import InferenceClient

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


def test_feature_extraction_gives_the_vectors_of_the_library(server_url, embedder):
    client = InferenceClient(server_url)
    vectors = client.feature_extraction(TEXTS, prompt_name="passage", normalize=True)
    np.testing.assert_allclose(vectors, embedder.encode_document(TEXTS), atol=1e-6)


def test_a_long_text_is_cut_from_the_side_that_is_asked_for(server_url, embedder):
    client = InferenceClient(server_url)
    text = "word " * 600 + "honey"
    right = client.feature_extraction(text, truncate=True, truncation_direction="Right")
    left = client.feature_extraction(text, truncate=True, truncation_direction="Left")
    expected = embedder.encode(text, task="none", long_text="truncate")
    np.testing.assert_allclose(right[0], expected, atol=1e-6)
    assert not np.allclose(left, right, atol=1e-4)


def test_sentence_similarity_gives_cosines(server_url, embedder):
    client = InferenceClient()
    cosines = client.sentence_similarity(
        TEXTS[0], other_sentences=TEXTS, model=f"{server_url}/similarity"
    )
    vectors = embedder.encode(TEXTS, task="none")
    np.testing.assert_allclose(cosines, vectors @ vectors[0], atol=1e-5)
