"""Cross-modal distillation: one sense of a clip teaches the other (paper section 4)."""
