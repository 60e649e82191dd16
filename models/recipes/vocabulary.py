"""The student's vocabulary: the XLM-R pieces that its languages need.

A piece's worth is its mean share over the languages' texts (English counts `english_weight`
times), mixed with its own unigram probability, which stands for everyday words and languages that
the texts lack. Both are square-rooted first: a cut piece breaks a word however rare the word is
(of the pack's everyday sentences, 90,000 pieces lack 7.5 % of the tokens without the root, 6.3 %
with it; these sentences are among those counted). Pieces in scripts of no served language are
dropped (5.8 %). Every single character stays, so nothing becomes unknown that the
teacher knew.

Two pieces are added: the first words of the product's retrieval prefixes. Their rows are copies
of the teacher's own prefix words, so `search_query: x` is to the student what `query: x` is to
the teacher, without any training. A student that starts from an earlier one has learned its
prefixes as they are, and gets none.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from embedge.models.bundle import write_atomically

SPECIALS = 4
"""<s>, <pad>, </s>, <unk>; XLM-R's last piece, <mask>, is dropped."""

PREFIX_PIECES = {"\u2581search_que": "\u2581que", "\u2581search_document": "\u2581passage"}
"""Added piece: the teacher's piece whose row it gets (XLM-R cuts `query:` into que, ry, :)."""

SPACE = "\u2581"
WITHOUT_SPACES = frozenset({"CJK", "HIRAGANA", "KATAKANA", "THAI"})
"""Scripts whose words do not begin with a space, by the first word of Unicode's names."""

Int32 = npt.NDArray[np.int32]
Word = tuple[str, str]
"""A word and its script."""


def count_shares(
    tokenizer: Path, texts: Mapping[str, Sequence[str]], weights: Mapping[str, float], pieces: int
) -> npt.NDArray[np.float64]:
    """Weighted sum over languages of each piece's share of the language's tokens."""
    full = Tokenizer.from_file(str(tokenizer))
    full.no_truncation()
    full.no_padding()
    total = np.zeros(pieces)
    for language, some in texts.items():
        counts: Counter[int] = Counter()
        for encoded in full.encode_batch_fast(list(some)):
            counts.update(encoded.ids)
        tokens = counts.total()
        for piece, count in counts.items():
            total[piece] += weights.get(language, 1.0) * count / tokens
    return total


def choose_pieces(
    shares: npt.NDArray[np.float64],
    pieces: Sequence[str],
    scores: npt.NDArray[np.float32],
    *,
    size: int,
    unigram: float,
    scripts: Collection[str],
) -> Int32:
    """Ids of the kept pieces, specials first, then ascending.

    Args:
        shares: worth of each piece from text.
        pieces: all pieces of the teacher, <mask> last.
        scores: their log probabilities.
        size: how many to keep.
        unigram: weight of the pieces' own probability against `shares`, 0 to 1.
        scripts: first words of Unicode character names, such as LATIN; others are dropped.
    """
    foreign = [i for i, piece in enumerate(pieces) if script_of(piece) not in (None, *scripts)]
    fixed = [*range(SPECIALS), len(pieces) - 1, *foreign]
    own = np.exp(scores.astype(np.float64))
    worth = [_without(fixed, shares), _without(fixed, own)]
    mixed = (1 - unigram) * worth[0] + unigram * worth[1]
    single = [i for i, piece in enumerate(pieces[:-1]) if i >= SPECIALS and len(piece) == 1]
    mixed[single] += 1  # more than any share, so these come first
    best = np.argsort(-mixed, kind="stable")[: size - SPECIALS]
    return np.concatenate([np.arange(SPECIALS), np.sort(best)]).astype(np.int32)


def _without(fixed: list[int], worth: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    rest = worth.copy()
    rest[fixed] = 0
    flattened = np.sqrt(rest)
    normalised: npt.NDArray[np.float64] = flattened / flattened.sum()
    return normalised


def script_of(piece: str) -> str | None:
    """First word of the Unicode name of the first letter; None without letters."""
    letter = next((c for c in piece if c.isalpha()), None)
    return None if letter is None else unicodedata.name(letter, "UNNAMED").split()[0]


def missing_words(pieces: Sequence[str], kept: Int32, scripts: Collection[str]) -> list[Word]:
    """Whole words that are one piece of the teacher's and several of the student's.

    Args:
        pieces: of the teacher.
        kept: those of the student.
        scripts: of the student.
    """
    lost = np.ones(len(pieces), np.bool_)
    lost[kept] = False
    found: dict[Word, None] = {}
    for i in np.flatnonzero(lost).tolist():
        word = pieces[i].lstrip(SPACE)
        script = script_of(word)
        starts = pieces[i].startswith(SPACE) or script in WITHOUT_SPACES
        # Vowel signs, as in Hindi and Thai, are marks and no letters.
        spelt = word[:1].isalpha() and all(unicodedata.category(c)[0] in "LM" for c in word)
        if script in scripts and script and starts and len(word) > 1 and spelt:
            found[word, script] = None
    return list(found)


def row_sources(kept: Int32, pieces: Sequence[str], added: Mapping[str, str]) -> Int32:
    """The teacher's row of each row of the student: the kept pieces, then those added."""
    prefix = [pieces.index(origin) for origin in added.values()]
    return np.concatenate([kept, np.array(prefix, np.int32)])


def write_tokenizer(
    full: Path,
    kept: Int32,
    file_pieces: tuple[Sequence[str], npt.NDArray[np.float32]],
    added: Iterable[str],
    out: Path,
) -> None:
    """Write the tokenizer of the kept and added pieces; normaliser and template stay.

    Added pieces have log probability 0, so that a prefix is always cut into them.
    """
    document = json.loads(full.read_text(encoding="utf-8"))
    pieces, scores = file_pieces
    vocabulary = [[pieces[i], float(scores[i])] for i in kept.tolist()]
    document["model"]["vocab"] = vocabulary + [[piece, 0.0] for piece in added]
    special = document["added_tokens"]
    document["added_tokens"] = [token for token in special if token["id"] < SPECIALS]
    write_atomically(out, json.dumps(document, ensure_ascii=False).encode())


def read_vocabulary(tokenizer: Path) -> tuple[list[str], list[float]]:
    """Pieces and log probabilities of a unigram `tokenizer.json`."""
    vocabulary = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    return [piece for piece, _ in vocabulary], [score for _, score in vocabulary]
