"""The switch: a PANN that hears a clip and says whether the visual model does better on clips of its label.

(Paper section 4.2; PANNs: Kong et al. 2020.) The network is panns-inference's Cnn14 for the paper's size, or a
miniature of the same parts for the embedded one, with a new output. Log-mel frames are computed once a clip, since
thirty epochs hear the same clips thirty times.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn


class SwitchError(ValueError):
    """The switch cannot be built, loaded or trained; the message says why."""


def import_panns_models() -> types.ModuleType:
    """`panns_inference.models` without running the package, whose import calls `wget` for a label list."""
    if "panns_inference" not in sys.modules:
        found = importlib.util.find_spec("panns_inference")
        package = types.ModuleType("panns_inference")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["panns_inference"] = package
    return importlib.import_module("panns_inference.models")


class TinyCnn14(nn.Module):
    """Cnn14's parts in small: `channels` conv blocks, each followed by 2 x 2 average pooling; `classes` outputs."""

    def __init__(
        self, sample_rate: int, window_size: int, hop_size: int, mel_bins: int, channels: list[int], classes: int
    ) -> None:
        super().__init__()
        from torchlibrosa.augmentation import SpecAugmentation
        from torchlibrosa.stft import LogmelFilterBank, Spectrogram

        panns = import_panns_models()
        self.spectrogram_extractor = Spectrogram(
            n_fft=window_size, hop_length=hop_size, win_length=window_size, freeze_parameters=True
        )
        self.logmel_extractor = LogmelFilterBank(
            sr=sample_rate,
            n_fft=window_size,
            n_mels=mel_bins,
            fmin=50,
            fmax=sample_rate // 2,
            top_db=None,
            freeze_parameters=True,
        )
        self.spec_augmenter = SpecAugmentation(
            time_drop_width=16, time_stripes_num=2, freq_drop_width=6, freq_stripes_num=2
        )
        self.bn0 = nn.BatchNorm2d(mel_bins)
        self.blocks = nn.ModuleList(panns.ConvBlock(i, o) for i, o in zip([1, *channels[:-1]], channels, strict=True))
        self.fc1 = nn.Linear(channels[-1], channels[-1])
        self.fc_audioset = nn.Linear(channels[-1], classes)
        panns.init_bn(self.bn0)
        panns.init_layer(self.fc1)
        panns.init_layer(self.fc_audioset)

    def forward(self, waveform: torch.Tensor) -> dict[str, torch.Tensor]:
        """Waveform float32 (clips, samples) -> `embedding` (clips, width) and `clipwise_output` logits."""
        x = self.logmel_extractor(self.spectrogram_extractor(waveform))  # (clips, 1, frames, mel)
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        if self.training:
            x = self.spec_augmenter(x)
        for block in self.blocks:
            x = F.dropout(block(x, pool_size=(2, 2), pool_type="avg"), 0.1, self.training)
        x = x.mean(3)
        x = x.amax(2) + x.mean(2)
        embedding = F.relu(self.fc1(F.dropout(x, 0.2, self.training)))
        return {"embedding": embedding, "clipwise_output": self.fc_audioset(F.dropout(embedding, 0.2, self.training))}


def build_backbone(config: dict) -> tuple[nn.Module, int]:
    """Network of a `config.json` and the width of its embedding."""
    kind = config.get("architecture")
    if kind == "miniature":
        names = ("rate", "window", "hop", "mel_bins", "channels", "classes")
        if lacking := [k for k in names if k not in config]:
            raise SwitchError(f"config.json of a miniature lacks {', '.join(lacking)}")
        sizes = {k: config[k] for k in names}
        return TinyCnn14(**sizes), config["channels"][-1]
    if kind == "Cnn14_16k":  # the repository's own arguments for Cnn14_16k_mAP=0.438.pth
        return import_panns_models().Cnn14(16000, 512, 160, 64, 50, 8000, 527), 2048
    raise SwitchError(f"architecture {kind!r} is not known: miniature or Cnn14_16k")


