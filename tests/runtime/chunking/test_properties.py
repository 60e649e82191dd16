from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedge.runtime.chunking import chunk_text

fast = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

words = st.sampled_from(
    [
        "a",
        "bb",
        "the end.",
        "Really?",
        "“Yes!”",
        "नमस्ते।",
        "世界。",
        "東京",
        "ภาษาไทย",
        "x" * 90,
        "🇩🇪🇫🇷",
        "👩‍👩‍👧",
        "é" + "\u0301" * 3,
        "# Title",
        "```",
        "- item",
        "===",
        "a|b",
        "\ud800",
        "\x00",
        "가각",
    ]
)
spaces = st.sampled_from(
    [" ", "  ", "\n", "\r\n", "\r", "\n\n", "\n\n    ", "\t", "\x0c", "\u3000", ""]
)
texts = st.lists(st.tuples(words, spaces), max_size=400).map(
    lambda pairs: "".join(word + space for word, space in pairs)
)
options = st.fixed_dictionaries(
    {
        "max_tokens": st.sampled_from([8, 17, 40, 120, 500]),
        "overlap": st.sampled_from([0, 3, 64]),
        "kind": st.sampled_from(["text", "markdown", "rst", "code"]),
    }
)


@fast
@given(text=texts, options=options)
def test_chunks_without_overlap_put_together_are_the_text(tokens, joined, text, options):
    whole = text.replace("\ud800", "\ufffd")
    chunks = chunk_text(text, tokens, **options)
    assert joined(chunks) == (whole if whole.strip() else "")


@fast
@given(text=texts, options=options)
def test_each_chunk_fits_the_budget_when_counted_again(tokens, text, options):
    chunks = chunk_text(text, tokens, **options)
    assert [chunk.n_tokens for chunk in chunks] == [tokens.count(chunk.text) for chunk in chunks]
    assert all(chunk.n_tokens <= options["max_tokens"] for chunk in chunks)


@fast
@given(text=st.text(max_size=600), options=options)
def test_any_text_is_cut_at_exact_offsets(tokens, text, options):
    chunks = chunk_text(text, tokens, **options)
    assert all(chunk.text == text[chunk.char_start : chunk.char_end] for chunk in chunks)
    assert all(chunk.text.strip() for chunk in chunks)
    for before, after in pairwise(chunks):
        assert after.char_start + after.overlap_chars == before.char_end
        assert before.char_start < after.char_start <= before.char_end


@fast
@given(text=texts, options=options)
def test_line_numbers_are_those_of_an_editor(tokens, text, options):
    for chunk in chunk_text(text, tokens, **options):
        assert chunk.line_start == 1 + _breaks(text, chunk.char_start)
        assert chunk.line_end == 1 + _breaks(text, chunk.char_end - 1)


def _breaks(text: str, position: int) -> int:
    """Line breaks that end at or before `position`, counted one by one."""
    count = 0
    for at in range(position):
        is_pair_start = text[at] == "\r" and text[at + 1 : at + 2] == "\n"
        if text[at] in "\r\n" and not is_pair_start:
            count += 1
    return count


@fast
@given(text=texts, options=options)
def test_overlap_stays_within_its_limit(tokens, text, options):
    limit = min(options["overlap"], options["max_tokens"] // 2)
    for chunk in chunk_text(text, tokens, **options):
        # A repeat that starts after `。` may count one piece more alone than in its line.
        assert tokens.count(chunk.text[: chunk.overlap_chars]) <= limit + 1


@settings(fast, max_examples=25)
@given(seed=st.integers(0, 10**6), where=st.floats(0.05, 0.95), kind=st.integers(0, 2))
def test_cuts_far_from_an_edit_do_not_move(tokens, article, seed, where, kind):
    text = article(seed, 60)
    place = text.index(" ", int(len(text) * where)) + 1
    edited = text[:place] + ["", "inserted ", "two\nlines "][kind] + text[place + 5 * (kind == 0) :]
    before = chunk_text(text, tokens, max_tokens=500, overlap=0, kind="markdown")
    after = chunk_text(edited, tokens, max_tokens=500, overlap=0, kind="markdown")
    shift = len(edited) - len(text)
    # 128 tokens of at most 4 characters and a space; splits may move within their region,
    # which ends at most 500 tokens further.
    near = (128 + 500) * 9 + 32
    old = {chunk.char_end for chunk in before}
    new = {chunk.char_end for chunk in after}
    assert {cut for cut in old if cut < place - near} == {cut for cut in new if cut < place - near}
    assert {cut + shift for cut in old if cut > place + near} == {
        cut for cut in new if cut > place + near + shift
    }


@pytest.mark.parametrize("kind", ["text", "markdown"])
def test_a_one_line_edit_changes_at_most_three_chunks(tokens, article, kind):
    text = article(7, 400)
    lines = text.split("\n")
    before = {
        chunk.text for chunk in chunk_text(text, tokens, max_tokens=500, overlap=0, kind=kind)
    }
    changed = []
    for number in range(5, len(lines), len(lines) // 25):
        edited = "\n".join([*lines[:number], lines[number] + " and more", *lines[number + 1 :]])
        after = chunk_text(edited, tokens, max_tokens=500, overlap=0, kind=kind)
        changed.append(sum(chunk.text not in before for chunk in after))
    assert len(before) > 100
    assert max(changed) <= 3
    assert sum(changed) / len(changed) <= 1.5


def test_a_file_after_another_is_cut_as_alone(tokens, article):
    first, second = article(1, 80), article(2, 80)
    alone = chunk_text(second, tokens, max_tokens=500, overlap=0, kind="markdown")
    both = chunk_text(first + "\n" + second, tokens, max_tokens=500, overlap=0, kind="markdown")
    assert {chunk.text for chunk in alone[3:]} <= {chunk.text for chunk in both}


def test_a_unigram_tokenizer_is_priced_by_one_pass(unigram, article, joined):
    text = article(3, 120)
    chunks = chunk_text(text, unigram, max_tokens=300, kind="markdown")
    assert joined(chunks) == text
    assert [chunk.n_tokens for chunk in chunks] == [unigram.count(chunk.text) for chunk in chunks]
    assert max(chunk.n_tokens for chunk in chunks) <= 300
