"""Optional speed: drop-in replacements for transformers and peft internals, each behind a switch of `acceleration`."""
