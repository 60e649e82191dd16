"""`EmbedgeEmbedding` in LlamaIndex: sync, async, batches, roles, pickle."""

import asyncio
import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("llama_index.core", reason="llama-index-core comes with [integration]")

from llama_index.core.schema import TextNode

from embedge import Embedder
from embedge.runtime.adapters import EmbedgeEmbedding

TEXTS = [f"text number {number}" for number in range(23)]


@pytest.fixture(scope="module")
def model():
    return EmbedgeEmbedding(dimensionality=128)


@pytest.fixture(scope="module")
def embedder():
    with Embedder(dim=128) as opened:
        yield opened


def test_queries_and_texts_have_the_prefix_of_their_role(model, embedder):
    query, text = model.get_query_embedding("lease"), model.get_text_embedding("lease")
    assert all(type(value) is float for value in query)
    assert np.array_equal(np.float32(query), embedder.encode_query("lease"))
    assert np.array_equal(np.float32(text), embedder.encode_document("lease"))
    assert model.space.fingerprint == embedder.space.fingerprint


def test_batches_of_any_size_give_the_same_vectors(model, embedder):
    expected = embedder.encode_document(TEXTS)
    assert np.array_equal(np.float32(model.get_text_embedding_batch(TEXTS)), expected)
    single = EmbedgeEmbedding(dimensionality=128, embed_batch_size=1)
    assert np.array_equal(np.float32(single.get_text_embedding_batch(TEXTS)), expected)


def test_awaited_vectors_are_the_same(model):
    async def all_forms():
        return (
            await model.aget_query_embedding("lease"),
            await model.aget_text_embedding("lease"),
            await model.aget_text_embedding_batch(TEXTS),
        )

    query, text, batch = asyncio.run(all_forms())
    assert query == model.get_query_embedding("lease")
    assert text == model.get_text_embedding("lease")
    assert batch == model.get_text_embedding_batch(TEXTS)


def test_it_embeds_nodes_in_a_pipeline(model):
    nodes = model([TextNode(text="lease"), TextNode(text="bees")])
    assert [len(node.embedding) for node in nodes] == [128, 128]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_opens_its_own_model(model, duplicate):
    copied = duplicate(model)
    assert copied.dimensionality == 128
    assert copied.get_query_embedding("lease") == model.get_query_embedding("lease")


def test_other_task_types_can_be_chosen(embedder):
    model = EmbedgeEmbedding(dimensionality=128, document_task_type="clustering")
    expected = embedder.encode("bees", task="clustering")
    assert np.array_equal(np.float32(model.get_text_embedding("bees")), expected)


def test_it_is_stored_under_its_name_and_built_again(model):
    fields = model.to_dict()
    assert fields["class_name"] == EmbedgeEmbedding.class_name() == "EmbedgeEmbedding"
    assert EmbedgeEmbedding.from_dict(fields).get_text_embedding("a") == model.get_text_embedding(
        "a"
    )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"inference_mode": "remote"}, "inference_mode"),
        ({"device": "cuda"}, "device"),
        ({"query_task_type": "passage"}, "query_task_type"),
    ],
)
def test_what_a_local_cpu_cannot_do_is_a_value_error(arguments, word):
    with pytest.raises(ValueError, match=word):
        EmbedgeEmbedding(**arguments)
