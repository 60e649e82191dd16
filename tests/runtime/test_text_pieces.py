"""A long text is encoded in pieces, and nobody can tell."""

import random
import threading

import pytest

from embedge.models.sample_texts import measurement_texts
from embedge.runtime.text_pieces import PIECE_CHARS, cut_pieces
from embedge.runtime.tokens import Tokens


@pytest.fixture(scope="module")
def tokens(xlmr_tokenizer_file):
    return Tokens.from_file(xlmr_tokenizer_file, 512)


@pytest.fixture(scope="module")
def long_text():
    """Every language of the samples, joined by each kind of white space."""
    chooser = random.Random(0)
    texts = [sample.text for sample in measurement_texts()]
    parts = [chooser.choice(texts) + chooser.choice(" \n\t\u3000") for _ in range(1500)]
    return "".join(parts)


def test_pieces_give_the_ids_and_places_of_the_whole(tokens, long_text):
    tokens.learn([long_text])
    whole = tokens._pieces.tokenizer.encode(long_text, add_special_tokens=False)
    assert len(list(cut_pieces(long_text, " \n"))) > 3
    assert tokens.ids(long_text).tolist() == tokens._pieces.ids(whole).tolist()
    assert tokens.offsets(long_text) == whole.offsets
    assert tokens.count(long_text) == len(whole.ids)


def test_pieces_and_breaks_are_the_text():
    text = "word " * 20_000 + "end"
    pieces = list(cut_pieces(text, " "))
    assert " ".join(piece for _, piece in pieces) == text
    assert all(text[at : at + len(piece)] == piece for at, piece in pieces)
    assert max(len(piece) for _, piece in pieces) <= PIECE_CHARS + 10


@pytest.mark.parametrize("text", ["", "a", "word " * 10, "x" * 50_000, "- " * 20_000])
def test_what_is_short_or_has_no_break_is_one_piece(text):
    assert list(cut_pieces(text, " \n")) == [(0, text)]


def test_without_a_safe_break_nothing_is_cut():
    assert list(cut_pieces("word " * 20_000, "")) == [(0, "word " * 20_000)]


def test_only_as_many_ids_as_are_needed_are_made(tokens, long_text):
    some = tokens.ids(long_text, most=510)
    every = tokens.ids(long_text)
    assert 510 < len(some) < len(every)
    assert some.tolist() == every[: len(some)].tolist()


def test_a_run_without_breaks_does_not_wait_for_others_nor_they_for_it(tokens, long_text):
    run = "ab" * 60_000
    tokens.count(long_text)  # where to cut has been tried now
    lengths = []
    with tokens._lock:  # another thread encodes
        thread = threading.Thread(target=lambda: lengths.append(len(tokens.ids(run))))
        thread.start()
        thread.join(60)
    tokens._pieces.learn([run])
    whole = tokens._pieces.tokenizer.encode(run, add_special_tokens=False)
    assert lengths == [len(whole.ids)]
    assert tokens.ids(run).tolist() == tokens._pieces.ids(whole).tolist()
