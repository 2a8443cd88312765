"""From random encoders to models that name what they hear or see, and then partly forget some of it."""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F

from synesthesia.synthetic.pretraining import names
from synesthesia.synthetic.pretraining.perceive import BatchBuilder, ClipTensors, augment_mel, normalize_patches


def _autocast(device: str):
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


class Progress:
    """How far a training has come, 0 to 1: by its steps or by its time, whichever is further."""

    def __init__(self, steps: int, max_seconds: float) -> None:
        self.steps, self.max_seconds, self.start = steps, max_seconds, time.time()

    def fraction(self, step: int) -> float:
        return max(step / self.steps, (time.time() - self.start) / self.max_seconds)

    def __str__(self) -> str:
        return f"{time.time() - self.start:.0f} s"


def _set_learning_rate(optimizer, step: int, progress: float, lr: float) -> None:
    warm = min(1.0, (step + 1) / 50)
    fade = 1.0 if progress < 0.6 else max(0.03, (1 - progress) / 0.4)
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("share", 1.0) * warm * fade


def pretrain_encoder(
    wrapper,
    clips: ClipTensors,
    *,
    modality: str,
    steps: int,
    batch_size: int,
    device: str,
    seed: int,
    max_seconds: float,
) -> float:
    """Train an encoder to classify all kinds from its mean output; stands for broad pretraining. Returns accuracy."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    grids = list(clips.by_grid)
    sizes = np.array([len(clips.by_grid[g][0]) for g in grids], dtype=float)
    name = "audio_tower" if modality == "audio" else "visual"
    tower = getattr(wrapper.model.model, name, None) or getattr(wrapper.model, name)
    width = 128
    head = torch.nn.Linear(width, len(names.SOUND_CLASSES)).to(device)
    optimizer = torch.optim.AdamW([*tower.parameters(), *head.parameters()], lr=1e-3, betas=(0.9, 0.98))
    clock, mean = Progress(steps, max_seconds), 0.0
    for step in range(steps):
        share = clock.fraction(step)
        if share > 1:
            break
        grid = grids[rng.choice(len(grids), p=sizes / sizes.sum())]
        indices, patches = clips.by_grid[grid]
        places = torch.from_numpy(rng.integers(len(indices), size=batch_size)).to(device)
        index = indices[places]
        with _autocast(device):
            if modality == "audio":
                mel = augment_mel(clips.mel[index], True)
                if hasattr(tower, "embed_positions"):
                    out = tower(mel).last_hidden_state.mean(1)
                else:
                    lengths = torch.full((batch_size,), 200, device=device)
                    flat = mel.transpose(0, 1).flatten(1)
                    out = tower(flat, feature_lens=lengths, aftercnn_lens=lengths // 2).last_hidden_state
                    out = out.view(batch_size, -1, width).mean(1)
            else:
                thw = torch.tensor([grid], device=device).expand(batch_size, 3)
                out = tower(normalize_patches(patches[places], True), grid_thw=thw).pooler_output
                out = out.view(batch_size, -1, width).mean(1)
            logits = head(out).float()
        loss = F.cross_entropy(logits, clips.class_ids[index])
        _set_learning_rate(optimizer, step, share, 1e-3)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 49:
            right = (logits.argmax(1) == clips.class_ids[index]).float().mean().item()
            mean = 0.6 * mean + 0.4 * right
            if step % 200 == 199:
                print(f"  {modality} encoder: step {step + 1} accuracy {mean:.3f} {clock}", flush=True)
    return mean


def train(
    wrapper,
    clips: ClipTensors,
    *,
    steps: int,
    batch_size: int,
    device: str,
    seed: int,
    max_seconds: float,
    lr: float = 1e-3,
    label_noise: torch.Tensor | None = None,
    should_stop=None,
    use_modality_dropout: bool = False,
    num_workers: int = 3,
) -> None:
    """Name what is perceived: all parameters, the language model at 0.3 of the rate, the encoder at 0.4.

    scramble: float (kinds,), the share of a kind's answers that are random (unlearning), or None.
    until: called every 10 steps, ends the training when it returns True. senses: with two senses, hide one in 30 %.
    """
    torch.manual_seed(seed)
    asker = BatchBuilder(wrapper, clips, seed=seed, augment=True)
    model = wrapper.model.train()
    projectors, minds, encoders = [], [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if "projector" in name or "merger" in name or "audio_tower.proj." in name:
            projectors.append(parameter)
        elif "tower" in name or "visual" in name:
            encoders.append(parameter)
        else:
            minds.append(parameter)
    groups = [(projectors, 2.0), (minds, 0.3), (encoders, 0.0 if label_noise is not None else 0.4)]
    optimizer = torch.optim.AdamW(
        [{"params": p, "share": s, "lr": lr} for p, s in groups if s], betas=(0.9, 0.98), weight_decay=0.01
    )
    letters = wrapper.letter_ids.to(device)
    options = torch.multiprocessing.get_context("fork").Value("i", 4 if label_noise is None else 10)
    drafts = asker.prefetch(batch_size, options, seed, num_workers)
    clock = Progress(steps, max_seconds)
    for step in range(steps):
        done = clock.fraction(step)
        if done > 1:
            break
        if done > 0.2:
            options.value = 10
        grid, places, ids, mask, right = next(drafts)
        inputs, kinds = asker.build_inputs(grid, places, ids, mask)
        right = right.to(device)
        if use_modality_dropout:
            _drop_modality(inputs, asker)
        if label_noise is not None:
            lost = torch.rand(batch_size, device=device) < label_noise[kinds]
            right = torch.where(lost, torch.randint(10, (batch_size,), device=device), right)
        with _autocast(device):
            logits = wrapper.answer_logits(inputs)
        loss = F.cross_entropy(logits, letters[right])
        if label_noise is None:
            _set_learning_rate(optimizer, step, done, lr)
        else:
            for group in optimizer.param_groups:
                group["lr"] = lr * group["share"] * min(1.0, (step + 1) / 20)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 199:
            said = logits[:, letters].argmax(1)
            print(
                f"  naming: step {step + 1} loss {loss.item():.3f} accuracy {(said == right).float().mean():.3f} "
                f"{clock}",
                flush=True,
            )
        if should_stop is not None and step % 10 == 9:
            model.eval()
            done = should_stop(step + 1)
            model.train()
            if done:
                break
    model.eval()


def _drop_modality(inputs: dict, builder: BatchBuilder) -> None:
    """Replace, in about 15 % each, what is heard or what is seen by silence or grey, so that either sense suffices."""
    n = len(inputs["input_ids"])
    draw = torch.rand(n, device=builder.device)
    mel = inputs["input_features"]
    mel[draw < 0.15] = mel.amin()
    patches = inputs["pixel_values_videos"].view(n, -1, 1176)
    patches[draw > 0.85] = 0.0


@torch.no_grad()
def evaluate(wrapper, clips: ClipTensors, *, device: str, seed: int, batch_size: int = 512) -> torch.Tensor:
    """Accuracy on ten-option questions for each kind, float (kinds,), nan where there are no clips of it."""
    asker = BatchBuilder(wrapper, clips, seed=seed, augment=False)
    letters = wrapper.letter_ids.to(device)
    right = torch.zeros(len(names.SOUND_CLASSES), device=device)
    count = torch.zeros(len(names.SOUND_CLASSES), device=device)
    wrapper.model.eval()
    for grid, (indices, _) in clips.by_grid.items():
        for places in torch.arange(len(indices), device=device).split(batch_size):
            inputs, kinds, truth = asker.draw_batch(grid, places, 10)
            with _autocast(device):
                said = wrapper.answer_logits(inputs)[:, letters].argmax(1)
            right.index_add_(0, kinds, (said == truth).float())
            count.index_add_(0, kinds, torch.ones_like(kinds, dtype=torch.float))
    return right / count
