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
from synesthesia.acceleration.last_token import AnswerPosition
from synesthesia.models import ModelError, checkpoint_validation
from synesthesia.schemas import LETTERS
from synesthesia.utils.device import forward_alone, send

ALL_LINEAR = "all-linear-of-language-model"


@dataclass(frozen=True)
class Percept:
    """What a respondent perceives of one clip, through the senses that it has.

    audio: float32 (samples,) in [-1, 1) at 16 kHz mono, or None; frames: uint8 (frames, height, width, 3), or None.
    """

    audio: np.ndarray | None = None
    frames: np.ndarray | None = None


class _Reached(Exception):
    """The language model was reached with these arguments."""

    def __init__(self, named: dict) -> None:
        super().__init__()
        self.named = named


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
    plain_decoder = True  # pre-norm and residual layers, see AnswerPosition
    replayable = True  # nothing but embeddings and positions reaches the language model, see `embed`
    stays_on_cpu: tuple[str, ...] = ()  # inputs that only say sizes: on the GPU each look at them would wait for it

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
        self._letters_there = self.letter_ids.to(device)
        self.compiled = False
        self._decoder, self._head = model.get_decoder(), model.lm_head
        self._answer = AnswerPosition(self.decoder(), model.lm_head, self.plain_decoder)

    def decoder(self) -> torch.nn.Module:
        """The language model without its head."""
        return self._decoder

    def layers(self) -> list[torch.nn.Module]:
        """The repeated layers of language model and encoders, in which nearly all of the time goes."""
        return list(self.decoder().layers)

    def compile(self) -> None:
        """Let `layers` be compiled at their first use (a minute or two, once for all layers of a kind)."""
        compile_layers(self.layers())
        self.compiled = True

    def learn(self) -> None:
        """Make ready for training: the language model in training mode (dropout), frozen encoders as they answer."""
        self.model.eval()
        self.decoder().train()

    @property
    def random(self) -> bool:
        """Whether learning draws random numbers (dropout)."""
        return any(module.p > 0 for module in self.model.modules() if isinstance(module, torch.nn.Dropout))

    def recompute(self, again: bool) -> None:
        """Keep the language model's activations for the backward pass, or compute them again there to save memory."""
        for layer in self.decoder().layers[:-1]:  # the last one is cut at the answer position, and small
            layer.gradient_checkpointing = again
            layer._gradient_checkpointing_func = partial(
                checkpoint, use_reentrant=False, preserve_rng_state=self.random
            )

    @classmethod
    def load(cls, checkpoint: str, precision: str, device: str) -> LanguageModel:
        """Load model and processor from a folder in Hugging Face format (safetensors only)."""
        folder = Path(checkpoint)
        if not (folder / "config.json").is_file():
            raise ModelError(f"{checkpoint}: no model here (config.json is missing)")
        try:
            kind = json.loads((folder / "config.json").read_text())["model_type"]
            wanted = cls.model_class.config_class.model_type
            if kind not in (wanted, wanted.removesuffix("_thinker")):
                raise ValueError(f"config.json says model_type {kind!r}, not {wanted!r}")
            checkpoint_validation.inspect(folder)
            model, info = cls.model_class.from_pretrained(
                folder,
                dtype=getattr(torch, precision),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
            if info["missing_keys"]:
                raise ValueError(f"weights are missing: {sorted(info['missing_keys'])}")
            processor = cls.processor_class.from_pretrained(folder, local_files_only=True)
            checkpoint_validation.compare_vocabulary(model, processor)
        except checkpoint_validation.Damaged as error:
            raise ModelError(f"{checkpoint}: {error}") from None
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"{checkpoint}: cannot be loaded as {cls.model_class.__name__}: {error}") from error
        return cls(model, processor, device)

    def content(self) -> list[dict]:
        """The media parts of the user's message, in the order of the family's chat template."""
        raise ModelError(f"{type(self).__name__} does not say what it perceives")

    def media(self, percepts: Sequence[Percept]) -> dict:
        """Keyword arguments of the processor for these percepts."""
        raise ModelError(f"{type(self).__name__} does not say what it perceives")

    def text(self, prompt: str) -> str:
        """The whole input as text through the model's own chat template, up to where the letter is expected."""
        message = {"role": "user", "content": [*self.content(), {"type": "text", "text": prompt}]}
        return self.processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True)

    def collate(self, percepts: Sequence[Percept], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Batch of tensors on the CPU: input_ids and attention_mask int64 (clips, tokens) and the family's media."""
        texts = [self.text(p) for p in prompts]
        batch = self.processor(
            text=texts, padding=True, padding_side="right", return_tensors="pt", **self.media(percepts)
        )  # said at each call: Qwen2.5-Omni's processor otherwise pads on the left
        return dict(batch)

    def answer_logits(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits (clips, vocabulary) at the position where the letter is expected, in float32; `batch` as collated."""
        self.prepare(batch)
        at = send(batch["attention_mask"].sum(1) - 1, self.device)
        with self._answer.at(at):
            logits = self.model(**{k: self._move(k, v) for k, v in batch.items()}, use_cache=False).logits
        return logits[:, 0].float()

    def embed(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """What reaches the language model: embeddings (clips, tokens, width), their position ids where the family has
        its own, and the answer positions int64 (clips,). Raises ModelError where more than that reaches it.
        """

        def catch(_decoder, _arguments: tuple, named: dict) -> None:
            raise _Reached(named)

        self.prepare(batch)
        at = send(batch["attention_mask"].sum(1) - 1, self.device)
        hook = self._decoder.register_forward_pre_hook(catch, with_kwargs=True)
        try:
            with forward_alone():
                self.model(**{k: self._move(k, v) for k, v in batch.items()}, use_cache=False)
        except _Reached as reached:
            named = reached.named
        finally:
            hook.remove()
        ours = ("inputs_embeds", "position_ids", "attention_mask", "use_cache", "return_dict")
        more = [k for k, v in named.items() if k not in ours and v is not None and v is not False]
        if more or not (self.plain_decoder and self.replayable):
            raise ModelError(f"{type(self).__name__}: its language model takes more than embeddings: {more}")
        return named["inputs_embeds"], named.get("position_ids"), at

    def decode(self, embeds: torch.Tensor, places: torch.Tensor | None, at: torch.Tensor) -> torch.Tensor:
        """Logits (clips, vocabulary) at the answer positions, float32, of what `embed` gave; waits for nothing."""
        mask = {"full_attention": None, "sliding_attention": None}
        with self._answer.at(at):
            out = self._decoder(inputs_embeds=embeds, position_ids=places, attention_mask=mask, use_cache=False)
        return self._head(out.last_hidden_state)[:, 0].float()

    def prepare(self, batch: dict[str, torch.Tensor]) -> None:
        """Called with a batch before it leaves the CPU; for families whose encoders must know its sizes."""

    def _move(self, name: str, value: object) -> object:
        if not isinstance(value, torch.Tensor) or name in self.stays_on_cpu:
            return value
        value = send(value, self.device)
        return value.to(self.model.dtype) if value.is_floating_point() else value

    def letters(self, logits: torch.Tensor, options: int = len(LETTERS)) -> torch.Tensor:
        """The letters' logits (clips, options) out of the vocabulary's (clips, vocabulary)."""
        return logits[:, self._letters_there[:options]]

    def said(self, logits: torch.Tensor) -> list[str]:
        """What the model says when free to say any token: greedy, one token, as generation would."""
        return self.tokenizer.batch_decode(logits.argmax(-1)[:, None])
