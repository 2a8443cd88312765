"""What a killed training goes on from: adapter, optimizer, history and random state in one safetensors file."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

HISTORY_COLUMNS = ("step", "cross_entropy", "divergence", "loss", "learning_rate", "gradient_norm")
CHECKPOINT_FILE = "checkpoint.safetensors"


def save_checkpoint(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, history: list[dict]
) -> None:
    """Write a checkpoint beside the last one and swap it in, so that there always is a whole one."""
    tensors = {f"adapter.{k}": v.cpu().contiguous() for k, v in get_peft_model_state_dict(model).items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v).cpu().contiguous() for k, v in state.items()}
    tensors["history"] = torch.tensor([[row[c] for c in HISTORY_COLUMNS] for row in history], dtype=torch.float64)
    tensors["random"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random_gpu"] = torch.cuda.get_rng_state()
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"checkpoint.{os.getpid()}.tmp"
    save_file(tensors, beside)
    os.replace(beside, folder / CHECKPOINT_FILE)


def load_checkpoint(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[dict]:
    """Put everything back as it was kept; returns the history so far, empty where nothing was kept."""
    if not (folder / CHECKPOINT_FILE).exists():
        return []
    tensors = load_file(folder / CHECKPOINT_FILE)
    set_peft_model_state_dict(model, _strip_prefix(tensors, "adapter."))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in _strip_prefix(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    torch.set_rng_state(tensors["random"])
    if torch.cuda.is_available() and "random_gpu" in tensors:
        torch.cuda.set_rng_state(tensors["random_gpu"])
    history = [dict(zip(HISTORY_COLUMNS, row, strict=True)) for row in tensors["history"].tolist()]
    return [{**row, "step": int(row["step"])} for row in history]


def _strip_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
