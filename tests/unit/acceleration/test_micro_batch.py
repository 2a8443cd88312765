"""Search for the largest micro-batch that fits in memory: order of candidates, agreement of processes, and errors."""

import gc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthesia.acceleration import micro_batch

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True, scope="module")
def freeze_gc():
    """Each attempt runs the garbage collector, which takes 0.5 s unless the objects of other tests are excluded."""
    gc.freeze()


@given(world_size=st.sampled_from([1, 2, 4]), local_batch_size=st.integers(1, 24))
def test_candidates_are_divisors_in_descending_order_and_recompute_last(world_size, local_batch_size):
    candidates = list(micro_batch.candidates(local_batch_size * world_size, world_size, None))
    sizes = [size for size, recompute in candidates if not recompute]
    assert sizes[0] == local_batch_size
    assert sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True)
    assert all(local_batch_size % size == 0 for size in sizes)
    assert [size for size, recompute in candidates[len(sizes) :] if recompute] == sizes


def test_requested_micro_batch_is_the_only_candidate():
    assert list(micro_batch.candidates(8, 1, 2)) == [(2, False)]


def make_attempt(capacity):
    """Make an `attempt` that runs out of memory above `capacity` clips; with 0, recomputation always fits."""

    def attempt(micro_batch_size, recompute):
        if micro_batch_size > capacity or (capacity == 0 and not recompute):
            raise torch.cuda.OutOfMemoryError("no")

    return attempt


def select(attempt, all_ranks=lambda fits: fits):
    return micro_batch.select_first_that_fits(micro_batch.candidates(8, 1, None), attempt, all_ranks)


@pytest.mark.parametrize("capacity, expected", [(8, (8, False)), (5, (4, False)), (1, (1, False))])
def test_first_candidate_that_fits_is_selected(capacity, expected):
    assert select(make_attempt(capacity)) == expected


def test_candidate_that_does_not_fit_on_all_ranks_is_skipped():
    fits_on_all_ranks = iter([False, False, True])
    assert select(make_attempt(8), lambda fits: next(fits_on_all_ranks)) == (2, False)


def test_error_reports_free_memory_if_not_one_clip_fits(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**30, 24 * 2**30))
    with pytest.raises(
        micro_batch.InsufficientMemoryError, match=r"too little GPU memory for even one clip: 1\.0 of 24\.0 GiB"
    ):
        select(make_attempt(0.5))
