"""`Embed4All` behaves like the class it stands in for, argument by argument."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedge import Embedder, ModelNotFound
from embedge.runtime.adapters import Embed4All
from embedge.runtime.adapters.embed4all import CancellationError

LONG = "one two three four five six seven eight nine ten " * 30


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> Iterator[Embed4All]:
    with Embed4All(str(tiny_bundle)) as opened:
        yield opened


@pytest.fixture(scope="module")
def embedder(tiny_bundle: Path) -> Iterator[Embedder]:
    with Embedder(tiny_bundle) as opened:
        yield opened


def test_a_text_gives_a_list_of_floats_and_a_list_a_list_of_lists(model, embedder):
    one, two = model.embed("bees"), model.embed(["bees", "leases"])
    assert isinstance(one, list)
    assert all(type(value) is float for value in one)
    assert np.array_equal(np.float32(one), embedder.encode_document("bees"))
    assert np.array_equal(np.float32(two), embedder.encode_document(["bees", "leases"]))


@pytest.mark.parametrize(
    ("prefix", "task"),
    [
        (None, "document"),
        ("search_document", "document"),
        ("search_query", "query"),
        ("classification", "classification"),
        ("clustering", "clustering"),
    ],
)
def test_a_prefix_without_colon_selects_the_task(model, embedder, prefix, task):
    assert np.array_equal(
        np.float32(model.embed("bees", prefix=prefix)), embedder.encode("bees", task=task)
    )


@pytest.mark.parametrize("prefix", ["search_query: ", "passage", "", "Classification"])
def test_any_other_prefix_is_a_runtime_error(model, prefix):
    with pytest.raises(RuntimeError, match="choose one of search_document"):
        model.embed("bees", prefix=prefix)


@pytest.mark.parametrize("text", ["", [], None])
def test_no_text_is_a_value_error(model, text):
    with pytest.raises(ValueError, match="must not be None or empty"):
        model.embed(text)


def test_a_list_may_hold_an_empty_text(model):
    assert len(model.embed([""])[0]) == 32


def test_dimensionality_cuts_and_gives_unit_length_again(model, embedder):
    with pytest.warns(UserWarning, match="less than the suggested minimum of 64"):
        short = model.embed("bees", dimensionality=16)
    assert np.array_equal(np.float32(short), embedder.encode_document("bees", dim=16))


@pytest.mark.parametrize("dimensionality", [0, -1])
def test_a_dimensionality_below_one_is_a_value_error(model, dimensionality):
    with pytest.raises(ValueError, match="None or a positive integer"):
        model.embed("bees", dimensionality=dimensionality)


def test_a_dimensionality_above_the_model_is_a_runtime_error(model):
    with pytest.raises(RuntimeError, match="above the model's 32"):
        model.embed("bees", dimensionality=4096)


def test_long_texts_are_averaged_or_cut(model, embedder):
    mean, cut = model.embed(LONG), model.embed(LONG, long_text_mode="truncate")
    assert np.array_equal(np.float32(mean), embedder.encode_document(LONG, long_text="mean"))
    assert np.array_equal(np.float32(cut), embedder.encode_document(LONG, long_text="truncate"))
    assert mean != cut


def test_another_long_text_mode_is_a_value_error(model):
    with pytest.raises(ValueError, match="'mean' or 'truncate', got 'chunk'"):
        model.embed("bees", long_text_mode="chunk")


def test_the_dict_counts_text_tokens_without_prefix_and_specials(model, embedder):
    around = embedder.count_tokens("")
    texts = ["bees", "leases renew by email"]
    expected = sum(count - around for count in embedder.count_tokens(texts))
    result = model.embed(texts, return_dict=True)
    assert result["n_prompt_tokens"] == expected
    assert result["embeddings"] == model.embed(texts)


def test_tokens_of_overlapping_windows_count_twice(model, embedder):
    whole = embedder.count_tokens(LONG) - embedder.count_tokens("")
    info = embedder.encode([LONG], return_info=True).info[0]
    overlaps = (info.n_windows - 1) * 8
    assert info.n_windows > 1
    assert model.embed(LONG, return_dict=True)["n_prompt_tokens"] == whole + overlaps


def test_cancel_cb_sees_every_batch_once_before_anything_is_computed(model, embedder):
    seen = []
    model.embed(["bees", "leases"], cancel_cb=lambda sizes, backend: seen.append((sizes, backend)))
    ((sizes, backend),) = seen
    assert backend == "cpu"
    assert sum(sizes) == sum(embedder.count_tokens(["bees", "leases"]))
    with pytest.raises(CancellationError):
        model.embed("bees", cancel_cb=lambda _sizes, _backend: True)


def test_atlas_refuses_what_the_api_refuses(model):
    huge = "a " * 8300
    with pytest.raises(RuntimeError, match="the Atlas API takes 8192"):
        model.embed(["bees", huge], atlas=True)
    assert model.embed(huge, atlas=True, long_text_mode="truncate") == model.embed(
        huge, long_text_mode="truncate"
    )
    assert model.embed("bees", atlas=True) == model.embed("bees")


def test_after_close_it_is_a_value_error(tiny_bundle):
    model = Embed4All(str(tiny_bundle))
    model.close()
    model.close()
    with pytest.raises(ValueError, match="closed"):
        model.embed("bees")


def test_another_device_warns_and_runs_on_the_cpu(tiny_bundle):
    with pytest.warns(UserWarning, match="'gpu' is not used"):
        model = Embed4All(str(tiny_bundle), device="gpu")
    assert len(model.embed("bees")) == 32


def test_arguments_of_the_constructor_are_those_of_the_peer(tiny_bundle):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = Embed4All(
            tiny_bundle.name,
            n_threads=1,
            device="cpu",
            model_path=tiny_bundle.parent,
            allow_download=True,
            n_ctx=2048,
            ngl=100,
            verbose=False,
            model_type=None,
        )
    assert model.space.identity.dim == 32
    with pytest.raises(TypeError, match="n_batch"):
        Embed4All(str(tiny_bundle), n_batch=8)


def test_n_ctx_lowers_the_limit_of_a_window(tiny_bundle, embedder):
    with Embed4All(str(tiny_bundle), n_ctx=32) as model:
        expected = embedder.encode_document(LONG, max_tokens=32)
        assert np.array_equal(np.float32(model.embed(LONG)), expected)


def test_a_model_that_is_not_here_is_named_with_the_way_to_get_it():
    with pytest.raises(ModelNotFound, match="embed models pull"):
        Embed4All("nomic-embed-text-v1.5.f16.gguf")
