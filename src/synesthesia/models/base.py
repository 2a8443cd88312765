"""Interface of a multimodal LLM: clip inputs and prompts in, logits at the answer position out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from torch.utils.checkpoint import checkpoint

from synesthesia.config import AccelerationConfig
from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models import checkpoint_validation
from synesthesia.models.errors import ModelError
from synesthesia.schemas import LETTERS
from synesthesia.utils.device import to_device

ALL_LINEAR = "all-linear-of-language-model"


class LanguageModel:
    """A causal multimodal LLM of transformers with its processor: the plain forward pass, without any speed-up.

    A family defines the content of its user message (`chat_content`), the inputs of its processor
    (`processor_inputs`), and the paths of its language model's linear layers (`lora_targets`). Batches are padded on
    the right: with causal attention, padding after the answer position cannot change it, so batched answers equal
    single ones.

    `synesthesia.acceleration.apply` replaces methods of an instance; a class in this package never depends on it.

    Attributes:
        condition: What it is asked in: `audio`, `silent_video` or `sounded_video` (one of `models.CONDITIONS`).
        frames_per_second: Rate at which its frames were sampled.
        lora_targets: Regular expression of the module names that get LoRA adapters.
        model_class: Class of transformers that loads the checkpoint.
        processor_class: Class of transformers that loads the processor.
        letter_ids: int64 (10,) token ids of the letters A to J, on the CPU.
    """

    condition: str
    frames_per_second: float = 1.0
    lora_targets: str
    model_class: ClassVar[Any]
    processor_class: ClassVar[Any]
    is_prenorm = True  # every decoder layer is pre-norm and residual and nothing else
    supports_cuda_graph = True  # nothing but embeddings and positions reaches the language model
    size_inputs: tuple[str, ...] = ()  # inputs that hold sizes only; acceleration may keep them on the CPU

    def __init__(self, model: torch.nn.Module, processor: Any, device: str) -> None:
        self.model: Any = model.to(device).eval()
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.tokenizer.padding_side = "right"
        self.device = device
        ids = [self.tokenizer.encode(letter, add_special_tokens=False) for letter in LETTERS]
        if any(len(i) != 1 for i in ids):
            raise ModelError(f"the letters A to J are not one token each in this vocabulary: {ids}")
        self.letter_ids = torch.tensor([i[0] for i in ids])
        self._device_letter_ids = self.letter_ids.to(device)
        self._decoder, self.lm_head = self.model.get_decoder(), self.model.lm_head
        self.vision_encoder: Any = None
        self.audio_encoder: Any = None
        self.base_model: Any = None
        self.last_token: Any = None  # set by acceleration.last_token
        self.cropped_audio_encoder: Any = None  # set by acceleration.audio_encoder
        self.chunked_encoders: tuple[torch.nn.Module, ...] = ()  # whose attention is within chunks of the sequence
        self.acceleration = AccelerationConfig.off()
        self.is_compiled = False
        self.cpu_inputs: tuple[str, ...] = ()
        self.before_forward: list[Callable[[dict[str, torch.Tensor]], None]] = []

    def decoder(self) -> Any:
        """Return the language model without its head, a module of transformers."""
        return self._decoder

    def layers(self) -> list[torch.nn.Module]:
        """Return the repeated layers of language model and encoders, which take nearly all of the compute time."""
        return list(self.decoder().layers)

    def train_mode(self) -> None:
        """Set the language model to training mode (dropout); encoders are frozen and stay in evaluation mode."""
        self.model.eval()
        self.decoder().train()

    @property
    def has_dropout(self) -> bool:
        """Whether training draws random numbers (dropout)."""
        return any(module.p > 0 for module in self.model.modules() if isinstance(module, torch.nn.Dropout))

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Select whether the backward pass recomputes the language model's activations.

        Args:
            enabled: True recomputes them, which saves memory; False stores them.
        """
        for layer in self.decoder().layers[:-1]:  # the last one is cut at the answer position, and small
            layer.gradient_checkpointing = enabled
            layer._gradient_checkpointing_func = partial(
                checkpoint, use_reentrant=False, preserve_rng_state=self.has_dropout
            )

    @classmethod
    def load(cls, checkpoint: str, dtype: str, device: str) -> LanguageModel:
        """Load model and processor from a folder in Hugging Face format (safetensors only).

        Args:
            checkpoint: Path of the folder.
            dtype: `float32` or `bfloat16`.
            device: `cpu`, `cuda` or `cuda:<index>`.

        Returns:
            The model in evaluation mode.

        Raises:
            ModelError: The folder is no checkpoint of this family, or one of its files cannot be used.
        """
        folder = Path(checkpoint)
        if not (folder / "config.json").is_file():
            raise ModelError(f"{checkpoint}: not a checkpoint (config.json is missing)")
        try:
            model_type = json.loads((folder / "config.json").read_text())["model_type"]
            expected = cls.model_class.config_class.model_type
            if model_type not in (expected, expected.removesuffix("_thinker")):
                raise ValueError(f"model_type in config.json is {model_type!r}, not {expected!r}")
            checkpoint_validation.validate(folder)
            model, info = cls.model_class.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
            if info["missing_keys"]:
                raise ValueError(f"weights are missing: {sorted(info['missing_keys'])}")
            processor = cls.processor_class.from_pretrained(folder, local_files_only=True)
            checkpoint_validation.validate_vocabulary(model, processor)
        except checkpoint_validation.CheckpointError as error:
            raise ModelError(f"{checkpoint}: {error}") from None
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"{checkpoint}: cannot be loaded as {cls.model_class.__name__}: {error}") from error
        return cls(model, processor, device)

    def chat_content(self) -> list[dict]:
        """Return the media parts of the user message, in the order of the family's chat template."""
        raise ModelError(f"{type(self).__name__} does not define its inputs")

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        """Return the processor's keyword arguments for these clips."""
        raise ModelError(f"{type(self).__name__} does not define its inputs")

    def render_prompt(self, prompt: str) -> str:
        """Render the model's own chat template up to the position of the letter.

        Args:
            prompt: The question (`questions.prompt.format_prompt`).

        Returns:
            The input as text, with one placeholder per medium.
        """
        message = {"role": "user", "content": [*self.chat_content(), {"type": "text", "text": prompt}]}
        return self.processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True)

    def collate(self, clips: Sequence[ClipInputs], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Build a batch of tensors on the CPU.

        Args:
            clips: Media of each clip.
            prompts: One question per clip.

        Returns:
            `input_ids` and `attention_mask`, int64 (clips, tokens), and the family's media tensors.
        """
        texts = [self.render_prompt(p) for p in prompts]
        batch = self.processor(
            text=texts, padding=True, padding_side="right", return_tensors="pt", **self.processor_inputs(clips)
        )  # padding_side at each call: Qwen2.5-Omni's processor otherwise pads on the left
        return dict(batch)

    def answer_logits(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Compute logits at the position of the letter.

        Args:
            batch: Tensors on the CPU, as `collate` returns them.

        Returns:
            Float32 (clips, vocabulary).
        """
        for hook in self.before_forward:
            hook(batch)
        positions = to_device(batch["attention_mask"].sum(1) - 1, self.device)
        return self.forward_at(self.to_device(batch), positions).float()

    def forward_at(self, inputs: dict[str, torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
        """Run the full model and select one position per clip.

        Args:
            inputs: A batch on the model's device.
            positions: int64 (clips,), on the same device.

        Returns:
            Logits (clips, vocabulary) in the model's dtype.
        """
        logits = self.model(**inputs, use_cache=False).logits
        return logits[torch.arange(len(logits), device=logits.device), positions]

    def to_device(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Move a collated batch to the model's device; floating-point tensors take the model's dtype.

        Args:
            batch: Tensors on the CPU, as `collate` returns them.

        Returns:
            The same entries; those in `cpu_inputs` stay on the CPU.
        """
        return {name: self._to_device(name, value) for name, value in batch.items()}

    def _to_device(self, name: str, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or name in self.cpu_inputs:
            return value
        value = to_device(value, self.device)
        return value.to(self.model.dtype) if value.is_floating_point() else value

    def letter_logits(self, logits: torch.Tensor, num_options: int = len(LETTERS)) -> torch.Tensor:
        """Select the letters' logits.

        Args:
            logits: (clips, vocabulary), on the model's device.
            num_options: Number of letters from A on, 2 to 10.

        Returns:
            (clips, num_options).
        """
        return logits[:, self._device_letter_ids[:num_options]]

    def greedy_token(self, logits: torch.Tensor) -> list[str]:
        """Decode the most likely token of the full vocabulary, as greedy generation of one token does.

        Args:
            logits: (clips, vocabulary).

        Returns:
            One token per clip, as text.
        """
        return self.tokenizer.batch_decode(logits.argmax(-1)[:, None])
