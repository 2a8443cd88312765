"""The switch: an audio network that predicts whether the visual model is better on a clip's label.

The network is a pretrained audio neural network (PANN; Kong et al. 2020, "PANNs: Large-Scale Pretrained Audio Neural
Networks for Audio Pattern Recognition") with a new head (paper section 4.2): Cnn14 of panns-inference in the paper
preset, a tiny network of the same layers in the embedded preset. `switch_training` computes log-mel frames once per
clip, because thirty epochs use the same frames.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

Weights = dict[str, torch.Tensor]


class SwitchError(ValueError):
    """The switch cannot be built, loaded or trained; the message says why."""


def import_panns_models() -> types.ModuleType:
    """Import `panns_inference.models` without its package, whose import runs `wget` to fetch a label list.

    Returns:
        The module.

    Raises:
        SwitchError: panns-inference is not installed.
    """
    if "panns_inference" not in sys.modules:
        spec = importlib.util.find_spec("panns_inference")
        if spec is None or spec.submodule_search_locations is None:
            raise SwitchError("the package panns-inference is not installed")
        package = types.ModuleType("panns_inference")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["panns_inference"] = package
    return importlib.import_module("panns_inference.models")


class TinyCnn14(nn.Module):
    """A small network of Cnn14's layers: conv blocks, each followed by 2 x 2 average pooling.

    Args:
        sample_rate: Sample rate in Hz.
        window_size: Window of the short-time Fourier transform, in samples.
        hop_size: Its hop, in samples.
        mel_bins: Number of mel bands.
        channels: Output channels of each conv block.
        num_classes: Number of outputs in pretraining.
    """

    def __init__(
        self, sample_rate: int, window_size: int, hop_size: int, mel_bins: int, channels: list[int], num_classes: int
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
            top_db=None,  # pyright: ignore[reportArgumentType]  # torchlibrosa accepts None: no clipping
            freeze_parameters=True,
        )
        self.spec_augmenter = SpecAugmentation(
            time_drop_width=16, time_stripes_num=2, freq_drop_width=6, freq_stripes_num=2
        )
        self.bn0 = nn.BatchNorm2d(mel_bins)
        self.blocks = nn.ModuleList(panns.ConvBlock(i, o) for i, o in zip([1, *channels[:-1]], channels, strict=True))
        self.fc1 = nn.Linear(channels[-1], channels[-1])
        self.fc_audioset = nn.Linear(channels[-1], num_classes)
        panns.init_bn(self.bn0)
        panns.init_layer(self.fc1)
        panns.init_layer(self.fc_audioset)

    def forward(self, waveform: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute embeddings and class logits.

        Args:
            waveform: float32 (clips, samples) in [-1, 1).

        Returns:
            `embedding` float32 (clips, channels[-1]) and `clipwise_output` logits float32 (clips, num_classes).
        """
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
    """Build the pretrained network's architecture with random weights.

    Args:
        config: Content of `config.json`: `architecture`, and the arguments of `TinyCnn14` if it is `tiny_cnn14`.

    Returns:
        The network and the width of its embedding.

    Raises:
        SwitchError: The architecture is unknown or an argument is missing.
    """
    architecture = config.get("architecture")
    if architecture == "tiny_cnn14":
        names = ("sample_rate", "window_size", "hop_size", "mel_bins", "channels", "num_classes")
        if missing := [name for name in names if name not in config]:
            raise SwitchError(f"config.json of a tiny_cnn14 lacks {', '.join(missing)}")
        return TinyCnn14(**{name: config[name] for name in names}), config["channels"][-1]
    if architecture == "Cnn14_16k":  # arguments of Cnn14_16k_mAP=0.438.pth in the PANNs repository
        return import_panns_models().Cnn14(16000, 512, 160, 64, 50, 8000, 527), 2048
    raise SwitchError(f"architecture {architecture!r} is not known: tiny_cnn14 or Cnn14_16k")


