"""The memory model and `max_memory`."""

import subprocess
import sys
from pathlib import Path

import pytest

from embedge import Embedder, InvalidOption, MemoryBudgetError
from embedge.runtime.memory import (
    MemoryModel,
    batch_tokens_within,
    check_before_loading,
    default_batch_tokens,
    parse_size,
    peak_rss,
    resident_rss,
)

MODEL = MemoryModel(
    hidden=384, inner=1536, heads=12, experts_per_token=2, weights=60_000_000, table=25_000_000
)


@pytest.mark.parametrize(
    ("text", "size"),
    [("800MB", 800_000_000), ("1GiB", 1 << 30), ("1.5 gb", 1_500_000_000), ("64k", 64_000),
     ("123", 123), (456, 456), ("2 MiB", 2 << 20)],
)  # fmt: skip
def test_sizes_read_with_and_without_units(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-5MB", "0", "1XB", "MB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="800MB"):
        parse_size(text)


def test_more_memory_gives_larger_batches_up_to_the_default() -> None:
    budgets = [
        batch_tokens_within(
            MODEL, limit * 10**6, longest=512, wanted=1024, peak=0, resident=100 * 10**6
        )
        for limit in (230, 250, 260, 2000)
    ]
    assert budgets == sorted(budgets)
    assert 512 <= budgets[0] < budgets[2]
    assert budgets[-1] == 1024


def test_batches_grow_with_the_threads_within_limits() -> None:
    assert [default_batch_tokens(n) for n in (1, 2, 4, 8, 64)] == [512, 512, 1024, 2048, 4096]


def test_a_limit_without_room_for_one_text_is_refused_with_one_that_works() -> None:
    with pytest.raises(MemoryBudgetError, match=r"Allow (\d+) MB") as caught:
        batch_tokens_within(MODEL, 130_000_000, longest=512, wanted=1024, peak=0, resident=10**8)
    allowed = int(str(caught.value).split("Allow ")[1].split()[0]) * 10**6
    assert (
        batch_tokens_within(MODEL, allowed, longest=512, wanted=1024, peak=0, resident=10**8) >= 512
    )


def test_the_peak_so_far_counts() -> None:
    with pytest.raises(MemoryBudgetError):
        batch_tokens_within(MODEL, 10**9, longest=512, wanted=1024, peak=10**9, resident=10**8)


def test_weights_that_cannot_fit_are_refused_before_loading() -> None:
    with pytest.raises(MemoryBudgetError, match=r"mini.*at least 98 MB"):
        check_before_loading(MODEL, 90_000_000, "mini")
    check_before_loading(MODEL, 100_000_000, "mini")


def test_this_process_has_a_size() -> None:
    assert 10**7 < resident_rss() <= peak_rss()


def test_an_impossible_limit_is_refused_by_the_embedder(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(MemoryBudgetError):
        Embedder(tiny_bundle, cache_dir=tmp_path, max_memory="10MB")


def test_the_peak_stays_below_max_memory(tiny_bundle: Path, tmp_path: Path) -> None:
    """In a fresh process, whose peak is its own; vectors are those without a limit."""
    code = """
import sys
import numpy as np
from embedge import Embedder
from embedge.runtime.memory import peak_rss
texts = ["the river house " * n for n in (1, 20, 160) * 8]
limit = peak_rss() + 120_000_000
with Embedder(sys.argv[1], cache_dir=sys.argv[2], max_memory=limit) as bounded:
    vectors = bounded.encode(texts)
    assert peak_rss() <= limit, (peak_rss(), limit)
with Embedder(sys.argv[1], cache_dir=sys.argv[2]) as free:
    np.testing.assert_array_equal(free.encode(texts), vectors)
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_bundle), str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr
