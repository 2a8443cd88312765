"""Patch a module's class in place: methods of a mixin override, everything else is inherited."""

from __future__ import annotations

from functools import cache

import torch


def patch_class(mixin: type[torch.nn.Module], module: torch.nn.Module) -> None:
    """Let a module compute as `mixin` says, in place.

    Args:
        mixin: Class whose methods come first.
        module: The module; its weights and its other methods stay.
    """
    module.__class__ = _make_patched_class(mixin, type(module))


@cache
def _make_patched_class(mixin: type[torch.nn.Module], base_class: type[torch.nn.Module]) -> type[torch.nn.Module]:
    """Make one class per kind of module: a function per module would be compiled for each layer anew."""
    return base_class if issubclass(base_class, mixin) else type(base_class.__name__, (mixin, base_class), {})
