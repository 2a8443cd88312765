"""A tiny switch, and tones of two classes that differ in frequency."""

import numpy as np
import torch

from synesthesia.distillation.switch import Switch

CONFIG = {"architecture": "tiny_cnn14", "sample_rate": 16000, "window_size": 512, "hop_size": 320, "mel_bins": 32,
          "channels": [8, 16], "num_classes": 5}  # fmt: skip


def make_switch(seed=0, **changes):
    """Make a switch with random weights; `changes` override CONFIG."""
    torch.manual_seed(seed)
    return Switch({**CONFIG, **changes})


def make_tones(num_clips=24, seconds=1.0, seed=0):
    """Make alternating low and high tones, float32 (clips, samples), and whether each is high, float32 (clips,)."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * 16000)) / 16000
    is_high = np.arange(num_clips) % 2 == 1
    frequency = np.where(is_high, rng.uniform(2500, 4000, num_clips), rng.uniform(150, 400, num_clips))
    waveforms = 0.3 * np.sin(2 * np.pi * frequency[:, None] * t) + 0.02 * rng.standard_normal((num_clips, len(t)))
    return torch.from_numpy(waveforms.astype(np.float32)), torch.from_numpy(is_high.astype(np.float32))
