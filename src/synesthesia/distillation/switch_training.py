"""Train the switch on log-mel frames, and predict with it (paper section 4.2)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from synesthesia.distillation.switch import Switch, SwitchError
from synesthesia.utils.schedules import cosine_with_warmup


def train(
    switch: Switch,
    log_mel: torch.Tensor,
    targets: torch.Tensor,
    validation: tuple[torch.Tensor, torch.Tensor],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    warmup_ratio: float,
    class_weighted: bool,
    seed: int,
) -> Iterator[dict[str, float]]:
    """Fine-tune all weights of the switch with Adam and a cosine schedule with warm-up.

    The weights of the last epoch are the result: validation selects nothing, so its metrics are unbiased.

    Args:
        switch: The switch, changed in place.
        log_mel: Training frames, float32 (clips, 1, frames, mel).
        targets: float32 (clips,), 1 where the visual model is better on the clip's label, else 0.
        validation: Frames and targets of the validation clips.
        epochs: Number of epochs.
        batch_size: Clips per optimizer step. A last batch of one clip is skipped: batch normalization needs two.
        learning_rate: Peak learning rate.
        warmup_ratio: Fraction of the steps that warm up, in [0, 1].
        class_weighted: Whether both classes weigh the same in the loss, however often they occur.
        seed: Seed of the order of clips.

    Yields:
        Per epoch: epoch from 1, train_loss, validation_loss and validation_balanced_accuracy in [0, 1].

    Raises:
        SwitchError: All training targets are the same.
    """
    positive = float(targets.mean())
    if positive in (0.0, 1.0):
        raise SwitchError(f"all {len(targets)} training clips have the same target ({positive:.0f}): nothing to learn")
    pos_weight = torch.tensor((1 - positive) / positive if class_weighted else 1.0, device=targets.device)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam((p for p in switch.parameters() if p.requires_grad), lr=learning_rate)
    num_steps = epochs * -(-len(targets) // batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: cosine_with_warmup(step, num_steps, warmup_ratio)
    )
    for epoch in range(epochs):
        switch.train()
        total_loss = 0.0
        for batch in torch.randperm(len(targets), generator=generator).split(batch_size):
            if len(batch) == 1 and len(targets) > 1:
                continue
            loss = F.binary_cross_entropy_with_logits(switch(log_mel[batch]), targets[batch], pos_weight=pos_weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total_loss += loss.item() * len(batch)
        logits = predict_logits(switch, validation[0])
        validation_loss = F.binary_cross_entropy_with_logits(logits, validation[1], pos_weight=pos_weight).item()
        is_correct = (logits > 0).eq(validation[1] > 0.5)
        recalls = [is_correct[validation[1].eq(c)].float().mean() for c in (0.0, 1.0)]
        yield {
            "epoch": epoch + 1,
            "train_loss": total_loss / len(targets),
            "validation_loss": validation_loss,
            "validation_balanced_accuracy": float(sum(recalls) / 2),
        }


@torch.no_grad()
def predict_logits(switch: Switch, log_mel: torch.Tensor, batch_size: int = 64) -> torch.Tensor:
    """Predict the logit of "the visual model is better" per clip.

    Args:
        switch: The switch; it is put into evaluation mode.
        log_mel: float32 (clips, 1, frames, mel).
        batch_size: Clips per forward pass.

    Returns:
        float32 (clips,).
    """
    switch.eval()
    return torch.cat([switch(batch) for batch in log_mel.split(batch_size)])
