"""Texts to measure with: multilingual, of a wanted number of tokens, the same in every run."""

import itertools
import random
from collections.abc import Iterator

from embedge.models.errors import InvalidOption
from embedge.models.sample_texts import measurement_texts
from embedge.runtime.tokens import Tokens

_SEED = 7
# Lengths of passages and queries mixed: log-normal, half of them below 60 tokens, a tenth above
# 215. Real corpora differ; this one is always the same.
_MEDIAN_TOKENS, _SIGMA = 60, 1.0


class TextMaker:
    """Cuts texts out of the packaged sample by the model's own tokenizer."""

    def __init__(self, tokens: Tokens, n_prefix: int) -> None:
        """Take the tokenizer and the tokens that the prefix of the task adds."""
        self._tokens = tokens
        self._n_extra = n_prefix + tokens.n_special
        self._source = _endless_words()

    def of_length(self, n_tokens: int, count: int) -> list[str]:
        """Return `count` different texts of `n_tokens`, prefix and special tokens included.

        Exact but for a token or two, where a cut changes how the last word is split; never more
        than wanted.

        Raises:
            InvalidOption: the length is above the model's limit, or leaves no room for a text.
        """
        least, most = self._n_extra + 1, self._tokens.max_tokens
        if not least <= n_tokens <= most:
            raise InvalidOption(
                f"a text of {n_tokens} tokens is outside {least} to {most}, what the model takes "
                f"with its prefix; choose other --lengths"
            )
        return [self._one(n_tokens - self._n_extra) for _ in range(count)]

    def mixed(self, count: int) -> list[str]:
        """Return texts whose lengths are spread as in a mixed corpus."""
        import numpy as np

        rng = np.random.default_rng(_SEED)
        lengths = rng.lognormal(np.log(_MEDIAN_TOKENS), _SIGMA, size=count)
        shortest = self._n_extra + 1
        clipped = np.clip(np.rint(lengths), shortest, self._tokens.max_tokens)
        return [text for length in clipped for text in self.of_length(int(length), 1)]

    def _one(self, n_tokens: int) -> str:
        text = " ".join(itertools.islice(self._source, n_tokens))
        while True:
            offsets = self._tokens.offsets(text)
            if len(offsets) > n_tokens:
                # Back to the last token that fits; a shorter text may be split into more pieces.
                text = text[: max(1, min(offsets[n_tokens - 1][1], len(text) - 1))].rstrip()
            elif len(offsets) < n_tokens and len(text.split()) < n_tokens:
                text = f"{text} {next(self._source)}"
            else:
                return text


def _endless_words() -> Iterator[str]:
    """Yield the words of the sample for ever; texts in mixed order, each as it is."""
    texts = [text.text for text in measurement_texts()]
    random.Random(_SEED).shuffle(texts)
    return itertools.cycle(word for text in texts for word in text.split())
