"""Texts above the limit (interface 4.1)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge import Embedder, InvalidOption, TextTooLong
from embedge.runtime.long_text import Limits, lay_out


def ids(count: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.arange(count, dtype=np.int32)


def test_windows_step_by_their_room_less_the_overlap() -> None:
    # 20 tokens, 2 special, 1 of prefix: 17 of text; step 14: 0-16, 14-30, 28-39
    windows, truncated = lay_out(ids(1), ids(40), Limits(20, 2, 3), "mean")
    assert [(w[1], w[-1], len(w)) for w in windows] == [(0, 16, 18), (14, 30, 18), (28, 39, 13)]
    assert not truncated


@given(
    n_text=st.integers(0, 2000),
    n_prefix=st.integers(0, 8),
    max_tokens=st.integers(40, 512),
    overlap=st.integers(0, 20),
)
def test_windows_cover_every_token_fit_and_each_brings_something_new(
    n_text: int, n_prefix: int, max_tokens: int, overlap: int
) -> None:
    prefix = -1 - ids(n_prefix)
    windows, _ = lay_out(prefix, ids(n_text), Limits(max_tokens, 2, overlap), "mean")
    seen = -1
    for window in windows:
        assert len(window) + 2 <= max_tokens
        np.testing.assert_array_equal(prefix, window[:n_prefix])
        text = window[n_prefix:]
        if len(text):
            assert text[0] <= seen + 1
            assert text[-1] > seen
            seen = int(text[-1])
    assert seen == n_text - 1


def test_truncate_keeps_the_first_tokens_and_says_so(embedder: Embedder) -> None:
    words = ["river", "house", "night", "word"] * 200
    result = embedder.encode(" ".join(words), long_text="truncate", return_info=True)
    info = result.info[0]
    assert (info.n_tokens, info.truncated, info.n_windows) == (512, True, 1)
    room = 512 - embedder.count_tokens("")
    np.testing.assert_array_equal(embedder.encode(" ".join(words[:room])), result.vectors)


def test_mean_is_the_unit_mean_of_the_unit_vectors_of_the_windows(embedder: Embedder) -> None:
    words = [["river", "house", "night", "word"][n % 4] for n in range(1100)]
    result = embedder.encode(" ".join(words), return_info=True)
    room = 512 - embedder.count_tokens("")
    step = room - 8
    starts = range(0, len(words) - 8, step)
    windows = [" ".join(words[start : start + room]) for start in starts]
    mean = embedder.encode(windows).astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(mean / np.linalg.norm(mean), result.vectors, rtol=0, atol=1e-6)
    info = result.info[0]
    assert (info.n_windows, info.truncated) == (len(windows), False)
    assert info.n_tokens == sum(embedder.count_tokens(windows))


def test_a_text_at_the_limit_is_one_window_in_every_mode(embedder: Embedder) -> None:
    text = "river " * (512 - embedder.count_tokens(""))
    vectors = [embedder.encode(text, long_text=mode) for mode in ("mean", "truncate", "error")]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_array_equal(vectors[0], vectors[2])
    with pytest.raises(TextTooLong):
        embedder.encode(text + "river", long_text="error")


def test_a_smaller_limit_makes_more_windows(embedder: Embedder) -> None:
    result = embedder.encode("river " * 400, max_tokens=64, return_info=True)
    assert result.info[0].n_windows > 6
    cut = embedder.encode("river " * 400, max_tokens=64, long_text="truncate", return_info=True)
    assert cut.info[0].n_tokens == 64


def test_too_little_room_is_refused_with_the_smallest_that_works() -> None:
    with pytest.raises(InvalidOption, match="choose at least 21"):
        Limits(20, 2, 0).room(5)
    assert Limits(21, 2, 0).room(5) == 14
    with pytest.raises(InvalidOption, match="choose 0 to 13"):
        Limits(21, 2, 14).room(5)


def test_a_prefix_that_joins_the_first_word_is_in_every_window(embedder: Embedder) -> None:
    result = embedder.encode("river " * 600, prefix="the", return_info=True)
    assert result.info[0].n_windows == 2
    # 600 words, 8 of overlap, and per window: <s>, </s>, the
    assert result.info[0].n_tokens == 600 + 8 + 2 * 3
