"""Training and evaluation of the tiny models: encoders, naming of all classes, and unlearning of some."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from synesthesia.models.base import LanguageModel
from synesthesia.synthetic.pretraining import names
from synesthesia.synthetic.pretraining.model_inputs import BatchBuilder, ClipTensors, augment_mel, normalize_patches

ENCODER_WIDTH = 128  # output width of both encoders, see tiny_models


def _autocast(device: str) -> torch.autocast:
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


class Progress:
    """Progress of a training from 0 to 1, by steps or by time, whichever is further."""

    def __init__(self, steps: int, max_seconds: float) -> None:
        """Start the clock.

        Args:
            steps: Maximum number of steps.
            max_seconds: Time limit.
        """
        self.steps, self.max_seconds, self.start = steps, max_seconds, time.time()

    def fraction(self, step: int) -> float:
        """Return the progress at a step; above 1 once time is up."""
        return max(step / self.steps, (time.time() - self.start) / self.max_seconds)

    def __str__(self) -> str:
        return f"{time.time() - self.start:.0f} s"


def _set_learning_rate(optimizer: torch.optim.Optimizer, step: int, progress: float, lr: float) -> None:
    """Warm up linearly over 50 steps; after 60 % of the progress, decay linearly to 3 %."""
    warmup = min(1.0, (step + 1) / 50)
    decay = 1.0 if progress < 0.6 else max(0.03, (1 - progress) / 0.4)
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0) * warmup * decay


def pretrain_encoder(
    wrapper: LanguageModel,
    clips: ClipTensors,
    *,
    modality: str,
    steps: int,
    batch_size: int,
    device: str,
    seed: int,
    max_seconds: float,
) -> float:
    """Train an encoder to classify all classes from its mean output; stands for broad pretraining.

    Args:
        wrapper: Tiny model; its encoder is trained in place.
        clips: Clips on the device.
        modality: "audio" or "video".
        steps: Maximum number of steps.
        batch_size: Clips per step.
        device: `cpu` or `cuda`.
        seed: Random seed.
        max_seconds: Time limit.

    Returns:
        Last running mean of the accuracy.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    grids = list(clips.by_grid)
    sizes = np.array([len(clips.by_grid[g][0]) for g in grids], dtype=float)
    name = "audio_tower" if modality == "audio" else "visual"
    encoder = getattr(wrapper.model.model, name, None) or getattr(wrapper.model, name)
    head = torch.nn.Linear(ENCODER_WIDTH, len(names.SOUND_CLASSES)).to(device)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=1e-3, betas=(0.9, 0.98))
    progress, mean = Progress(steps, max_seconds), 0.0
    for step in range(steps):
        fraction = progress.fraction(step)
        if fraction > 1:
            break
        grid = grids[rng.choice(len(grids), p=sizes / sizes.sum())]
        indices, patches = clips.by_grid[grid]
        rows = torch.from_numpy(rng.integers(len(indices), size=batch_size)).to(device)
        index = indices[rows]
        with _autocast(device):
            if modality == "audio":
                mel = augment_mel(clips.mel[index], True)
                if hasattr(encoder, "embed_positions"):  # Qwen2-Audio's; Omni's takes clips as one sequence
                    out = encoder(mel).last_hidden_state.mean(1)
                else:
                    lengths = torch.full((batch_size,), 200, device=device)
                    flat = mel.transpose(0, 1).flatten(1)
                    out = encoder(flat, feature_lens=lengths, aftercnn_lens=lengths // 2).last_hidden_state
                    out = out.view(batch_size, -1, ENCODER_WIDTH).mean(1)
            else:
                thw = torch.tensor([grid], device=device).expand(batch_size, 3)
                out = encoder(normalize_patches(patches[rows], True), grid_thw=thw).pooler_output
                out = out.view(batch_size, -1, ENCODER_WIDTH).mean(1)
            logits = head(out).float()
        loss = F.cross_entropy(logits, clips.class_ids[index])
        _set_learning_rate(optimizer, step, fraction, 1e-3)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 49:
            accuracy = (logits.argmax(1) == clips.class_ids[index]).float().mean().item()
            mean = 0.6 * mean + 0.4 * accuracy
            if step % 200 == 199:
                print(f"  {modality} encoder: step {step + 1} accuracy {mean:.3f} {progress}", flush=True)
    return mean


def _build_optimizer(model: torch.nn.Module, lr: float, train_encoders: bool) -> torch.optim.AdamW:
    """Group parameters by learning rate: projectors 2.0, language model 0.3, encoders 0.4 of `lr`."""
    projectors, decoder, encoders = [], [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if "projector" in name or "merger" in name or "audio_tower.proj." in name:
            projectors.append(parameter)
        elif "tower" in name or "visual" in name:
            encoders.append(parameter)
        else:
            decoder.append(parameter)
    groups = [(projectors, 2.0), (decoder, 0.3), (encoders, 0.4 if train_encoders else 0.0)]
    return torch.optim.AdamW(
        [{"params": params, "lr_scale": scale, "lr": lr} for params, scale in groups if scale],
        betas=(0.9, 0.98),
        weight_decay=0.01,
    )


def train(
    wrapper: LanguageModel,
    clips: ClipTensors,
    *,
    steps: int,
    batch_size: int,
    device: str,
    seed: int,
    max_seconds: float,
    lr: float = 1e-3,
    label_noise: torch.Tensor | None = None,
    should_stop: Callable[[int], bool] | None = None,
    use_modality_dropout: bool = False,
    num_workers: int = 3,
) -> None:
    """Train a tiny model in place to name the class of a clip, or to unlearn names.

    Args:
        wrapper: Tiny model; all parameters are trained, in unlearning all but the encoders'.
        clips: Clips on the device.
        steps: Maximum number of steps.
        batch_size: Questions per step.
        device: `cpu` or `cuda`.
        seed: Random seed.
        max_seconds: Time limit.
        lr: Learning rate; `_build_optimizer` scales it per part.
        label_noise: Float (classes,), fraction of random answers per class (unlearning), or None.
        should_stop: Called every 10 steps with the number of steps; True ends the training.
        use_modality_dropout: Whether to hide one of two modalities in 30 % of the questions.
        num_workers: Number of loader processes.
    """
    torch.manual_seed(seed)
    builder = BatchBuilder(wrapper, clips, seed=seed, augment=True)
    model = wrapper.model.train()
    optimizer = _build_optimizer(model, lr, train_encoders=label_noise is None)
    letter_ids = wrapper.letter_ids.to(device)
    num_options = torch.multiprocessing.get_context("fork").Value("i", 4 if label_noise is None else 10)
    batches = builder.prefetch(batch_size, num_options, seed, num_workers)
    progress = Progress(steps, max_seconds)
    for step in range(steps):
        fraction = progress.fraction(step)
        if fraction > 1:
            break
        if fraction > 0.2:
            num_options.value = 10
        grid, rows, input_ids, attention_mask, targets = next(batches)
        inputs, class_ids = builder.build_inputs(grid, rows, input_ids, attention_mask)
        targets = targets.to(device)
        if use_modality_dropout:
            _drop_modality(inputs, builder)
        if label_noise is not None:
            is_random = torch.rand(batch_size, device=device) < label_noise[class_ids]
            targets = torch.where(is_random, torch.randint(10, (batch_size,), device=device), targets)
        with _autocast(device):
            logits = wrapper.answer_logits(inputs)
        loss = F.cross_entropy(logits, letter_ids[targets])
        if label_noise is None:
            _set_learning_rate(optimizer, step, fraction, lr)
        else:
            for group in optimizer.param_groups:
                group["lr"] = lr * group["lr_scale"] * min(1.0, (step + 1) / 20)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 199:
            accuracy = (logits[:, letter_ids].argmax(1) == targets).float().mean()
            print(f"  naming: step {step + 1} loss {loss.item():.3f} accuracy {accuracy:.3f} {progress}", flush=True)
        if should_stop is not None and step % 10 == 9:
            model.eval()
            is_done = should_stop(step + 1)
            model.train()
            if is_done:
                break
    model.eval()


def _drop_modality(inputs: dict[str, torch.Tensor], builder: BatchBuilder) -> None:
    """Replace audio by silence in 15 % of the clips and video by gray in another 15 %, so that either suffices."""
    n = len(inputs["input_ids"])
    draw = torch.rand(n, device=builder.device)
    mel = inputs["input_features"]
    mel[draw < 0.15] = mel.amin()
    patches = inputs["pixel_values_videos"].view(n, -1, 1176)
    patches[draw > 0.85] = 0.0


@torch.no_grad()
def evaluate(
    wrapper: LanguageModel, clips: ClipTensors, *, device: str, seed: int, batch_size: int = 512
) -> torch.Tensor:
    """Measure accuracy on ten-option questions per class.

    Args:
        wrapper: Tiny model.
        clips: Clips on the device.
        device: `cpu` or `cuda`.
        seed: Random seed of the questions.
        batch_size: Questions per forward pass.

    Returns:
        Float (classes,), nan for classes without clips.
    """
    builder = BatchBuilder(wrapper, clips, seed=seed, augment=False)
    letter_ids = wrapper.letter_ids.to(device)
    num_correct = torch.zeros(len(names.SOUND_CLASSES), device=device)
    num_clips = torch.zeros(len(names.SOUND_CLASSES), device=device)
    wrapper.model.eval()
    for grid, (indices, _) in clips.by_grid.items():
        for rows in torch.arange(len(indices), device=device).split(batch_size):
            inputs, class_ids, targets = builder.draw_batch(grid, rows, 10)
            with _autocast(device):
                predicted = wrapper.answer_logits(inputs)[:, letter_ids].argmax(1)
            num_correct.index_add_(0, class_ids, (predicted == targets).float())
            num_clips.index_add_(0, class_ids, torch.ones_like(class_ids, dtype=torch.float))
    return num_correct / num_clips
