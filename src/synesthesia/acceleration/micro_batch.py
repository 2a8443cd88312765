"""The largest micro-batch that fits in memory, found by trying; the global batch size stays what the parameters say."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import torch


class InsufficientMemoryError(ValueError):
    """Not even one clip fits; the message says what is free and what helps."""


def candidates(global_batch_size: int, world_size: int, requested: int | None) -> Iterator[tuple[int, bool]]:
    """Yield settings to try, the fastest first.

    Recomputing activations costs a third more work and is tried only where one clip does not fit without.

    Args:
        global_batch_size: Clips of an optimizer step.
        world_size: Processes that share them evenly.
        requested: Yield this micro-batch size and no other; None tries every divisor, largest first.

    Yields:
        Micro-batch size, and whether the backward pass recomputes activations.
    """
    local_batch_size = global_batch_size // world_size
    if requested is not None:
        yield requested, False
        return
    sizes = [n for n in range(local_batch_size, 0, -1) if local_batch_size % n == 0]
    yield from ((n, False) for n in sizes)
    yield from ((n, True) for n in sizes)


def select_first_that_fits(
    settings: Iterator[tuple[int, bool]], attempt: Callable[[int, bool], None], all_ranks: Callable[[bool], bool]
) -> tuple[int, bool]:
    """Return the first setting whose attempt fits in memory on all processes.

    Args:
        settings: As `candidates` yields them.
        attempt: Runs one forward and backward pass of the longest clips; raises torch's OutOfMemoryError.
        all_ranks: Whether a condition holds on all processes.

    Returns:
        Micro-batch size, and whether the backward pass recomputes activations.

    Raises:
        InsufficientMemoryError: No setting fits.
    """
    for micro_batch_size, recompute in settings:
        try:
            attempt(micro_batch_size, recompute)
            fits = True
        except torch.cuda.OutOfMemoryError:
            fits = False
        gc.collect()
        torch.cuda.empty_cache()
        if all_ranks(fits):
            return micro_batch_size, recompute
    free, total = torch.cuda.mem_get_info()
    raise InsufficientMemoryError(
        f"too little GPU memory for even one clip: {free / 2**30:.1f} of {total / 2**30:.1f} GiB are free beside the "
        "model's weights; use a card with more memory, a smaller model, or fewer pixels per frame "
        "(curate.max_pixels)"
    )
