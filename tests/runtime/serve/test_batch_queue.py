"""What is computed together: everything once, within the budget, every request in its turn."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.runtime.serve.batch_queue import BatchQueue, Window


class _Job:
    """Stands for a request; the queue only tells them apart."""


def _windows(job, lengths):
    return [Window(job, row, np.zeros(1, np.int32), n) for row, n in enumerate(lengths)]


lengths = st.lists(st.lists(st.integers(1, 64), min_size=1, max_size=20), min_size=1, max_size=6)


@given(lengths, st.integers(1, 200), st.one_of(st.none(), st.integers(1, 8)))
def test_every_window_comes_once_and_every_batch_fits_when_padded(jobs, budget, most):
    queue = BatchQueue(budget, most)
    for each in jobs:
        queue.put(_windows(_Job(), each))
    seen = []
    while queue.tokens:
        batch = queue.take()
        widest = max(window.length for window in batch)
        assert len(batch) == 1 or widest * len(batch) <= budget
        assert len(batch) <= (most or budget)
        seen += [(id(window.job), window.row) for window in batch]
    assert len(seen) == len(set(seen)) == sum(map(len, jobs))


def test_a_batch_is_filled_with_the_closest_lengths_below():
    queue = BatchQueue(40)
    queue.put(_windows(_Job(), [10, 3]))
    queue.put(_windows(_Job(), [9, 2, 8, 9, 30]))
    assert sorted(w.length for w in queue.take()) == [8, 9, 9, 10]


def test_a_short_first_one_takes_longer_ones_along_where_they_fit():
    queue = BatchQueue(40)
    queue.put(_windows(_Job(), [2]))
    queue.put(_windows(_Job(), [12, 13, 14]))
    assert sorted(w.length for w in queue.take()) == [2, 12, 13]  # 14 * 4 would be 56


def test_requests_take_turns_whatever_their_size():
    queue = BatchQueue(10)
    large, small = _Job(), _Job()
    queue.put(_windows(large, [10] * 100))
    queue.put(_windows(small, [9] * 3))
    owners = [queue.take()[0].job for _ in range(6)]
    assert owners == [large, small] * 3


def test_a_dropped_request_leaves_nothing_behind():
    queue = BatchQueue(10)
    gone, kept = _Job(), _Job()
    queue.put(_windows(gone, [10] * 5))
    queue.put(_windows(kept, [7]))
    assert queue.waiting_of_jobs() == {gone: 50, kept: 7}
    queue.drop(gone)
    queue.drop(gone)
    assert queue.waiting_of_jobs() == {kept: 7}
    assert queue.tokens == 7
    assert [w.job for w in queue.take()] == [kept]


@pytest.mark.parametrize("filled", [True, False])
def test_closing_wakes_the_taker_and_forgets_the_rest(filled):
    queue = BatchQueue(10)
    if filled:
        queue.put(_windows(_Job(), [1]))
        queue.close()
        assert queue.take() is None
    else:
        taken = []
        thread = threading.Thread(target=lambda: taken.append(queue.take()))
        thread.start()
        queue.close()
        thread.join(10)
        assert taken == [None]
    queue.put(_windows(_Job(), [1]))
    assert queue.tokens == 0
