"""A forward pass in two halves: encoders and embeddings first, then the decoder from embeddings alone.

The first half looks at values (sizes, placeholders) and trains nothing; the second has fixed shapes and is what a CUDA
graph captures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from synesthesia.acceleration.errors import AccelerationError
from synesthesia.utils.device import no_grad_fast_kernels, to_device

if TYPE_CHECKING:
    from synesthesia.models.base import LanguageModel

DECODER_INPUTS = ("inputs_embeds", "position_ids", "attention_mask", "use_cache", "return_dict")


class _StopForward(Exception):
    """The decoder was reached with these keyword arguments."""

    def __init__(self, kwargs: dict) -> None:
        super().__init__()
        self.kwargs = kwargs


def embed_inputs(
    model: LanguageModel, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Compute what reaches the decoder, without gradients.

    Args:
        model: A model with `supports_cuda_graph`.
        batch: Tensors on the CPU, as `collate` returns them.

    Returns:
        Embeddings (clips, tokens, width); position ids where the family has its own, else None; answer positions int64
        (clips,).

    Raises:
        AccelerationError: The decoder takes more than embeddings and positions.
    """
    if model.cropped_audio_encoder is not None:
        return model.cropped_audio_encoder.embed_inputs(batch)

    def catch(_decoder: torch.nn.Module, _args: tuple, kwargs: dict) -> None:
        raise _StopForward(kwargs)

    for hook in model.before_forward:
        hook(batch)
    positions = to_device(batch["attention_mask"].sum(1) - 1, model.device)
    handle = model.decoder().register_forward_pre_hook(catch, with_kwargs=True)
    kwargs: dict = {}
    try:
        with no_grad_fast_kernels():
            model.model(**model.to_device(batch), use_cache=False)
    except _StopForward as reached:
        kwargs = reached.kwargs
    finally:
        handle.remove()
    more = [k for k, v in kwargs.items() if k not in DECODER_INPUTS and v is not None and v is not False]
    if more or not (model.is_prenorm and model.supports_cuda_graph):
        raise AccelerationError(f"{type(model).__name__}: its language model takes more than embeddings: {more}")
    return kwargs["inputs_embeds"], kwargs.get("position_ids"), positions


def decode_embeds(
    model: LanguageModel, embeds: torch.Tensor, position_ids: torch.Tensor | None, positions: torch.Tensor
) -> torch.Tensor:
    """Run the decoder from embeddings; never waits for the GPU.

    Args:
        model: A model patched with `last_token_only`.
        embeds: (clips, tokens, width), as `embed_inputs` returns them.
        position_ids: As `embed_inputs` returns them.
        positions: Answer positions, int64 (clips,).

    Returns:
        Float32 logits (clips, vocabulary) at the answer positions.
    """
    mask = {"full_attention": None, "sliding_attention": None}
    with model.last_token.select_positions(positions):
        output = model.decoder()(inputs_embeds=embeds, position_ids=position_ids, attention_mask=mask, use_cache=False)
    return model.lm_head(output.last_hidden_state)[:, 0].float()
