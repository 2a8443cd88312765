"""Qwen-Audio-Chat through the code that comes with its checkpoint (Chu et al. 2023, arXiv 2311.07919).

That code is not transformers' and runs only where the entry says `remote_code: true`. It was written for transformers
4.31; where it does not run here, serve the model in an environment of its own and ask it as an `endpoint`. Its
interface, as its README has it: `tokenizer.from_list_format`, `tokenizer.process_audio`, and a forward pass that takes
`audio_info`. The real checkpoint was not run here; a small one of the same interface is, in the tests.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from synesthesia.config import ModelConfig
from synesthesia.models import ModelError
from synesthesia.models.text_model import EncodedClipInputs, Reply, TextOnlyModel, encode_wav
from synesthesia.schemas import LETTERS
from synesthesia.utils import device

SYSTEM_PROMPT = "You are a helpful assistant."


class QwenAudioChatModel(TextOnlyModel):
    """Hears. Letters are read from the logits at the answer position, as for transformers' own classes."""

    condition = "audio"

    def __init__(self, model: torch.nn.Module, tokenizer, device: str) -> None:
        self.model, self.tokenizer, self.device = model.to(device).eval(), tokenizer, device
        ids = [tokenizer.encode(letter) for letter in LETTERS]
        if any(len(i) != 1 for i in ids):
            raise ModelError(f"the letters A to J are not one token each in this vocabulary: {ids}")
        self.letter_ids = torch.tensor([i[0] for i in ids])

    @classmethod
    def load(cls, model_config: ModelConfig) -> QwenAudioChatModel:
        """Load from a folder with its own code (`auto_map`); weights from safetensors, or as plain tensors alone."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if not (Path(model_config.checkpoint) / "config.json").is_file():
            raise ModelError(f"{model_config.checkpoint}: no model here (config.json is missing)")
        dtype = getattr(torch, model_config.dtype or "bfloat16")
        options = {"trust_remote_code": True, "local_files_only": True}
        try:
            tokenizer = AutoTokenizer.from_pretrained(model_config.checkpoint, **options)
            loaded = AutoModelForCausalLM.from_pretrained(
                model_config.checkpoint, dtype=dtype, weights_only=True, **options
            )
        except Exception as error:  # whatever that code raises
            raise ModelError(
                f"{model_config.checkpoint}: its own code does not run here ({type(error).__name__}: {error}); serve it in an "
                "environment of its own and ask it as an endpoint (README, Another model)"
            ) from error
        lacking = [name for name in ("from_list_format", "process_audio") if not hasattr(tokenizer, name)]
        if lacking:
            raise ModelError(
                f"{model_config.checkpoint} is no Qwen-Audio-Chat: its tokenizer lacks {' and '.join(lacking)}"
            )
        return cls(loaded, tokenizer, device.select_device())

    def render_prompt(self, audio_path: str, prompt: str) -> str:
        """The conversation as the model's own `chat` writes it, up to where the letter is expected."""
        query = self.tokenizer.from_list_format([{"audio": audio_path}, {"text": prompt}])
        return f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n<|im_start|>user\n{query}<|im_end|>\n<|im_start|>assistant\n"

    @torch.inference_mode()
    def reply(self, clip: EncodedClipInputs, prompt: str, num_options: int) -> Reply:
        """The likeliest token as text, and the letters' logits."""
        with tempfile.TemporaryDirectory(prefix="synesthesia-") as folder:
            path = Path(folder) / "clip.wav"  # its code reads files
            path.write_bytes(encode_wav(clip.audio))
            text = self.render_prompt(str(path), prompt)
            heard = self.tokenizer.process_audio(text)
            batch = self.tokenizer(text, return_tensors="pt", audio_info=heard)
            inputs = {k: v.to(self.device) for k, v in batch.items() if k in ("input_ids", "attention_mask")}
            logits = self.model(**inputs, audio_info=heard, use_cache=False).logits[0, -1].float().cpu()
        letters = tuple(logits[self.letter_ids[:num_options]].tolist())
        return Reply(self.tokenizer.decode([int(logits.argmax())]), letters)
