"""Kernels and fused operations: one file an operation, its Triton kernel beside it."""