class Switch(nn.Module):
    """A PANN with one output: the logit of "the visual model is better on this clip's label"."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.config = config
        self.backbone, width = build_backbone(config)
        self.frontend = nn.Sequential(self.backbone.spectrogram_extractor, self.backbone.logmel_extractor)
        self.head = nn.Linear(width, 1)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @torch.no_grad()
    def compute_log_mel(self, waveform: torch.Tensor) -> torch.Tensor:
        """float32 (clips, samples) in [-1, 1) at 16 kHz -> log-mel frames (clips, 1, frames, mel)."""
        return self.frontend(waveform)

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Log-mel frames (clips, 1, frames, mel) -> logits (clips,)."""
        front = self.backbone.spectrogram_extractor, self.backbone.logmel_extractor
        self.backbone.spectrogram_extractor = self.backbone.logmel_extractor = nn.Identity()
        try:
            embedding = self.backbone(log_mel)["embedding"]
        finally:
            self.backbone.spectrogram_extractor, self.backbone.logmel_extractor = front
        return self.head(embedding)[:, 0]

    @classmethod
    def from_pretrained(cls, checkpoint: str | Path) -> Switch:
        """A switch on a pretrained PANN: a folder with config.json and model.safetensors, or PANN's own .pth file.

        The .pth may be named itself or by a folder that holds no other.
        """
        path = Path(checkpoint)
        if path.is_dir() and not (path / "config.json").exists() and len(found := sorted(path.glob("*.pth"))) == 1:
            path = found[0]
        if path.suffix == ".pth":
            switch = cls({"architecture": "Cnn14_16k"})
            try:
                weights = torch.load(path, weights_only=True, map_location="cpu")["model"]
            except FileNotFoundError:
                raise SwitchError(f"switch.checkpoint: {path} is missing") from None
        else:
            config, weights = _load_config_and_weights(path)
            switch = cls(config)
        load_weights(switch.backbone, weights, path)
        return switch

    @classmethod
    def load(cls, folder: str | Path) -> Switch:
        """A trained switch as `save` wrote it."""
        config, weights = _load_config_and_weights(Path(folder))
        switch = cls(config)
        load_weights(switch, weights, folder)
        return switch

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config, indent=1, sort_keys=True) + "\n")
        save_file(trainable_state_dict(self), folder / "model.safetensors")


def trainable_state_dict(network: nn.Module) -> dict[str, torch.Tensor]:
    """State of a network without the mel front end, which is computed and never learnt (and large)."""
    return {k: v.cpu().contiguous().clone() for k, v in network.state_dict().items() if not _is_frontend_key(k)}


def load_weights(network: nn.Module, weights: dict[str, torch.Tensor], source: str | Path) -> None:
    """Load what `learnt` wrote; raise SwitchError where shapes or names do not fit."""
    try:
        missing, unknown = network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise SwitchError(f"{source} does not fit its architecture: {error}") from None
    missing = [k for k in missing if not _is_frontend_key(k)]
    if missing or unknown:
        raise SwitchError(f"{source} does not fit its architecture: missing {missing}, unknown {unknown}")


def _is_frontend_key(key: str) -> bool:
    return key.startswith("front.") or "spectrogram_extractor." in key or "logmel_extractor." in key


def _load_config_and_weights(folder: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    try:
        config = json.loads((folder / "config.json").read_text())
        return config, load_file(folder / "model.safetensors")
    except (FileNotFoundError, NotADirectoryError):
        raise SwitchError(f"{folder}: config.json and model.safetensors are expected here") from None
    except (SafetensorError, json.JSONDecodeError) as error:
        raise SwitchError(f"{folder} is damaged: {error}") from None


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
    """Fine-tune all of the switch (Adam, cosine schedule with warm-up); yields one row of history an epoch.

    frames: float32 (clips, 1, frames, mel); targets: float32 (clips,) of 0 and 1. The last epoch's weights are kept:
    nothing is chosen by validation, so validation figures stay honest.
    """
    positive = float(targets.mean())
    if positive in (0.0, 1.0):
        raise SwitchError(f"all {len(targets)} training clips have the same answer ({positive:.0f}): nothing to learn")
    weight = torch.tensor((1 - positive) / positive if class_weighted else 1.0, device=targets.device)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam((p for p in switch.parameters() if p.requires_grad), lr=learning_rate)
    steps = epochs * -(-len(targets) // batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine_with_warmup(step, steps, warmup_ratio))
    for epoch in range(epochs):
        switch.train()
        total = 0.0
        for batch in torch.randperm(len(targets), generator=generator).split(batch_size):
            if len(batch) == 1 and len(targets) > 1:
                continue  # batch normalisation needs two
            loss = F.binary_cross_entropy_with_logits(switch(log_mel[batch]), targets[batch], pos_weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        logits = predict(switch, validation[0])
        held = F.binary_cross_entropy_with_logits(logits, validation[1], pos_weight=weight).item()
        recall = [(logits > 0).eq(validation[1] > 0.5)[validation[1].eq(c)].float().mean() for c in (0.0, 1.0)]
        yield {
            "epoch": epoch + 1,
            "train_loss": total / len(targets),
            "validation_loss": held,
            "validation_balanced_accuracy": float(sum(recall) / 2),
        }


def cosine_with_warmup(step: int, num_steps: int, warmup_ratio: float) -> float:
    """Factor of the learning rate: linear warm-up over `warmup` of the steps, then a half cosine to 0."""
    warm = max(1, round(warmup_ratio * num_steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + float(np.cos(np.pi * min(1.0, (step - warm) / max(1, num_steps - warm)))))


@torch.no_grad()
def predict(switch: Switch, log_mel: torch.Tensor, batch_size: int = 64) -> torch.Tensor:
    """Logits float32 (clips,) of log-mel frames (clips, 1, frames, mel)."""
    switch.eval()
    return torch.cat([switch(part) for part in log_mel.split(batch_size)])
