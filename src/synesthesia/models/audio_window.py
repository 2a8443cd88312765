"""Qwen2-Audio's encoder over the clip's own length instead of 30 seconds.

transformers pads every sound to 3,000 mel frames (30 s) and masks the rest, so two thirds of the encoder's work on a
10-second clip is thrown away. Its two convolutions reach two mel frames beyond an output position, hence a window of
the clip and `SPARE` frames of the same padding gives the same outputs at every position that is not masked.

On a GPU attention has a mask even where it hides nothing: transformers has one, since it pads, and torch has other
kernels without one, whose bits differ. On a CPU it has none then, which is faster. Heads are handed to attention where
the projections left them: transformers copies queries, keys, values and what comes out, 2 % of answering on a GPU.
There queries, keys and values are one product: of eight clips each alone is one round of the GPU's blocks and a fifth
(0.7 % of learning); and queries are scaled within attention, by a power of two in both.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from transformers.modeling_outputs import BaseModelOutput

from synesthesia.models.device import send
from synesthesia.models.mixing import mix_in

SPARE = 8  # mel frames after the longest clip of a batch; the convolutions reach 3


class AudioWindow:
    """Installed once on a Qwen2-Audio encoder; `fit` is told each batch before it is heard."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        self._encoder = encoder
        self._lengths: torch.Tensor | None = None
        encoder.forward = self._forward
        for layer in encoder.layers:
            if encoder.conv1.weight.is_cuda:
                as_one_product(layer.self_attn)
            else:
                layer.self_attn._shape = partial(_heads, layer.self_attn.num_heads)

    @property
    def layers(self) -> list[torch.nn.Module]:
        """The encoder's layers."""
        return list(self._encoder.layers)

    @staticmethod
    def crop(batch: dict[str, torch.Tensor]) -> None:
        """Cut a collated batch's `input_features` (clips, mel, frames) and their mask down to the window, in place."""
        longest = int(batch["feature_attention_mask"].sum(1).max())
        window = min(batch["input_features"].shape[-1], (longest + SPARE + 1) // 2 * 2)
        batch["input_features"] = batch["input_features"][..., :window].contiguous()
        batch["feature_attention_mask"] = batch["feature_attention_mask"][:, :window].contiguous()

    def fit(self, mask: torch.Tensor) -> None:
        """Say how long the sounds of the coming batch are: mask int (clips, mel frames) on the CPU."""
        self._lengths = (mask.sum(1) - 1) // 2 + 1  # positions after the second convolution's stride of 2

    def _heard(self, hidden: torch.Tensor) -> torch.Tensor | None:
        """What attention adds (clips, 1, asking, asked): 0, or -inf behind a clip's end; None where that is nowhere."""
        clips, positions, _ = hidden.shape
        behind = torch.arange(positions) >= self._lengths[:, None]
        if not behind.any() and not hidden.is_cuda:
            return None
        added = torch.zeros(behind.shape, dtype=hidden.dtype).masked_fill(behind, -torch.inf)
        return send(added, hidden.device)[:, None, None].expand(clips, 1, positions, positions).contiguous()

    def _forward(self, input_features: torch.Tensor, attention_mask: torch.Tensor | None = None, **named: object):
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


def _heads(heads: int, projected: torch.Tensor, length: int, clips: int) -> torch.Tensor:
    """As Qwen2AudioAttention._shape, a view: (clips, length, width) -> (clips, heads, length, size)."""
    return projected.view(clips, -1, heads, projected.shape[-1] // heads).transpose(1, 2)


class OneProduct(torch.nn.Module):
    """Mixed into Qwen2AudioAttention (transformers 5.17): torch's attention, after one product of `together`."""

    together: tuple[torch.Tensor, torch.Tensor]

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: object
    ) -> tuple[torch.Tensor, None]:
        clips, length, _ = hidden_states.shape
        made = F.linear(hidden_states, *self.together).view(clips, length, 3, self.num_heads, -1).transpose(1, 3)
        out = F.scaled_dot_product_attention(*made.unbind(2), attn_mask=attention_mask, scale=self.scaling)
        return self.out_proj(out.transpose(1, 2).reshape(clips, length, -1)), None


def as_one_product(attention: torch.nn.Module) -> None:
    """Let a frozen attention make queries, keys and values at once, in place; its weights move, and stay its own."""
    parts = attention.q_proj, attention.k_proj, attention.v_proj
    weight = torch.cat([part.weight.data for part in parts])
    bias = torch.cat([torch.zeros_like(part.weight[:, 0]) if part.bias is None else part.bias.data for part in parts])
    for part, *moved in zip(parts, weight.chunk(3), bias.chunk(3), strict=True):
        part.weight.data = moved[0]
        if part.bias is not None:
            part.bias.data = moved[1]
    attention.together = weight, bias
    mix_in(OneProduct, attention)
