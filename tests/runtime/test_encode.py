"""`Embedder.encode`: shapes, options, information, errors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedge import (
    BackendError,
    Embedder,
    EncodeResult,
    InvalidOption,
    ModelIntegrityError,
    ModelNotFound,
    TextTooLong,
)


def test_one_text_gives_a_row_and_several_give_a_matrix(embedder: Embedder) -> None:
    assert embedder.encode("the river").shape == (32,)
    assert embedder.encode(["the river"]).shape == (1, 32)
    assert embedder.encode(["the river", "a"]).shape == (2, 32)
    assert embedder.encode([]).shape == (0, 32)
    assert embedder.encode(text for text in ("the", "river")).shape == (2, 32)


def test_vectors_have_unit_length_unless_told_otherwise(embedder: Embedder) -> None:
    np.testing.assert_allclose(1, np.linalg.norm(embedder.encode("the river")), atol=1e-6)
    raw = embedder.encode("the river", normalize=False)
    assert abs(np.linalg.norm(raw) - 1) > 1e-3
    np.testing.assert_allclose(
        embedder.encode("the river"), raw / np.linalg.norm(raw), rtol=0, atol=1e-6
    )


def test_an_unnormalised_vector_keeps_its_direction_over_several_windows(
    embedder: Embedder,
) -> None:
    long = "the river house " * 400
    raw = embedder.encode(long, normalize=False)
    np.testing.assert_allclose(embedder.encode(long), raw / np.linalg.norm(raw), rtol=0, atol=1e-6)


def test_a_cut_vector_is_the_first_features_made_unit_length(embedder: Embedder) -> None:
    full = embedder.encode("the river")
    cut = full[:16] / np.linalg.norm(full[:16])
    np.testing.assert_allclose(cut, embedder.encode("the river", dim=16), rtol=0, atol=1e-6)


def test_results_come_in_the_order_of_the_input(embedder: Embedder) -> None:
    texts = ["river " * n for n in (30, 1, 60, 2, 0)]
    expected = np.stack([embedder.encode(text) for text in texts])
    np.testing.assert_array_equal(expected, embedder.encode(texts, batch_tokens=64))


def test_info_says_what_became_of_each_text(embedder: Embedder) -> None:
    result = embedder.encode(["the river", "", "the river " * 400], return_info=True)
    assert isinstance(result, EncodeResult)
    short, empty, long = result.info
    # <s> search _ document : ... river </s>, as count_tokens says
    assert short.n_tokens == embedder.count_tokens("the river")
    assert (short.n_windows, short.truncated, short.empty) == (1, False, False)
    assert (short.prefix, short.task) == ("task", "document")
    assert empty.empty
    assert long.n_windows > 1
    assert not long.truncated
    assert result.space.fingerprint == embedder.space.fingerprint


def test_unnormalised_and_cut_vectors_are_spaces_of_their_own(embedder: Embedder) -> None:
    result = embedder.encode("a", normalize=False, return_info=True)
    assert result.space.digest != embedder.space.digest
    cut = embedder.encode("a", dim=16, return_info=True)
    assert cut.space.identity.dim == 16


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"dim": 16}, {"truncate_dim": 16}),
        ({"prefix": "the "}, {"prompt": "the "}),
        ({"task": "query"}, {"prompt_name": "query"}),
        ({"task": "document"}, {"prompt_name": "passage"}),
        ({"normalize": False}, {"normalize_embeddings": False}),
    ],
)
def test_names_of_sentence_transformers_mean_the_same(
    embedder: Embedder, ours: dict[str, object], theirs: dict[str, object]
) -> None:
    np.testing.assert_array_equal(
        embedder.encode("the river", **ours),  # type: ignore[call-overload]
        embedder.encode("the river", **theirs),  # type: ignore[call-overload]
    )
    with pytest.raises(TypeError, match="two names of one argument"):
        embedder.encode("the river", **ours, **theirs)  # type: ignore[call-overload]


def test_an_unknown_argument_is_a_type_error(embedder: Embedder) -> None:
    with pytest.raises(TypeError, match="batchsize"):
        embedder.encode("a", batchsize=3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="batchsize"):
        embedder.encode_query("a", batchsize=3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="batchsize"):
        embedder.stream(["a"], batchsize=3)  # type: ignore[call-arg]


def test_a_text_that_is_no_string_is_a_type_error_that_names_it(embedder: Embedder) -> None:
    with pytest.raises(TypeError, match="text 1 is bytes"):
        embedder.encode(["a", b"b"])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 64}, "outside 1 to 32"),
        ({"dim": 0}, "outside 1 to 32"),
        ({"task": "search"}, "task 'search' is unknown"),
        ({"precision": "int4"}, "precision 'int4' is unknown"),
        ({"long_text": "split"}, "long_text 'split' is unknown"),
        ({"long_text": "chunk"}, "use stream"),
        ({"max_tokens": 513}, "above the model's limit of 512"),
        ({"max_tokens": 17}, "choose at least"),
        ({"overlap": 600}, "overlap 600 does not fit"),
        ({"batch_size": 0}, "batch_size 0 is below 1"),
        ({"batch_tokens": 0}, "batch_tokens 0 is below 1"),
        ({"precision": "ubinary", "dim": 12}, "eight features per byte"),
        ({"precision": "int8", "normalize": False}, "unit vectors"),
    ],
)
def test_impossible_options_name_a_way_out(
    embedder: Embedder, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidOption, match=message):
        embedder.encode("a", **options)  # type: ignore[call-overload]


def test_lone_surrogates_become_replacement_characters(embedder: Embedder) -> None:
    np.testing.assert_array_equal(
        embedder.encode("the \ufffd river"), embedder.encode("the \ud800 river")
    )


def test_count_tokens_counts_prefix_and_special_tokens(embedder: Embedder) -> None:
    bare = embedder.count_tokens("the river", task="none")
    assert bare == 2 + 2  # two words, <s> and </s>
    prefix = len(embedder.loaded.tokens.ids("search_document: "))
    assert embedder.count_tokens("the river") == bare + prefix
    assert embedder.count_tokens(["the river", ""]) == [bare + prefix, 2 + prefix]


def test_similarity_is_the_cosine_of_every_pair(embedder: Embedder) -> None:
    a = embedder.encode(["the river", "a night"])
    b = embedder.encode(["the river", "word", "night"])
    np.testing.assert_allclose(a @ b.T, embedder.similarity(a, b), atol=1e-6)
    assert embedder.similarity(a[0], b).shape == (1, 3)
    with pytest.raises(InvalidOption, match="do not compare"):
        embedder.similarity(a, b[:, :16])


def test_similarity_of_packed_signs_is_their_cosine(embedder: Embedder) -> None:
    signs = np.where(embedder.encode(["the river", "night"]) > 0, 1.0, -1.0)
    packed = embedder.encode(["the river", "night"], precision="ubinary")
    np.testing.assert_allclose(signs @ signs.T / 32, embedder.similarity(packed, packed), atol=1e-6)


def test_a_vector_with_nan_is_an_error(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(ids: object, mask: object, cancel: object) -> tuple[object, object]:
        values = np.ones((np.shape(ids)[0], 32), dtype=np.float32)
        values[-1, 3] = np.nan
        return values, values

    monkeypatch.setattr(embedder.loaded.engine, "run", broken)
    with pytest.raises(BackendError, match=r"texts 0 to 1: .*NaN"):
        embedder.encode(["a", "b"])


def test_a_token_id_outside_the_vocabulary_is_an_error(embedder: Embedder) -> None:
    for wrong in (-1, 640):
        ids = np.array([[0, wrong, 2]], dtype=np.int64)
        with pytest.raises(BackendError, match="leave the vocabulary of 640"):
            embedder.loaded.engine.run(ids, np.ones_like(ids))


def test_a_closed_embedder_says_so(tiny_bundle: Path, tmp_path: Path) -> None:
    with Embedder(tiny_bundle, cache_dir=tmp_path) as closed:
        pass
    with pytest.raises(BackendError, match="is closed"):
        closed.encode("a")


def test_opening_what_is_not_there_or_not_whole_fails(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        Embedder("no-such-model", cache_dir=tmp_path)
    import shutil

    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_bundle, damaged)
    data = bytearray((damaged / "weights.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / "weights.bin").write_bytes(bytes(data))
    with pytest.raises(ModelIntegrityError, match=r"weights\.bin"):
        Embedder(damaged, cache_dir=tmp_path)


def test_facts_of_the_model_are_properties(embedder: Embedder) -> None:
    assert (embedder.model, embedder.variant) == ("tiny", "fp32")
    assert (embedder.dim, embedder.max_tokens) == (32, 512)
    assert embedder.space.identity.dim == 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "int4"}, "variant 'int4' is unknown"),
        ({"variant": "int8"}, "holds no int8 graph"),
        ({"dim": 64}, "larger than"),
        ({"dim": 0}, "below 1"),
        ({"threads": 0}, "below 1"),
    ],
)
def test_a_model_is_not_opened_with_impossible_options(
    tiny_bundle: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidOption, match=message):
        Embedder(tiny_bundle, cache_dir=tmp_path, **options)  # type: ignore[arg-type]


def test_texts_too_long_are_refused_on_request(embedder: Embedder) -> None:
    fits, long = "river " * 400, "river " * 600
    assert embedder.encode([fits], long_text="error").shape == (1, 32)
    with pytest.raises(TextTooLong, match=r"text 1: .* 6\d\d tokens .* limit is 512"):
        embedder.encode([fits, long], long_text="error")


def test_from_pretrained_is_another_name_of_the_constructor(
    tiny_bundle: Path, tmp_path: Path, embedder: Embedder
) -> None:
    with Embedder.from_pretrained(tiny_bundle, dim=16, cache_dir=tmp_path, offline=True) as other:
        np.testing.assert_array_equal(embedder.encode("a", dim=16), other.encode("a"))


@pytest.mark.parametrize("name", ["encode_query", "encode_document"])
def test_the_named_forms_fix_the_task(embedder: Embedder, name: str) -> None:
    form: Callable[..., object] = getattr(embedder, name)
    task = name.removeprefix("encode_")
    np.testing.assert_array_equal(embedder.encode("a", task=task), form("a"))
    with pytest.raises(TypeError, match="task"):
        form("a", task="none")
    info = form("a", return_info=True)
    assert isinstance(info, EncodeResult)
    assert info.info[0].task == task
