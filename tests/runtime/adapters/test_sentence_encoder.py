"""`SentenceEncoder` answers like Sentence Transformers' model where other libraries look."""

import sys
from pathlib import Path

import numpy as np
import pytest

from embedge import Embedder, InvalidOption, MissingExtra
from embedge.runtime.adapters import SentenceEncoder

TEXTS = ["bees make honey", "leases renew by email", "bees"]
LONG = "one two three four five six seven eight nine ten " * 30


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> SentenceEncoder:
    return SentenceEncoder(str(tiny_bundle))


@pytest.fixture(scope="module")
def embedder(tiny_bundle: Path) -> Embedder:
    return Embedder(tiny_bundle)


def test_a_plain_encode_adds_no_prefix_and_keeps_the_order(model, embedder):
    assert np.array_equal(model.encode(TEXTS), embedder.encode(TEXTS, task="none"))
    assert model.encode("bees").shape == (32,)
    assert model.encode([]).shape == (0, 32)
    assert np.array_equal(model.encode(np.array(TEXTS)), model.encode(sentences=TEXTS))


def test_queries_and_documents_get_their_prompts(model, embedder):
    assert np.array_equal(model.encode_query(TEXTS), embedder.encode_query(TEXTS))
    assert np.array_equal(model.encode_document(TEXTS), embedder.encode_document(TEXTS))
    for name in ("passage", "document"):
        expected = embedder.encode_document(TEXTS)
        assert np.array_equal(model.encode(TEXTS, prompt_name=name), expected)


def test_a_text_with_its_own_prefix_gets_no_second_one(model, embedder):
    own = "search_query: bees"
    assert np.array_equal(model.encode(own), embedder.encode_query("bees"))
    assert np.array_equal(model.encode_query(own), embedder.encode_query("bees"))


def test_a_prompt_is_taken_verbatim_and_wins_over_its_name(model, embedder):
    expected = embedder.encode(TEXTS, prefix="topic: ")
    assert np.array_equal(model.encode(TEXTS, "query", "topic: "), expected)
    assert np.array_equal(model.encode_query(TEXTS, prompt="topic: "), expected)


def test_own_prompts_and_a_default_prompt_are_honoured(tiny_bundle, embedder):
    model = SentenceEncoder(
        str(tiny_bundle), prompts={"topic": "topic: "}, default_prompt_name="topic"
    )
    assert model.prompts["query"] == "search_query: "
    assert np.array_equal(model.encode(TEXTS), embedder.encode(TEXTS, prefix="topic: "))
    with pytest.raises(InvalidOption, match="prompt_name 'subject' is unknown"):
        SentenceEncoder(str(tiny_bundle), default_prompt_name="subject")


def test_truncate_dim_gives_unit_vectors_of_that_length(tiny_bundle, model, embedder):
    expected = embedder.encode(TEXTS, task="none", dim=16)
    assert np.array_equal(model.encode(TEXTS, truncate_dim=16), expected)
    small = SentenceEncoder(str(tiny_bundle), truncate_dim=16)
    assert np.array_equal(small.encode(TEXTS), expected)
    assert small.get_embedding_dimension() == small.get_sentence_embedding_dimension() == 16
    assert small.space.identity.dim == 16


def test_long_texts_are_cut_at_the_limit_which_can_be_lowered(tiny_bundle, embedder):
    model = SentenceEncoder(str(tiny_bundle))
    expected = embedder.encode(LONG, task="none", long_text="truncate")
    assert np.array_equal(model.encode(LONG), expected)
    assert model.get_max_seq_length() == model.max_seq_length == embedder.max_tokens
    model.max_seq_length = 20
    shorter = embedder.encode(LONG, task="none", long_text="truncate", max_tokens=20)
    assert np.array_equal(model.encode(LONG), shorter)


def test_precisions_carry_the_names_of_the_peer(model, embedder):
    signs = embedder.encode(TEXTS, task="none", precision="ubinary")
    assert np.array_equal(model.encode(TEXTS, precision="ubinary"), signs)
    signed = model.encode(TEXTS, precision="binary")
    assert signed.dtype == np.int8
    assert np.array_equal(signed.astype(np.int16) + 128, signs)
    codes = embedder.encode(TEXTS, task="none", precision="int8")
    assert np.array_equal(model.encode(TEXTS, precision="int8"), codes)


def test_similarity_is_the_cosine(model, embedder):
    vectors = model.encode(TEXTS)
    assert np.array_equal(model.similarity(vectors, vectors), embedder.similarity(vectors, vectors))
    pairs = model.similarity_pairwise(vectors, vectors[::-1])
    assert np.allclose(pairs, np.diag(model.similarity(vectors, vectors[::-1])), atol=1e-6)
    with pytest.raises(InvalidOption, match="3 and 2 vectors"):
        model.similarity_pairwise(vectors, vectors[:2])


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"output_value": "token_embeddings"}, "output_value"),
        ({"device": "cuda"}, "device"),
        ({"precision": "uint8"}, "precision"),
        ({"pool": {"processes": []}}, "pool"),
        ({"prompt_name": "nothing"}, "prompt_name"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(model, arguments, word):
    with pytest.raises(InvalidOption, match=word):
        model.encode(TEXTS, **arguments)


def test_another_device_is_refused(tiny_bundle):
    with pytest.raises(ValueError, match='"cpu"'):
        SentenceEncoder(str(tiny_bundle), device="cuda:0")


def test_arguments_without_effect_change_no_vector(model):
    assert np.array_equal(
        model.encode(
            TEXTS, batch_size=1, normalize_embeddings=True, chunk_size=5, show_progress_bar=False
        ),
        model.encode(TEXTS),
    )


@pytest.mark.parametrize("arguments", [{"convert_to_tensor": True}, {"convert_to_numpy": False}])
def test_tensors_need_torch_and_say_so(model, monkeypatch, arguments):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match="tensors need torch"):
        model.encode(TEXTS, **arguments)