class Switch(nn.Module):
    """A PANN with one output: the logit of "the visual model is better on this clip's label".

    Args:
        config: Content of `config.json`, see `build_backbone`.
    """

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.config = config
        self.backbone: Any
        self.backbone, width = build_backbone(config)
        self.frontend = nn.Sequential(self.backbone.spectrogram_extractor, self.backbone.logmel_extractor)
        self.head = nn.Linear(width, 1)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @torch.no_grad()
    def compute_log_mel(self, waveform: torch.Tensor) -> torch.Tensor:
        """Compute log-mel frames.

        Args:
            waveform: float32 (clips, samples) in [-1, 1) at 16 kHz.

        Returns:
            float32 (clips, 1, frames, mel).
        """
        return self.frontend(waveform)

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Compute the logit per clip.

        Args:
            log_mel: float32 (clips, 1, frames, mel), as `compute_log_mel` returns.

        Returns:
            float32 (clips,).
        """
        extractors = self.backbone.spectrogram_extractor, self.backbone.logmel_extractor
        self.backbone.spectrogram_extractor = self.backbone.logmel_extractor = nn.Identity()
        try:
            embedding = self.backbone(log_mel)["embedding"]
        finally:
            self.backbone.spectrogram_extractor, self.backbone.logmel_extractor = extractors
        return self.head(embedding)[:, 0]

    @classmethod
    def from_pretrained(cls, checkpoint: str | Path) -> Switch:
        """Load a pretrained PANN and add a new head.

        Args:
            checkpoint: A folder with config.json and model.safetensors, a .pth file of the PANNs authors, or a folder
                with one .pth file.

        Returns:
            The switch, ready to train.

        Raises:
            SwitchError: A file is missing or damaged, or does not fit its architecture.
        """
        path = Path(checkpoint)
        if path.is_dir() and not (path / "config.json").exists() and len(files := sorted(path.glob("*.pth"))) == 1:
            path = files[0]
        if path.suffix == ".pth":
            switch = cls({"architecture": "Cnn14_16k"})
            try:
                weights = torch.load(path, weights_only=True, map_location="cpu")["model"]
            except FileNotFoundError:
                raise SwitchError(f"train_switch.checkpoint: {path} is missing") from None
        else:
            config, weights = _load_config_and_weights(path)
            switch = cls(config)
        load_weights(switch.backbone, weights, path)
        return switch

    @classmethod
    def load(cls, folder: str | Path) -> Switch:
        """Load a trained switch.

        Args:
            folder: A folder that `save` wrote.

        Returns:
            The switch, on the CPU.

        Raises:
            SwitchError: A file is missing or damaged, or does not fit its architecture.
        """
        config, weights = _load_config_and_weights(Path(folder))
        switch = cls(config)
        load_weights(switch, weights, folder)
        return switch

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors.

        Args:
            folder: Folder to write to; it is created if it is missing.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config, indent=1, sort_keys=True) + "\n")
        save_file(trainable_state_dict(self), folder / "model.safetensors")


def trainable_state_dict(network: nn.Module) -> Weights:
    """Return the state of a network without its mel front end, which is computed, never trained, and large.

    Args:
        network: A `Switch` or a backbone.

    Returns:
        Tensors on the CPU by name.
    """
    return {k: v.cpu().contiguous().clone() for k, v in network.state_dict().items() if not _is_frontend_key(k)}


def load_weights(network: nn.Module, weights: Weights, source: str | Path) -> None:
    """Load what `trainable_state_dict` returned.

    Args:
        network: A `Switch` or a backbone, changed in place.
        weights: Tensors by name.
        source: Where the weights come from, for the error message.

    Raises:
        SwitchError: Names or shapes do not fit.
    """
    try:
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise SwitchError(f"{source} does not fit its architecture: {error}") from None
    missing = [k for k in missing if not _is_frontend_key(k)]
    if missing or unexpected:
        raise SwitchError(f"{source} does not fit its architecture: missing {missing}, unknown {unexpected}")


def _is_frontend_key(key: str) -> bool:
    return key.startswith("frontend.") or "spectrogram_extractor." in key or "logmel_extractor." in key


def _load_config_and_weights(folder: Path) -> tuple[dict, Weights]:
    try:
        config = json.loads((folder / "config.json").read_text())
        return config, load_file(folder / "model.safetensors")
    except (FileNotFoundError, NotADirectoryError):
        raise SwitchError(f"{folder}: config.json and model.safetensors are expected here") from None
    except (SafetensorError, json.JSONDecodeError) as error:
        raise SwitchError(f"{folder} is damaged: {error}") from None
