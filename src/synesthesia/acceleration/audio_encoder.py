"""Qwen2-Audio's encoder over the clip's own length instead of 30 seconds.

transformers pads every sound to 3,000 mel frames (30 s) and masks the rest, so two thirds of the encoder's work on a
10-second clip is thrown away. Its two convolutions reach two mel frames beyond an output position, hence a window of
the clip and `SPARE` frames of the same padding gives the same outputs at every position that is not masked.

On a GPU attention has a mask even where it hides nothing: transformers has one, since it pads, and torch has other
kernels without one, whose bits differ. On a CPU it has none then, which is faster.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers.modeling_outputs import BaseModelOutput

from synesthesia.acceleration.audio_attention import patch_attention
from synesthesia.utils.device import to_device

PAD_FRAMES = 8  # mel frames after the longest clip of a batch; the convolutions reach 3


class CroppedAudioEncoder:
    """Installed once on a Qwen2-Audio encoder; `fit` is told each batch before it is heard."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        self._encoder = encoder
        self._lengths: torch.Tensor | None = None
        encoder.forward = self._forward
        for layer in encoder.layers:
            patch_attention(layer.self_attn)

    @property
    def layers(self) -> list[torch.nn.Module]:
        """The encoder's layers."""
        return list(self._encoder.layers)

    @staticmethod
    def crop(batch: dict[str, torch.Tensor]) -> None:
        """Cut a collated batch's `input_features` (clips, mel, frames) and their mask down to the window, in place."""
        longest = int(batch["feature_attention_mask"].sum(1).max())
        window = min(batch["input_features"].shape[-1], (longest + PAD_FRAMES + 1) // 2 * 2)
        batch["input_features"] = batch["input_features"][..., :window].contiguous()
        batch["feature_attention_mask"] = batch["feature_attention_mask"][:, :window].contiguous()

    def set_lengths(self, mask: torch.Tensor) -> None:
        """Say how long the sounds of the coming batch are: mask int (clips, mel frames) on the CPU."""
        self._lengths = (mask.sum(1) - 1) // 2 + 1  # positions after the second convolution's stride of 2

    def _heard(self, hidden: torch.Tensor) -> torch.Tensor | None:
        """What attention adds (clips, 1, asking, asked): 0, or -inf behind a clip's end; None where that is nowhere."""
        clips, positions, _ = hidden.shape
        behind = torch.arange(positions) >= self._lengths[:, None]
        if not behind.any() and not hidden.is_cuda:
            return None
        added = torch.zeros(behind.shape, dtype=hidden.dtype).masked_fill(behind, -torch.inf)
        return to_device(added, hidden.device)[:, None, None].expand(clips, 1, positions, positions).contiguous()

    def _forward(self, input_features: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: object):
        """As Qwen2AudioEncoder.forward (transformers 5.17), at as many positions as the batch has, and so masked."""
        encoder = self._encoder
        features = input_features.to(dtype=encoder.conv1.weight.dtype, device=encoder.conv1.weight.device)
        hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(features)))).permute(0, 2, 1)
        positions = min(int(self._lengths.max()), hidden.shape[1])
        hidden = hidden[:, :positions] + encoder.embed_positions.weight[:positions]
        hidden = hidden.contiguous()  # as the convolutions left it, every step of every layer would be slow on a GPU
        mask = self._heard(hidden)
        for layer in encoder.layers:
            hidden = layer(hidden, mask)
        pooled = encoder.avg_pooler(hidden.permute(0, 2, 1)).permute(0, 2, 1)
        return BaseModelOutput(last_hidden_state=encoder.layer_norm(pooled))
