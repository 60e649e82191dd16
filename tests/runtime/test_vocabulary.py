"""A vocabulary of the pieces that occur gives the tokens of the whole one."""

import os
import random
from pathlib import Path

import pytest

from embedge.models.golden import read_golden
from embedge.models.sample_texts import measurement_texts
from embedge.runtime import vocabulary
from embedge.runtime.tokens import Tokens
from embedge.runtime.vocabulary import PartialVocabulary, WholeVocabulary
from embedge.runtime.vocabulary_parts import is_partial_possible

AWKWARD = [
    "", " ", "\t\n", "a</s>b", "x<mask> y", "<s>", "</s></s>", "a <pad>b", "\u2028a",
    "İstanbul ﬁ ½ Ⅷ ①", "e\u0301" * 40, "กำ" * 60, "🚀😶\u200d🌫\ufe0f" * 5, "\x00\x01",
    "a" * 300, "0123456789" * 30, "ﷺ", "각각", "▁▁the▁river", "\u200b\u200b", "¨", "</", "s>",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(xlmr_tokenizer_file: Path) -> Tokens:
    return Tokens.from_file(xlmr_tokenizer_file, 512, whole=True)


@pytest.fixture
def partial(xlmr_tokenizer_file: Path) -> Tokens:
    return Tokens.from_file(xlmr_tokenizer_file, 512)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Several hundred sentences of the packaged languages, and what tokenizers get wrong."""
    sample = [text.text for text in measurement_texts()]
    return random.Random(0).sample(sample, 300) + AWKWARD


def test_a_large_unigram_is_loaded_in_part_and_a_small_one_whole(
    partial: Tokens, tiny_bundle: Path
) -> None:
    assert isinstance(partial._pieces, PartialVocabulary)
    small = Tokens.from_file(tiny_bundle / "tokenizer.json", 512)
    assert isinstance(small._pieces, WholeVocabulary)


def test_ids_and_offsets_are_those_of_the_whole_vocabulary(
    partial: Tokens, whole: Tokens, texts: list[str]
) -> None:
    assert partial.ids(texts[0]).tolist() == whole.ids(texts[0]).tolist()  # without notice
    partial.learn(texts)
    for text in texts:
        assert partial.ids(text).tolist() == whole.ids(text).tolist(), text
        assert partial.offsets(text) == whole.offsets(text), text
        assert partial.count(text) == whole.count(text), text
    assert len(partial._pieces._held) < partial.vocabulary / 4  # type: ignore[union-attr]


def test_special_tokens_and_size_are_those_of_the_file(partial: Tokens, whole: Tokens) -> None:
    for tokens in (partial, whole):
        assert (tokens.head, tokens.tail, tokens.pad_id) == ((0,), (2,), 1)
        assert tokens.vocabulary == 250_002


def test_the_published_cases_hold(partial: Tokens) -> None:
    cases = read_golden().tokenizer_cases
    assert [tuple(partial.ids(case.text).tolist()) for case in cases] == [c.ids for c in cases]


def test_random_strings_of_all_planes_have_the_same_ids(partial: Tokens, whole: Tokens) -> None:
    random_source = random.Random(1)
    ranges = [(0x20, 0x7F), (0xA0, 0x250), (0x400, 0x500), (0xE00, 0xE60), (0x3040, 0x30FF),
              (0x4E00, 0x9FFF), (0x1F300, 0x1F6FF), (0x20, 0x21)]  # fmt: skip
    strings = [
        "".join(chr(random_source.randint(*random_source.choice(ranges))) for _ in range(40))
        for _ in range(200)
    ]
    partial.learn(strings)
    for text in strings:
        assert partial.ids(text).tolist() == whole.ids(text).tolist(), text


def test_many_calls_of_few_texts_lead_to_the_whole_vocabulary(
    partial: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = partial.ids("the river").tolist()
    monkeypatch.setattr(partial._pieces, "rebuilt_pieces", partial.vocabulary + 1)
    assert partial.ids("the river").tolist() == before
    assert isinstance(partial._pieces, WholeVocabulary)


def test_forgotten_words_are_looked_up_again(
    partial: Tokens, whole: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "_MOST_WORDS", 2)
    for text in ("one two three", "four", "one two three"):
        assert partial.ids(text).tolist() == whole.ids(text).tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"type": "WordPiece"}, {"byte_fallback": True}, {"unk_id": None},
        {"vocab": [["<unk>", 0.0]] * 30_000},
    ],
)  # fmt: skip
def test_other_kinds_are_never_loaded_in_part(change: dict[str, object]) -> None:
    pieces = [["<unk>", 0.0], *([f"p{n}", -1.0] for n in range(30_000))]
    raw = {"model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": pieces}}
    token = {"id": 0, "content": "<unk>"}
    assert is_partial_possible(raw | {"added_tokens": [token]})
    assert not is_partial_possible(raw | {"added_tokens": [token | {"id": 1}]})
    assert not is_partial_possible({"model": raw["model"] | change})


def test_the_decoded_form_is_kept_and_gives_the_same_ids(
    xlmr_tokenizer_file: Path, tmp_path: Path, whole: Tokens, texts: list[str]
) -> None:
    cache = tmp_path / "vocabulary" / "hash"
    Tokens.from_file(xlmr_tokenizer_file, 512, cache=cache)
    assert cache.is_file()
    # Nothing but the cache is needed now.
    kept = Tokens.from_file(tmp_path / "no-such-file", 512, cache=cache)
    kept.learn(texts)
    for text in texts:
        assert kept.ids(text).tolist() == whole.ids(text).tolist(), text
    assert (kept.head, kept.tail, kept.pad_id) == ((0,), (2,), 1)


@pytest.mark.parametrize("damage", ["truncated", "altered", "absent", "another format"])
def test_a_damaged_decoded_form_is_made_again(
    xlmr_tokenizer_file: Path, tmp_path: Path, damage: str
) -> None:
    cache = tmp_path / "hash"
    Tokens.from_file(xlmr_tokenizer_file, 512, cache=cache)
    good = cache.read_bytes()
    bad = {
        "truncated": good[:-1],
        "altered": good[:-1] + b"?",
        "another format": b"x" + good,
    }
    cache.unlink()
    if damage in bad:
        cache.write_bytes(bad[damage])
    again = Tokens.from_file(xlmr_tokenizer_file, 512, cache=cache)
    assert again.ids("the river").tolist() == [70, 96113]
    assert cache.read_bytes() == good


def test_a_cache_that_cannot_be_written_is_done_without(
    xlmr_tokenizer_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    tokens = Tokens.from_file(xlmr_tokenizer_file, 512, cache=tmp_path / "file" / "hash")
    assert tokens.ids("the river").tolist() == [70, 96113]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_forked_while_words_are_learned_is_not_blocked_or_wrong(
    xlmr_tokenizer_file: Path,
) -> None:
    """The parent holds the lock in the middle of learning; the child must finish the work."""
    import subprocess
    import sys

    code = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from pathlib import Path
from embedge.runtime.tokens import Tokens
tokens = Tokens.from_file(Path(sys.argv[1]), 512)
def forked():
    yield "the river house"
    child = os.fork()
    if child == 0:
        os._exit(0 if tokens.ids("the river house").tolist() == [70, 96113, 18276] else 1)
    print(os.waitpid(child, 0)[1])
    yield "night"
tokens.learn(forked())
print(tokens.ids("the river house").tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(xlmr_tokenizer_file)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout == "0\n[70, 96113, 18276]\n", done.stderr
