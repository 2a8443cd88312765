"""Kimi-Audio through its own package (Kimi team 2025, arXiv 2504.18425), github.com/MoonshotAI/Kimi-Audio.

The user installs the package `kimia_infer`. It runs remote code of the checkpoint and needs an NVIDIA GPU, so it runs
only if the entry has `trust_remote_code: true`. Interface, from its README: `KimiAudio(model_path, load_detokenizer)`
and `generate(messages, output_type="text")`, which returns (None, text). It returns no logits: the letter is parsed
from the text, and text without a letter counts as wrong. The tests run a stand-in with the same interface, not the real
model.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

from synesthesia.config import ModelConfig
from synesthesia.models.errors import ModelError
from synesthesia.models.text_model import EncodedClipInputs, Reply, TextOnlyModel
from synesthesia.utils.wav import encode_wav

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
    """Audio only: the audio is one user message, the question the next."""

    condition = "audio"

    def __init__(self, model: Any) -> None:
        self.model = model

    @classmethod
    def load(cls, model_config: ModelConfig) -> KimiAudioModel:
        """Load through the installed package.

        Args:
            model_config: Its entry in params.yaml.

        Returns:
            The model, ready to answer.

        Raises:
            ModelError: The package or the checkpoint is missing, or the package fails.
        """
        if not (Path(model_config.checkpoint) / "config.json").is_file():  # the package would download a model name
            raise ModelError(f"{model_config.checkpoint}: not a checkpoint (config.json is missing)")
        try:
            package = importlib.import_module("kimia_infer.api.kimia")
        except ImportError as error:
            raise ModelError(
                f"Kimi-Audio needs its own package, which is not installed ({error}): see "
                "github.com/MoonshotAI/Kimi-Audio, or serve the model and use family endpoint"
            ) from None
        try:
            return cls(package.KimiAudio(model_path=model_config.checkpoint, load_detokenizer=False))
        except Exception as error:  # the package may raise anything
            raise ModelError(
                f"{model_config.checkpoint}: kimia_infer failed ({type(error).__name__}: {error})"
            ) from error

    def reply(self, clip: EncodedClipInputs, prompt: str, num_options: int) -> Reply:
        """Return greedily decoded text, without log-probabilities.

        Args:
            clip: Media of the clip.
            prompt: The question.
            num_options: Unused.

        Returns:
            The reply.
        """
        assert clip.audio is not None, "Kimi-Audio needs audio"
        with tempfile.TemporaryDirectory(prefix="synesthesia-") as folder:
            path = Path(folder) / "clip.wav"  # the package reads files
            path.write_bytes(encode_wav(clip.audio))
            messages = [
                {"role": "user", "message_type": "audio", "content": str(path)},
                {"role": "user", "message_type": "text", "content": prompt},
            ]
            _, text = self.model.generate(messages, **GREEDY_DECODING, output_type="text")
        return Reply(text)
