"""Sample texts as padded token batches, with the prefix of each text's task."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedge.models.bundle import Bundle
from embedge.models.errors import InputError
from embedge.models.sample_texts import SampleText
from embedge.models.space import PROMPT_TASKS
from embedge.runtime.batching import pad_batch, plan_batches
from embedge.runtime.tokens import Tokens

Int64 = NDArray[np.int64]

# Padded tokens per batch: large enough to keep two cores busy, small enough for the memory bound.
_BUDGET_TOKENS = 1024


@dataclass(frozen=True)
class TokenBatch:
    """Positions of the texts in the list given, token ids and mask, both (texts, tokens)."""

    positions: tuple[int, ...]
    ids: Int64
    mask: Int64

    @property
    def tokens(self) -> int:
        """Number of real tokens."""
        return int(self.mask.sum())


def token_batches(bundle: Bundle, texts: Sequence[SampleText]) -> list[TokenBatch]:
    """Tokenize `texts` for the model of `bundle`, cut to its limit and grouped by length."""
    identity = bundle.manifest.identity
    tokens = Tokens.from_file(bundle.tokenizer_path, identity.max_tokens)
    room = identity.max_tokens - tokens.n_special
    pieces = [tokens.ids(identity.prompts[row.task] + row.text)[:room] for row in texts]
    lengths = [len(piece) + tokens.n_special for piece in pieces]
    batches = []
    for positions in plan_batches(lengths, budget_tokens=_BUDGET_TOKENS):
        ids, mask = pad_batch([pieces[position] for position in positions], tokens)
        batches.append(TokenBatch(tuple(positions), ids, mask))
    return batches


def texts_of_files(paths: Sequence[Path]) -> list[SampleText]:
    """Read one text per line; the prompts take turns.

    Raises:
        InputError: a file cannot be read as UTF-8, or the files hold no text.
    """
    lines = [line for path in paths for line in _lines(path) if line.strip()]
    if not lines:
        names = ", ".join(str(path) for path in paths)
        raise InputError(f"{names} holds no text; put one text per line", "no_text")
    return [
        SampleText(f"part{number // 4 % 4}", PROMPT_TASKS[number % 4], line)
        for number, line in enumerate(lines)
    ]


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error}; convert it first", "encoding") from error
    except OSError as error:
        code = "not_found" if isinstance(error, FileNotFoundError) else "permission"
        raise InputError(
            f"{path} cannot be read: {error.strerror}; check the path", code
        ) from error


def texts_sha256(texts: Sequence[SampleText]) -> str:
    """Hash tasks and texts in order."""
    digest = hashlib.sha256()
    for row in texts:
        digest.update(json.dumps([row.task, row.text], ensure_ascii=False).encode("utf-8"))
    return digest.hexdigest()
