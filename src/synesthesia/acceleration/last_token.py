"""Only what the answer needs of a language model: no padding mask, one position through the last layer and the head.

Batches are padded on the right and attention is causal, so what stands behind a clip's answer position cannot reach it.
Hence the language model gets no padding mask (plain causal attention: the fast kernels), and of the last layer only
the keys and values are wanted at every position; its feed-forward half, the final norm and the head, the widest matrix
of all, are computed at the answer position alone. Same numbers as the whole forward pass (tests/models).
"""

from __future__ import annotations

import torch

_PRENORM_MODULES = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}


class LastTokenForward:
    """Installed once on a model; within `at(positions)` its logits are (clips, 1, vocabulary), of the answer position.

    `decoder` is the language model without head; `plain` says that its layers are pre-norm, residual and nothing else
    (all Qwen families), which lets the last one be cut; other decoders are cut at the head.
    """

    def __init__(self, decoder: torch.nn.Module, head: torch.nn.Module, is_prenorm: bool) -> None:
        self.positions: torch.Tensor | None = None
        last = decoder.layers[-1]
        is_prenorm = is_prenorm and {name for name, _ in last.named_children()} == _PRENORM_MODULES
        if is_prenorm:
            self._whole, self._layer = last.forward, last
            last.forward = self._last_layer
            decoder.register_forward_pre_hook(self._drop_mask, with_kwargs=True)
        else:
            head.register_forward_pre_hook(self._before_head)

    def select_positions(self, positions: torch.Tensor) -> LastTokenForward:
        """Context in which the model answers at these positions, int64 (clips,)."""
        self.positions = positions
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self.positions = None

    def _pick(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), self.positions][:, None]

    def _drop_mask(self, _decoder, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if self.positions is None or not isinstance(kwargs.get("attention_mask"), torch.Tensor):
            return None
        return args, {**kwargs, "attention_mask": {"full_attention": None, "sliding_attention": None}}

    def _last_layer(self, hidden_states: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        if self.positions is None:
            return self._whole(hidden_states, *args, **kwargs)
        layer = self._layer
        attended, _ = layer.self_attn(layer.input_layernorm(hidden_states), *args, **kwargs)
        here = self._pick(hidden_states + attended)
        return here + layer.mlp(layer.post_attention_layernorm(here))

    def _before_head(self, _head, args: tuple) -> tuple | None:
        return None if self.positions is None else (self._pick(args[0]),)
