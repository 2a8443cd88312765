"""Learning-rate schedules."""

from __future__ import annotations

import numpy as np


def cosine_with_warmup(step: int, num_steps: int, warmup_ratio: float, peak: float = 1.0) -> float:
    """Compute the value of a cosine schedule with linear warm-up (paper section 4.3).

    transformers' `get_cosine_schedule_with_warmup` starts its warm-up at 0, one step earlier, which would change
    results.

    Args:
        step: Optimizer step, from 0.
        num_steps: Number of optimizer steps.
        warmup_ratio: Fraction of the steps that warm up, in [0, 1]; at least one step does.
        peak: Value at the end of the warm-up.

    Returns:
        A value in (0, peak] within the warm-up, then half a cosine from `peak` to 0 at step `num_steps`.
    """
    num_warmup_steps = max(1, round(warmup_ratio * num_steps))
    if step < num_warmup_steps:
        return peak * (step + 1) / num_warmup_steps
    num_decay_steps = max(1, num_steps - num_warmup_steps)
    return peak * 0.5 * (1 + float(np.cos(np.pi * (min(step, num_steps) - num_warmup_steps) / num_decay_steps)))
