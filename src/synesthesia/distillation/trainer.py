"""The distillation loop: LoRA, AdamW, cosine with warm-up, one loop for both directions and all settings.

A checkpoint of adapter, optimizer and history is written outside the stage's outs every `checkpoint_seconds`; the
order of clips and the learning rate follow from the step alone, so a run that was killed goes on with the same
losses, bit for bit on the same machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset
from tqdm import tqdm

from synesthesia import answering
from synesthesia import questions as wording
from synesthesia.distillation.losses import letter_cross_entropy, letter_divergence
from synesthesia.distillation.targets import Targets
from synesthesia.models.base import LanguageModel
from synesthesia.params import Training
from synesthesia.store import Store


class Lessons(Dataset):
    """Micro-batches in training order: the student's inputs and what to learn from them."""

    def __init__(self, student: LanguageModel, targets: Targets, clips, store: str | Path, training: Training) -> None:
        self.places = answering.places(clips, targets.questions["clip_id"].to_pylist())
        self.prompts = [wording.prompt(o) for o in targets.questions["options"].to_pylist()]
        self.student, self.targets, self.folder = student, targets, str(store)
        self.order = order(len(self.places), training)
        self.micro = training.micro_batch
        self._store: Store | None = None

    def __len__(self) -> int:
        return -(-len(self.order) // self.micro)

    def __getitem__(self, index: int) -> tuple[dict, torch.Tensor, torch.Tensor, torch.Tensor]:
        if self._store is None:
            self._store = Store(self.folder)
        chosen = self.order[index * self.micro : (index + 1) * self.micro]
        percepts = [answering.perceive(self._store, *self.places[i], self.student.condition) for i in chosen]
        inputs = self.student.collate(percepts, [self.prompts[i] for i in chosen])
        of = self.targets
        return inputs, *(torch.from_numpy(np.asarray(a[chosen])) for a in (of.letters, of.soft, of.teacher_logits))


def order(clips: int, training: Training) -> np.ndarray:
    """Indices of the clips in the order they are learnt: a new permutation each epoch, the last one maybe in part."""
    total = max(1, round(clips * training.epochs))
    epochs = -(-total // clips)
    rounds = [np.random.default_rng([training.seed, epoch]).permutation(clips) for epoch in range(epochs)]
    return np.concatenate(rounds)[:total]


def learning_rate(step: int, steps: int, training: Training) -> float:
    """Rate at a step: linear warm-up over `warmup` of the steps, then half a cosine to 0 (section 4.3)."""
    warm = max(1, round(training.warmup * steps))
    if step < warm:
        return training.learning_rate * (step + 1) / warm
    return training.learning_rate * 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm))))


def train(
    student: LanguageModel,
    targets: Targets,
    clips,
    store: str | Path,
    training: Training,
    *,
    partial: Path,
    title: str = "",
    checkpoint_seconds: float = 60.0,
    tell: Callable[[str, float, int], None] = lambda name, value, step: None,
) -> list[dict[str, float]]:
    """Train the student's adapter in place; returns one row of history a step (loss, its parts, rate, gradient norm).

    The loss of a step is the mean over the clips of its effective batch, in whatever micro-batches they came. `tell`
    is called with (name, value, step) as the training goes.
    """
    accelerator = Accelerator(cpu=student.device == "cpu")
    lessons = Lessons(student, targets, clips, store, training)
    accumulate = training.effective_batch // training.micro_batch
    steps = -(-len(lessons) // accumulate)
    learnt = [p for p in student.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=training.learning_rate, weight_decay=training.weight_decay)
    model, optimizer = accelerator.prepare(student.model, optimizer)
    student.model = model
    letter_ids = student.letter_ids.to(accelerator.device)
    torch.manual_seed(training.seed)
    first, history = _resume(partial, student, optimizer)
    prepared = iter(answering.loader(lessons, range(first * accumulate, len(lessons))))
    model.train()
    saved = time.monotonic()
    progress = tqdm(range(first, steps), initial=first, total=steps, desc=title, unit="step", mininterval=1)
    for step in progress:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, training)
        first_clip = step * training.effective_batch
        share = min(training.effective_batch, len(lessons.order) - first_clip)
        row = {"cross_entropy": 0.0, "divergence": 0.0}
        for _ in range(min(accumulate, len(lessons) - step * accumulate)):
            inputs, letters, soft, teacher = (_to(t, accelerator.device) for t in next(prepared))
            logits = student.answer_logits(inputs)
            taught = letters >= 0
            hard = letter_cross_entropy(logits, letter_ids[letters.clamp(min=0)], taught) / share
            close = letter_divergence(student.letters(logits), teacher, soft, training.temperature) / share
            accelerator.backward(hard + training.kl_weight * close)
            row["cross_entropy"] += hard.item()
            row["divergence"] += close.item()
        norm = accelerator.clip_grad_norm_(learnt, training.clip_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        row |= {
            "loss": row["cross_entropy"] + training.kl_weight * row["divergence"],
            "learning_rate": learning_rate(step, steps, training),
            "gradient_norm": float(norm),
        }
        history.append({"step": step + 1, **row})
        for name in ("loss", "learning_rate", "gradient_norm"):
            tell(name, row[name], step + 1)
        if time.monotonic() - saved > checkpoint_seconds and step + 1 < steps:
            _keep(partial, student, optimizer, step + 1, history)
            saved = time.monotonic()
    student.model = accelerator.unwrap_model(model)
    student.model.eval()
    return history


def _to(value, device):
    return value.to(device) if isinstance(value, torch.Tensor) else value


_COLUMNS = ("step", "cross_entropy", "divergence", "loss", "learning_rate", "gradient_norm")


def _keep(partial: Path, student: LanguageModel, optimizer, step: int, history: list[dict]) -> None:
    """Write a checkpoint beside the last one and swap it in, so that there always is a whole one."""
    tensors = {f"adapter.{k}": v.cpu().contiguous() for k, v in get_peft_model_state_dict(student.model).items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v).cpu().contiguous() for k, v in state.items()}
    tensors["history"] = torch.tensor([[row[c] for c in _COLUMNS] for row in history], dtype=torch.float64)
    tensors["random"] = torch.get_rng_state()
    partial.mkdir(parents=True, exist_ok=True)
    beside = partial / f"checkpoint.{os.getpid()}.tmp"
    save_file(tensors, beside)
    os.replace(beside, partial / "checkpoint.safetensors")


def _resume(partial: Path, student: LanguageModel, optimizer) -> tuple[int, list[dict]]:
    file = partial / "checkpoint.safetensors"
    if not file.exists():
        return 0, []
    tensors = load_file(file)
    set_peft_model_state_dict(student.model, _under(tensors, "adapter."))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in _under(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    whole = optimizer.state_dict()
    optimizer.load_state_dict({**whole, "state": state})
    torch.set_rng_state(tensors["random"])
    history = [dict(zip(_COLUMNS, row, strict=True)) for row in tensors["history"].tolist()]
    for row in history:
        row["step"] = int(row["step"])
    return len(history), history


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
