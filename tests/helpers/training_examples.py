"""Training examples with every combination of label and teacher logits."""

import numpy as np

from synesthesia.distillation.targets import Targets
from tests.helpers.tiny_checkpoints import study

CLIPS = 12


def lessons(seed=0):
    """Letters for all clips but the third and sixth, teacher's logits for every other one and these two."""
    _, asked, _ = study(CLIPS)
    random = np.random.default_rng(seed)
    counts = np.array([len(o) for o in asked["options"].to_pylist()])
    letters = random.integers(0, counts)
    letters[[2, 5]] = -1
    soft = np.arange(CLIPS) % 2 == 0
    soft[[2, 5]] = True
    logits = (2 * random.standard_normal((CLIPS, 10))).astype(np.float32)
    logits[np.arange(10) >= counts[:, None]] = -np.inf
    logits[~soft] = 0
    return Targets(asked, letters, soft, logits, teacher_fraction=0.5)
