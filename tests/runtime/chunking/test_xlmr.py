"""The tokenizer of the real model has the property that the chunker relies on."""

import re

import pytest
from tokenizers import Tokenizer

from embedge.models.sample_texts import calibration_texts, language_sentences
from embedge.runtime.chunking import chunk_text
from embedge.runtime.chunking.characters import WHITE


class XlmrTokens:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def offsets(self, text: str) -> list[tuple[int, int]]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).offsets)

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.fixture(scope="module")
def xlmr(xlmr_tokenizer_file) -> XlmrTokens:
    return XlmrTokens(Tokenizer.from_file(str(xlmr_tokenizer_file)))


def test_counts_add_up_at_white_space_in_every_language(xlmr):
    for language, sentences in language_sentences().items():
        whole = " ".join(sentences)
        cuts = [match.end() for match in re.finditer(f"[{re.escape(WHITE)}]+", whole)][::7]
        for cut in cuts:
            parts = xlmr.count(whole[:cut]) + xlmr.count(whole[cut:])
            assert parts == xlmr.count(whole), (language, whole[cut - 20 : cut + 20])


def test_counts_add_up_at_each_white_character(xlmr):
    for character in WHITE:
        for before, after in [("ab", "cd"), ("漢字", "かな"), ("12", "34"), ("-", "-"), ("é", ".")]:
            joined = before + character + after
            assert xlmr.count(joined) == xlmr.count(before) + xlmr.count(after), repr(character)


def test_chunks_of_mixed_languages_fit_and_count_exactly(xlmr):
    text = "\n\n".join(sample.text for sample in calibration_texts()[:400])
    chunks = chunk_text(text, xlmr, max_tokens=200, overlap=30)
    assert "".join(chunk.text[chunk.overlap_chars :] for chunk in chunks) == text
    assert [chunk.n_tokens for chunk in chunks] == [xlmr.count(chunk.text) for chunk in chunks]
    assert max(chunk.n_tokens for chunk in chunks) <= 200
    assert min(chunk.n_tokens for chunk in chunks) > 20
