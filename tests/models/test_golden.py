"""The published facts in the package, and the tokenizer that must give their ids."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedge.models.golden import TokenizerCase, read_golden
from embedge.models.source import PUBLISHED_REVISION

GOLDEN = read_golden()


def test_facts_belong_to_the_pinned_revision() -> None:
    assert GOLDEN.weights_revision == PUBLISHED_REVISION
    assert len(GOLDEN.tokenizer_cases) == 46


def test_published_vectors_have_the_published_norms_and_cosine() -> None:
    first, second = (vector.values.astype(np.float64) for vector in GOLDEN.vectors)
    norms = np.linalg.norm(first), np.linalg.norm(second)
    assert norms == pytest.approx((14.97783, 15.447803), abs=1e-5)
    assert first @ second / (norms[0] * norms[1]) == pytest.approx(0.762963, abs=1e-6)


def test_routing_sends_every_token_to_two_different_experts() -> None:
    expert, weight = GOLDEN.routing.expert, GOLDEN.routing.gate_weight
    assert expert.shape == weight.shape == (2, 13, 2)
    assert (expert[..., 0] != expert[..., 1]).all()
    assert (weight[..., 0] >= weight[..., 1]).all()
    assert (weight.sum(axis=-1) < 1).all()


@pytest.fixture(scope="module")
def tokens(xlmr_tokenizer_file: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(xlmr_tokenizer_file))


@pytest.mark.parametrize("case", GOLDEN.tokenizer_cases, ids=lambda case: repr(case.text)[:30])
def test_tokenizer_gives_the_published_ids(case: TokenizerCase, tokens: Any) -> None:
    assert list(case.ids) == tokens.encode(case.text, add_special_tokens=False).ids


@pytest.mark.parametrize("case", GOLDEN.tokenizer_cases, ids=lambda case: repr(case.text)[:30])
def test_runtime_gives_the_published_ids(case: TokenizerCase, runtime_tokens: Any) -> None:
    assert list(case.ids) == runtime_tokens.ids(case.text).tolist()


@pytest.fixture(scope="module")
def runtime_tokens(xlmr_tokenizer_file: Path) -> Any:
    from embedge.runtime.tokens import Tokens

    return Tokens.from_file(xlmr_tokenizer_file, 512)


def test_prefixed_queries_give_the_published_ids_with_special_tokens(tokens: Any) -> None:
    states = GOLDEN.hidden_states
    for text, ids, mask in zip(states.texts, states.input_ids, states.attention_mask, strict=True):
        assert ids[mask == 1].tolist() == tokens.encode(text).ids
