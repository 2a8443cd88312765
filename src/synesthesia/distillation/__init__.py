"""Cross-modal distillation: one modality of a clip supervises the model of the other (paper section 4)."""
