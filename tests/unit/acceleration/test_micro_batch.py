"""The largest micro-batch that fits: the order of trying, agreement between processes, and too little for one clip."""

import gc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthesia.acceleration import micro_batch

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True, scope="module")
def other_tests_objects_stay():
    """Memory is tidied up at each try: in a process with millions of objects of other tests, for half a second."""
    gc.freeze()


@given(processes=st.sampled_from([1, 2, 4]), share=st.integers(1, 24))
def test_candidates_divide_the_share_largest_first_and_recompute_last(processes, share):
    tries = list(micro_batch.candidates(share * processes, processes, None))
    plain = [n for n, again in tries if not again]
    assert plain[0] == share
    assert plain[-1] == 1
    assert plain == sorted(plain, reverse=True)
    assert all(share % n == 0 for n in plain)
    assert [n for n, again in tries[len(plain) :] if again] == plain


def test_a_micro_batch_that_was_asked_for_is_the_only_candidate():
    assert list(micro_batch.candidates(8, 1, 2)) == [(2, False)]


def attempts(holds):
    def attempt(micro, again):
        if micro > holds or (holds == 0 and not again):
            raise torch.cuda.OutOfMemoryError("no")

    return attempt


@pytest.mark.parametrize("holds, expected", [(8, (8, False)), (5, (4, False)), (1, (1, False))])
def test_the_first_that_memory_holds_is_taken(holds, expected):
    assert (
        micro_batch.select_first_that_fits(micro_batch.candidates(8, 1, None), attempts(holds), lambda fits: fits)
        == expected
    )


def test_what_fits_here_but_not_elsewhere_is_not_taken():
    said = iter([False, False, True])
    assert micro_batch.select_first_that_fits(
        micro_batch.candidates(8, 1, None), attempts(8), lambda fits: next(said)
    ) == (2, False)


def test_too_little_for_one_clip_is_one_sentence_with_what_helps(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**30, 24 * 2**30))
    with pytest.raises(
        micro_batch.InsufficientMemoryError, match=r"too little GPU memory for even one clip: 1\.0 of 24\.0 GiB"
    ):
        micro_batch.select_first_that_fits(micro_batch.candidates(8, 1, None), attempts(0.5), lambda fits: fits)
