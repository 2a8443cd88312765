"""Model inputs of one clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClipInputs:
    """Media of one clip, limited to the modalities of the respondent's condition.

    Attributes:
        audio: float32 (samples,) in [-1, 1) at 16 kHz mono, or None.
        frames: uint8 (frames, height, width, 3), or None.
    """

    audio: np.ndarray | None = None
    frames: np.ndarray | None = None
