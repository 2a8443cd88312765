"""The contract of a model that only talks: one clip and one question in, words out, log-probabilities where it has any.

For models behind an interface that hands out no tensors (an endpoint, remote code, a package of its own); those of
transformers' own classes are `base.LanguageModel`. Imports no torch: an endpoint needs none.
"""

from __future__ import annotations

import io
import wave
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 16000


@dataclass(frozen=True)
class EncodedClipInputs:
    """What a talker perceives: audio float32 (samples,) in [-1, 1) at 16 kHz, frames as JPEGs; None: not that sense."""

    audio: np.ndarray | None = None
    jpegs: tuple[bytes, ...] | None = None


@dataclass(frozen=True)
class Reply:
    """What was said, and log-probabilities or logits (options,) of the letters; each None where there is none."""

    text: str | None
    letter_logprobs: tuple[float, ...] | None = None


class TextOnlyModel(ABC):
    """A model that only talks. `concurrency` questions may be asked at a time, from as many threads."""

    condition: str
    concurrency: int = 1

    @abstractmethod
    def reply(self, clip: EncodedClipInputs, prompt: str, num_options: int) -> Reply:
        """Answer one question of `options` letters; raise ModelError where no further question would be answered."""


def encode_wav(audio: np.ndarray) -> bytes:
    """A WAV file, 16-bit mono at 16 kHz, of float32 (samples,) in [-1, 1)."""
    samples = np.clip(np.rint(audio * 32768.0), -32768, 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(samples.tobytes())
    return file.getvalue()
