"""Interface of text-only models (APIs, remote code): they return text and, where available, letter log-probabilities.

For models whose interface returns no tensors (an endpoint, remote code, a separate package); those of transformers' own
classes are `base.LanguageModel`. This module imports no torch: an endpoint needs none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EncodedClipInputs:
    """Media of one clip as an endpoint takes them, limited to the modalities of the respondent's condition.

    Attributes:
        audio: float32 (samples,) in [-1, 1) at 16 kHz mono, or None.
        jpegs: Frames as JPEG files, or None.
    """

    audio: np.ndarray | None = None
    jpegs: tuple[bytes, ...] | None = None


@dataclass(frozen=True)
class Reply:
    """A reply to one question.

    Attributes:
        text: Its text, or None for a refusal.
        letter_logprobs: Log-probabilities or logits (options,) of the letters, or None if the model returns none.
        is_refused: Whether a content filter, or the model itself, refused to answer.
    """

    text: str | None
    letter_logprobs: tuple[float, ...] | None = None
    is_refused: bool = False


class TextOnlyModel(ABC):
    """A model that returns text only.

    Attributes:
        condition: Modalities of the model: `audio`, `silent_video` or `sounded_video`.
        frames_per_second: Rate at which its frames were sampled.
        concurrency: Number of questions in flight, each in a thread of its own.
    """

    condition: str
    frames_per_second: float = 1.0
    concurrency: int = 1

    @abstractmethod
    def reply(self, clip: EncodedClipInputs, prompt: str, num_options: int) -> Reply:
        """Answer one question.

        Args:
            clip: Media of the clip.
            prompt: The question (`questions.prompt.format_prompt`).
            num_options: Number of options, 2 to 10.

        Returns:
            The reply.

        Raises:
            ModelError: No further question can be answered.
        """
