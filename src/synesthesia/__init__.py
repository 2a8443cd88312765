"""Audio and visual language models on the same questions: gap, switch, cross-modal distillation."""
