"""Only what the answer needs of a decoder: no padding mask, one position through the last layer and the head.

Batches are padded on the right and attention is causal, so nothing after a clip's answer position can reach it. The
decoder therefore gets no padding mask (plain causal attention takes the fast kernels), and the last layer computes keys
and values at every position but its MLP, the final norm and the head, the widest matrix of all, at the answer position
alone. The numbers are those of the full forward pass (tests/unit/acceleration/test_last_token.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from synesthesia.models.base import LanguageModel

_PRENORM_MODULES = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}


class LastTokenForward:
    """Patch of a decoder: inside `select_positions(positions)` its logits are (clips, 1, vocabulary)."""

    def __init__(self, decoder: Any, head: torch.nn.Module, is_prenorm: bool) -> None:
        """Patch the decoder in place.

        Args:
            decoder: The language model without its head.
            head: The output projection.
            is_prenorm: Whether its layers are pre-norm and residual and nothing else (all Qwen families), so that the
                last one can be cut; other decoders are cut at the head.
        """
        self.positions: torch.Tensor | None = None
        last_layer: Any = decoder.layers[-1]
        self._layer: Any = None
        if is_prenorm and {name for name, _ in last_layer.named_children()} == _PRENORM_MODULES:
            self._full_forward, self._layer = last_layer.forward, last_layer
            last_layer.forward = self._last_layer_forward
            decoder.register_forward_pre_hook(self._drop_mask, with_kwargs=True)
        else:
            head.register_forward_pre_hook(self._select_before_head)

    def select_positions(self, positions: torch.Tensor) -> LastTokenForward:
        """Return the context manager in which the model answers at `positions`, int64 (clips,)."""
        self.positions = positions
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self.positions = None

    def _gather(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), self.positions][:, None]

    def _drop_mask(self, _decoder: torch.nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if self.positions is None or not isinstance(kwargs.get("attention_mask"), torch.Tensor):
            return None
        return args, {**kwargs, "attention_mask": {"full_attention": None, "sliding_attention": None}}

    def _last_layer_forward(self, hidden_states: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        if self.positions is None:
            return self._full_forward(hidden_states, *args, **kwargs)
        layer = self._layer
        attended, _ = layer.self_attn(layer.input_layernorm(hidden_states), *args, **kwargs)
        selected = self._gather(hidden_states + attended)
        return selected + layer.mlp(layer.post_attention_layernorm(selected))

    def _select_before_head(self, _head: torch.nn.Module, args: tuple) -> tuple | None:
        return None if self.positions is None else (self._gather(args[0]),)


class _AnswerPositionForward:
    """Replacement of `LanguageModel.forward_at`."""

    def __init__(self, model: LanguageModel, last_token: LastTokenForward) -> None:
        self.model, self.last_token = model, last_token

    def __call__(self, inputs: dict[str, torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
        with self.last_token.select_positions(positions):
            return self.model.model(**inputs, use_cache=False).logits[:, 0]


def patch_answer_position(model: LanguageModel) -> None:
    """Let a model compute its last layer, norm and head at the answer position alone, in place."""
    model.last_token = LastTokenForward(model.decoder(), model.lm_head, model.is_prenorm)
    model.forward_at = _AnswerPositionForward(model, model.last_token)  # type: ignore[method-assign]
