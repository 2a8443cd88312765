"""Qwen-Audio-Chat through the code that ships with its checkpoint (Chu et al. 2023, arXiv 2311.07919).

That code is not part of transformers and runs only if the entry has `trust_remote_code: true`. It was written for
transformers 4.31; if it fails under the installed version, serve the model in a separate environment and use family
`endpoint`. Interface, from its README: `tokenizer.from_list_format`, `tokenizer.process_audio`, and a forward pass that
takes `audio_info`. The tests run a small checkpoint with the same interface, not the real one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from synesthesia.config import ModelConfig
from synesthesia.models.errors import ModelError
from synesthesia.models.text_model import EncodedClipInputs, Reply, TextOnlyModel
from synesthesia.schemas import LETTERS
from synesthesia.utils.device import select_device
from synesthesia.utils.wav import encode_wav

SYSTEM_PROMPT = "You are a helpful assistant."


class QwenAudioChatModel(TextOnlyModel):
    """Audio only. Letters come from the logits at the answer position, as for transformers' own classes."""

    condition = "audio"

    def __init__(self, model: torch.nn.Module, tokenizer: Any, device: str) -> None:
        self.model, self.tokenizer, self.device = model.to(device).eval(), tokenizer, device
        ids = [tokenizer.encode(letter) for letter in LETTERS]
        if any(len(i) != 1 for i in ids):
            raise ModelError(f"the letters A to J are not one token each in this vocabulary: {ids}")
        self.letter_ids = torch.tensor([i[0] for i in ids])

    @classmethod
    def load(cls, model_config: ModelConfig) -> QwenAudioChatModel:
        """Load from a folder with its own code (`auto_map`); weights are safetensors or plain tensors only.

        Args:
            model_config: Its entry in params.yaml.

        Returns:
            The model, ready to answer.

        Raises:
            ModelError: The folder is no such checkpoint, or its code fails.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        checkpoint = model_config.checkpoint
        if not (Path(checkpoint) / "config.json").is_file():
            raise ModelError(f"{checkpoint}: not a checkpoint (config.json is missing)")
        dtype = getattr(torch, model_config.dtype or "bfloat16")
        kwargs: dict[str, Any] = {"trust_remote_code": True, "local_files_only": True}
        try:
            tokenizer = AutoTokenizer.from_pretrained(checkpoint, **kwargs)
            model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype, weights_only=True, **kwargs)
        except Exception as error:  # remote code may raise anything
            raise ModelError(
                f"{checkpoint}: its own code fails in this environment ({type(error).__name__}: {error}); serve the "
                "model in a separate environment and use family endpoint (docs/how-to/own-model.md)"
            ) from error
        missing = [name for name in ("from_list_format", "process_audio") if not hasattr(tokenizer, name)]
        if missing:
            raise ModelError(f"{checkpoint} is no Qwen-Audio-Chat: its tokenizer lacks {' and '.join(missing)}")
        return cls(model, tokenizer, select_device())

    def render_prompt(self, audio_path: str, prompt: str) -> str:
        """Render the conversation as the model's own `chat` does, up to the position of the letter.

        Args:
            audio_path: Path of a WAV file.
            prompt: The question.

        Returns:
            The input as text.
        """
        query = self.tokenizer.from_list_format([{"audio": audio_path}, {"text": prompt}])
        return (
            f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n"
            f"<|im_start|>user\n{query}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )

    @torch.inference_mode()
    def reply(self, clip: EncodedClipInputs, prompt: str, num_options: int) -> Reply:
        """Return the most likely token as text, and the letters' logits.

        Args:
            clip: Media of the clip.
            prompt: The question.
            num_options: Number of options, 2 to 10.

        Returns:
            The reply.
        """
        assert clip.audio is not None, "Qwen-Audio-Chat needs audio"
        with tempfile.TemporaryDirectory(prefix="synesthesia-") as folder:
            path = Path(folder) / "clip.wav"  # the checkpoint's code reads files
            path.write_bytes(encode_wav(clip.audio))
            text = self.render_prompt(str(path), prompt)
            audio_info = self.tokenizer.process_audio(text)
            batch = self.tokenizer(text, return_tensors="pt", audio_info=audio_info)
            inputs = {k: v.to(self.device) for k, v in batch.items() if k in ("input_ids", "attention_mask")}
            logits = self.model(**inputs, audio_info=audio_info, use_cache=False).logits[0, -1].float().cpu()
        letter_logits = tuple(logits[self.letter_ids[:num_options]].tolist())
        return Reply(self.tokenizer.decode([int(logits.argmax())]), letter_logits)
