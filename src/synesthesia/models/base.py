"""The contract between the study and a multimodal LLM: percepts and prompts in, logits at the answer position out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch.utils.checkpoint import checkpoint

from synesthesia.acceleration.compile import compile_layers
from synesthesia.acceleration.last_token import LastTokenForward
from synesthesia.models import ModelError, checkpoint_validation
from synesthesia.schemas import LETTERS
from synesthesia.utils.device import no_grad_fast_kernels, to_device

ALL_LINEAR = "all-linear-of-language-model"


@dataclass(frozen=True)
class ClipInputs:
    """What a respondent perceives of one clip, through the senses that it has.

    audio: float32 (samples,) in [-1, 1) at 16 kHz mono, or None; frames: uint8 (frames, height, width, 3), or None.
    """

    audio: np.ndarray | None = None
    frames: np.ndarray | None = None


class _StopForward(Exception):
    """The language model was reached with these arguments."""

    def __init__(self, kwargs: dict) -> None:
        super().__init__()
        self.kwargs = kwargs


class LanguageModel:
    """A causal multimodal LLM of transformers with its processor.

    A family says how its conversation looks (`content`), what its processor wants (`media`), and where the linear
    layers of its language model are (`lora_targets`). Batches are padded on the right: with causal attention, what
    stands behind the answer position cannot change it, so batched answers equal single ones.
    """

    condition: str
    lora_targets: str
    model_class: type
    processor_class: type
    is_prenorm = True  # pre-norm and residual layers, see AnswerPosition
    supports_cuda_graph = True  # nothing but embeddings and positions reaches the language model, see `embed`
    cpu_inputs: tuple[str, ...] = ()  # inputs that only say sizes: on the GPU each look at them would wait for it

    def __init__(self, model: torch.nn.Module, processor, device: str) -> None:
        self.model = model.to(device).eval()
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.tokenizer.padding_side = "right"
        self.device = device
        ids = [self.tokenizer.encode(letter, add_special_tokens=False) for letter in LETTERS]
        if any(len(i) != 1 for i in ids):
            raise ModelError(f"the letters A to J are not one token each in this vocabulary: {ids}")
        self.letter_ids = torch.tensor([i[0] for i in ids])
        self._device_letter_ids = self.letter_ids.to(device)
        self.is_compiled = False
        self._decoder, self._head = model.get_decoder(), model.lm_head
        self._last_token = LastTokenForward(self.decoder(), model.lm_head, self.is_prenorm)

    def decoder(self) -> torch.nn.Module:
        """The language model without its head."""
        return self._decoder

    def layers(self) -> list[torch.nn.Module]:
        """The repeated layers of language model and encoders, in which nearly all of the time goes."""
        return list(self.decoder().layers)

    def compile(self) -> None:
        """Let `layers` be compiled at their first use (a minute or two, once for all layers of a kind)."""
        compile_layers(self.layers())
        self.is_compiled = True

    def train_mode(self) -> None:
        """Make ready for training: the language model in training mode (dropout), frozen encoders as they answer."""
        self.model.eval()
        self.decoder().train()

    @property
    def has_dropout(self) -> bool:
        """Whether learning draws random numbers (dropout)."""
        return any(module.p > 0 for module in self.model.modules() if isinstance(module, torch.nn.Dropout))

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Keep the language model's activations for the backward pass, or compute them again there to save memory."""
        for layer in self.decoder().layers[:-1]:  # the last one is cut at the answer position, and small
            layer.gradient_checkpointing = enabled
            layer._gradient_checkpointing_func = partial(
                checkpoint, use_reentrant=False, preserve_rng_state=self.has_dropout
            )

    @classmethod
    def load(cls, checkpoint: str, dtype: str, device: str) -> LanguageModel:
        """Load model and processor from a folder in Hugging Face format (safetensors only)."""
        folder = Path(checkpoint)
        if not (folder / "config.json").is_file():
            raise ModelError(f"{checkpoint}: no model here (config.json is missing)")
        try:
            kind = json.loads((folder / "config.json").read_text())["model_type"]
            wanted = cls.model_class.config_class.model_type
            if kind not in (wanted, wanted.removesuffix("_thinker")):
                raise ValueError(f"config.json says model_type {kind!r}, not {wanted!r}")
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
        """The media parts of the user's message, in the order of the family's chat template."""
        raise ModelError(f"{type(self).__name__} does not say what it perceives")

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        """Keyword arguments of the processor for these percepts."""
        raise ModelError(f"{type(self).__name__} does not say what it perceives")

    def render_prompt(self, prompt: str) -> str:
        """The whole input as text through the model's own chat template, up to where the letter is expected."""
        message = {"role": "user", "content": [*self.chat_content(), {"type": "text", "text": prompt}]}
        return self.processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True)

    def collate(self, clips: Sequence[ClipInputs], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Batch of tensors on the CPU: input_ids and attention_mask int64 (clips, tokens) and the family's media."""
        texts = [self.render_prompt(p) for p in prompts]
        batch = self.processor(
            text=texts, padding=True, padding_side="right", return_tensors="pt", **self.processor_inputs(clips)
        )  # said at each call: Qwen2.5-Omni's processor otherwise pads on the left
        return dict(batch)

    def answer_logits(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits (clips, vocabulary) at the position where the letter is expected, in float32; `batch` as collated."""
        self.prepare(batch)
        at = to_device(batch["attention_mask"].sum(1) - 1, self.device)
        with self._last_token.select_positions(at):
            logits = self.model(**{k: self._to_device(k, v) for k, v in batch.items()}, use_cache=False).logits
        return logits[:, 0].float()

    def embed_inputs(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """What reaches the language model: embeddings (clips, tokens, width), their position ids where the family has
        its own, and the answer positions int64 (clips,). Raises ModelError where more than that reaches it.
        """

        def catch(_decoder, _arguments: tuple, named: dict) -> None:
            raise _StopForward(named)

        self.prepare(batch)
        at = to_device(batch["attention_mask"].sum(1) - 1, self.device)
        hook = self._decoder.register_forward_pre_hook(catch, with_kwargs=True)
        try:
            with no_grad_fast_kernels():
                self.model(**{k: self._to_device(k, v) for k, v in batch.items()}, use_cache=False)
        except _StopForward as reached:
            named = reached.kwargs
        finally:
            hook.remove()
        ours = ("inputs_embeds", "position_ids", "attention_mask", "use_cache", "return_dict")
        more = [k for k, v in named.items() if k not in ours and v is not None and v is not False]
        if more or not (self.is_prenorm and self.supports_cuda_graph):
            raise ModelError(f"{type(self).__name__}: its language model takes more than embeddings: {more}")
        return named["inputs_embeds"], named.get("position_ids"), at

    def decode_embeds(
        self, embeds: torch.Tensor, position_ids: torch.Tensor | None, answer_positions: torch.Tensor
    ) -> torch.Tensor:
        """Logits (clips, vocabulary) at the answer positions, float32, of what `embed` gave; waits for nothing."""
        mask = {"full_attention": None, "sliding_attention": None}
        with self._last_token.select_positions(answer_positions):
            out = self._decoder(inputs_embeds=embeds, position_ids=position_ids, attention_mask=mask, use_cache=False)
        return self._head(out.last_hidden_state)[:, 0].float()

    def prepare(self, batch: dict[str, torch.Tensor]) -> None:
        """Called with a batch before it leaves the CPU; for families whose encoders must know its sizes."""

    def _to_device(self, name: str, value: object) -> object:
        if not isinstance(value, torch.Tensor) or name in self.cpu_inputs:
            return value
        value = to_device(value, self.device)
        return value.to(self.model.dtype) if value.is_floating_point() else value

    def letter_logits(self, logits: torch.Tensor, num_options: int = len(LETTERS)) -> torch.Tensor:
        """The letters' logits (clips, options) out of the vocabulary's (clips, vocabulary)."""
        return logits[:, self._device_letter_ids[:num_options]]

    def greedy_token(self, logits: torch.Tensor) -> list[str]:
        """What the model says when free to say any token: greedy, one token, as generation would."""
        return self.tokenizer.batch_decode(logits.argmax(-1)[:, None])
