"""The largest micro-batch that memory holds, found by trying; the effective batch stays what the parameters say."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import torch


class InsufficientMemoryError(ValueError):
    """Not even one clip fits; the message says what there is and what helps."""


def candidates(global_batch_size: int, world_size: int, requested: int | None) -> Iterator[tuple[int, bool]]:
    """(micro-batch, whether activations are computed again in the backward pass), the fastest first.

    Divisors of each process's share of the effective batch, largest first; recomputing costs a third more work and is
    tried only where one clip does not fit without. `asked`: this micro-batch and no other.
    """
    share = global_batch_size // world_size
    if requested is not None:
        yield requested, False
        return
    sizes = [n for n in range(share, 0, -1) if share % n == 0]
    yield from ((n, False) for n in sizes)
    yield from ((n, True) for n in sizes)


def select_first_that_fits(
    settings: Iterator[tuple[int, bool]], attempt: Callable[[int, bool], None], all_ranks: Callable[[bool], bool]
):
    """The first candidate whose `attempt` (one forward and backward pass of the longest clips) memory holds.

    agree: whether all processes say yes. Raises OutOfMemory where none fits.
    """
    for micro, again in settings:
        try:
            attempt(micro, again)
            fits = True
        except torch.cuda.OutOfMemoryError:
            fits = False
        gc.collect()
        torch.cuda.empty_cache()
        if all_ranks(fits):
            return micro, again
    free, total = torch.cuda.mem_get_info()
    raise InsufficientMemoryError(
        f"too little GPU memory for even one clip: {free / 2**30:.1f} of {total / 2**30:.1f} GiB are free beside the "
        "model's weights; use a card with more memory, a smaller model, or fewer pixels a frame "
        "(curate.largest_pixels)"
    )
