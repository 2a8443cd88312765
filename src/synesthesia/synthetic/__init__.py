"""The synthetic dataset of the embedded study, and the pretraining of its tiny models."""
