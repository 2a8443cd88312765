"""Training checkpoints: adapter, optimizer, history and random state in one safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from synesthesia.utils.io import atomic_path

HISTORY_COLUMNS = ("step", "cross_entropy", "kl_divergence", "loss", "learning_rate", "grad_norm")
CHECKPOINT_FILE = "checkpoint.safetensors"


def save_checkpoint(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, history: list[dict[str, float]]
) -> None:
    """Write a checkpoint atomically: the previous one remains until the new one is complete.

    Args:
        folder: Folder to write to; it is created if it is missing.
        model: A peft model; only its adapter is saved.
        optimizer: The optimizer of the adapter.
        history: One row per finished step, keys HISTORY_COLUMNS.
    """
    tensors = {f"adapter.{k}": v.cpu().contiguous() for k, v in get_peft_model_state_dict(model).items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v).cpu().contiguous() for k, v in state.items()}
    tensors["history"] = torch.tensor([[row[c] for c in HISTORY_COLUMNS] for row in history], dtype=torch.float64)
    tensors["rng_state"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["cuda_rng_state"] = torch.cuda.get_rng_state()
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / CHECKPOINT_FILE) as tmp_path:
        save_file(tensors, tmp_path)


def load_checkpoint(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[dict[str, float]]:
    """Restore adapter, optimizer and random state from the checkpoint of a folder, if there is one.

    Args:
        folder: Folder that `save_checkpoint` wrote to.
        model: A peft model with an adapter of the same shape, changed in place.
        optimizer: The optimizer of the adapter, changed in place.

    Returns:
        The history, one row per finished step; empty without a checkpoint.
    """
    if not (folder / CHECKPOINT_FILE).exists():
        return []
    tensors = load_file(folder / CHECKPOINT_FILE)
    set_peft_model_state_dict(model, _strip_prefix(tensors, "adapter."))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in _strip_prefix(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    torch.set_rng_state(tensors["rng_state"])
    if torch.cuda.is_available() and "cuda_rng_state" in tensors:
        torch.cuda.set_rng_state(tensors["cuda_rng_state"])
    history: list[dict[str, Any]] = [
        dict(zip(HISTORY_COLUMNS, row, strict=True)) for row in tensors["history"].tolist()
    ]
    return [{**row, "step": int(row["step"])} for row in history]


def _strip_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
