"""Kimi-Audio through its own package (Kimi team 2025, arXiv 2504.18425), github.com/MoonshotAI/Kimi-Audio.

The package `kimia_infer` is installed by the user, runs remote code of the checkpoint, and needs an NVIDIA GPU; hence
only where the entry says `remote_code: true`. Its interface, as its README has it: `KimiAudio(model_path,
load_detokenizer)` and `generate(messages, output_type="text")`, which gives (None, text). It hands out no logits: the
letter is read from the text, and what is no letter is counted as wrong. The real model was not run here; a stand-in of
the same interface is, in the tests.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path

from synesthesia.config import ModelConfig
from synesthesia.models import ModelError
from synesthesia.models.text_model import EncodedClipInputs, Reply, TextOnlyModel, encode_wav

GREEDY_DECODING = {
    "text_temperature": 0.0,
    "text_top_k": 1,
    "text_repetition_penalty": 1.0,
    "audio_temperature": 0.0,
    "audio_top_k": 1,
    "audio_repetition_penalty": 1.0,
    "max_new_tokens": 16,
}


class KimiAudioModel(TextOnlyModel):
    """Hears: the sound as one message of the user, the question as the next."""

    condition = "audio"

    def __init__(self, model) -> None:
        self.model = model

    @classmethod
    def load(cls, model_config: ModelConfig) -> KimiAudioModel:
        """Load through the installed package; raise ModelError where it is missing or fails."""
        if not (Path(model_config.checkpoint) / "config.json").is_file():  # a name would be downloaded by the package
            raise ModelError(f"{model_config.checkpoint}: no model here (config.json is missing)")
        try:
            package = importlib.import_module("kimia_infer.api.kimia")
        except ImportError as error:
            raise ModelError(
                f"Kimi-Audio needs its own package, which is not installed here ({error}): see "
                "github.com/MoonshotAI/Kimi-Audio, or serve it elsewhere and ask it as an endpoint"
            ) from None
        try:
            return cls(package.KimiAudio(model_path=model_config.checkpoint, load_detokenizer=False))
        except Exception as error:  # whatever that package raises
            raise ModelError(
                f"{model_config.checkpoint}: kimia_infer failed ({type(error).__name__}: {error})"
            ) from error

    def reply(self, clip: EncodedClipInputs, prompt: str, num_options: int) -> Reply:
        """What it says, greedily; it gives no log-probabilities."""
        with tempfile.TemporaryDirectory(prefix="synesthesia-") as folder:
            path = Path(folder) / "clip.wav"  # the package reads files
            path.write_bytes(encode_wav(clip.audio))
            messages = [
                {"role": "user", "message_type": "audio", "content": str(path)},
                {"role": "user", "message_type": "text", "content": prompt},
            ]
            _, text = self.model.generate(messages, **GREEDY_DECODING, output_type="text")
        return Reply(text)
