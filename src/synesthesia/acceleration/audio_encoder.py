"""Qwen2-Audio's encoder over the clip's own length instead of 30 seconds.

transformers pads every sound to 3,000 mel frames (30 s) and masks the rest, so two thirds of the encoder's work on a
10-second clip is thrown away. Its two convolutions reach two mel frames beyond an output position, hence a window of
the clip plus `PAD_FRAMES` of the same padding gives the same outputs at every position that is not masked.

On a GPU attention gets a mask even where it hides nothing: transformers has one, since it pads, and torch takes other
kernels without one, whose bits differ. On a CPU it gets none then, which is faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from synesthesia.acceleration.errors import AccelerationError
from synesthesia.utils.device import no_grad_fast_kernels, to_device

if TYPE_CHECKING:
    from synesthesia.data.clip_inputs import ClipInputs
    from synesthesia.models.base import LanguageModel

PAD_FRAMES = 8  # mel frames after the longest clip of a batch; the convolutions reach 3


def is_supported(model: LanguageModel) -> bool:
    """Return whether the model's audio encoder is Qwen2-Audio's."""
    return isinstance(model.audio_encoder, Qwen2AudioEncoder)


class CroppedAudioEncoder:
    """Patch of a Qwen2-Audio model: its processor, its batches and its encoder take the clip's length."""

    def __init__(self, model: LanguageModel) -> None:
        """Patch the model in place.

        Args:
            model: A model for which `is_supported` holds.
        """
        self._model = model
        self._encoder: Any = model.audio_encoder
        self._lengths = torch.zeros(0, dtype=torch.int64)
        self._full_processor_inputs, self._full_collate = model.processor_inputs, model.collate
        self._encoder.forward = self._forward
        model.processor_inputs, model.collate = self.processor_inputs, self.collate  # type: ignore[method-assign]
        model.before_forward.append(self.set_lengths)
        model.cropped_audio_encoder = self

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        """Return the processor's arguments with the mel spectrogram limited to the window: a third of 30 s.

        The spectrogram's last frames look beyond the end, hence twice the padding frames.
        """
        extractor = self._model.processor.feature_extractor
        longest = max(len(clip.audio) for clip in clips if clip.audio is not None)
        samples = min(longest + 2 * PAD_FRAMES * extractor.hop_length, extractor.n_samples)
        return {**self._full_processor_inputs(clips), "audio_kwargs": {"max_length": samples}}

    def collate(self, clips: Sequence[ClipInputs], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Collate a batch and cut `input_features` (clips, mel, frames) and their mask down to the window."""
        batch = self._full_collate(clips, prompts)
        longest = int(batch["feature_attention_mask"].sum(1).max())
        window = min(batch["input_features"].shape[-1], (longest + PAD_FRAMES + 1) // 2 * 2)
        batch["input_features"] = batch["input_features"][..., :window].contiguous()
        batch["feature_attention_mask"] = batch["feature_attention_mask"][:, :window].contiguous()
        return batch

    def set_lengths(self, batch: dict[str, torch.Tensor]) -> None:
        """Read the lengths of a batch's clips while its mask, int (clips, mel frames), is on the CPU."""
        mask = batch["feature_attention_mask"]
        self._lengths = (mask.sum(1) - 1) // 2 + 1  # positions after the second convolution's stride of 2

    @no_grad_fast_kernels()
    def embed_inputs(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, None, torch.Tensor]:
        """Merge audio and text as transformers does, without reading sizes off the GPU; see `split_forward`."""
        model: Any = self._model
        base = model.base_model
        for hook in model.before_forward:
            hook(batch)
        ids, mask = batch["input_ids"], batch["feature_attention_mask"]
        is_audio = ids == base.config.audio_token_id
        num_tokens = base.audio_tower._get_feat_extract_output_lengths(mask.sum(1))[1]
        if is_audio.sum() != num_tokens.sum():
            raise AccelerationError(
                f"{int(is_audio.sum())} audio placeholders in the text, but {int(num_tokens.sum())} tokens"
            )
        inputs = model.to_device(batch)
        audio = base.multi_modal_projector(base.audio_tower(inputs["input_features"]).last_hidden_state)
        is_valid = torch.arange(audio.shape[1])[None] < num_tokens[:, None]
        if not is_valid.all():
            audio = audio.flatten(0, 1)[to_device(is_valid.flatten().nonzero()[:, 0], model.device)]
        embeds = model.decoder().get_input_embeddings()(inputs["input_ids"])
        placeholders = to_device(is_audio[..., None], model.device)
        positions = to_device(batch["attention_mask"].sum(1) - 1, model.device)
        return embeds.masked_scatter(placeholders, audio.to(embeds.dtype)), None, positions

    def _attention_mask(self, hidden: torch.Tensor) -> torch.Tensor | None:
        """Return what attention adds, (clips, 1, queries, keys): 0, or -inf after a clip's end; None where all is 0."""
        clips, positions, _ = hidden.shape
        is_padding = torch.arange(positions) >= self._lengths[:, None]
        if not is_padding.any() and not hidden.is_cuda:
            return None
        mask = torch.zeros(is_padding.shape, dtype=hidden.dtype).masked_fill(is_padding, -torch.inf)
        return to_device(mask, hidden.device)[:, None, None].expand(clips, 1, positions, positions).contiguous()

    def _forward(
        self, input_features: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: object
    ) -> BaseModelOutput:
        """Qwen2AudioEncoder.forward (transformers 5.17) at as many positions as the batch has, masked accordingly."""
        encoder = self._encoder
        features = input_features.to(dtype=encoder.conv1.weight.dtype, device=encoder.conv1.weight.device)
        hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(features)))).permute(0, 2, 1)
        positions = min(int(self._lengths.max()), hidden.shape[1])
        hidden = hidden[:, :positions] + encoder.embed_positions.weight[:positions]
        hidden = hidden.contiguous()  # as the convolutions left it, every step of every layer would be slow on a GPU
        mask = self._attention_mask(hidden)
        for layer in encoder.layers:
            hidden = layer(hidden, mask)
        pooled = encoder.avg_pooler(hidden.permute(0, 2, 1)).permute(0, 2, 1)
        return BaseModelOutput(last_hidden_state=encoder.layer_norm(pooled))
