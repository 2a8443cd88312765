"""Exceptions of the models."""

from __future__ import annotations


class ModelError(ValueError):
    """A model cannot be loaded or used; the message names the checkpoint and the cause."""
