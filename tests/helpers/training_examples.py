"""Training targets with every combination of label and teacher logits."""

import numpy as np

from synesthesia.distillation.targets import Targets
from tests.helpers.tiny_checkpoints import small_store

NUM_CLIPS = 12


def make_training_targets(seed=0):
    """Make labels for all clips except two, and teacher logits for every second clip and for those two."""
    _, questions, _ = small_store(NUM_CLIPS)
    rng = np.random.default_rng(seed)
    num_options = np.array([len(options) for options in questions["options"].to_pylist()])
    labels = rng.integers(0, num_options)
    labels[[2, 5]] = -1
    kl_mask = np.arange(NUM_CLIPS) % 2 == 0
    kl_mask[[2, 5]] = True
    teacher_logits = (2 * rng.standard_normal((NUM_CLIPS, 10))).astype(np.float32)
    teacher_logits[np.arange(10) >= num_options[:, None]] = -np.inf
    teacher_logits[~kl_mask] = 0
    return Targets(questions, labels, kl_mask, teacher_logits, teacher_fraction=0.5)
