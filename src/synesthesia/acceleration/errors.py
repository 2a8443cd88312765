"""Exceptions of the speed-ups."""

from __future__ import annotations


class AccelerationError(ValueError):
    """A model does not have the structure that a speed-up replaces; the message says how it differs."""
