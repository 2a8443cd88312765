"""Training of the switch's tiny PANN, which tags sounds that are not among the study's labels.

As PANNs (Kong et al., 2020, arXiv:1912.10211), it learns multi-label tags with binary cross-entropy on mixed clips.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from synesthesia.distillation.switch import TinyCnn14, trainable_state_dict
from synesthesia.synthetic.labels import MAIN_CLASSES
from synesthesia.synthetic.pretraining.names import SOUND_CLASSES

NON_STUDY_CLASS_IDS = [i for i, sound_class in enumerate(SOUND_CLASSES) if sound_class not in MAIN_CLASSES]
NETWORK_CONFIG: dict[str, Any] = {
    "sample_rate": 16000,
    "window_size": 1024,
    "hop_size": 640,
    "mel_bins": 64,
    "channels": [8, 16, 32, 64],
    "num_classes": len(NON_STUDY_CLASS_IDS),
}
CONFIG = {"architecture": "tiny_cnn14", **NETWORK_CONFIG}


def train_pann(audio: np.ndarray, class_ids: np.ndarray, *, folder: Path, steps: int, device: str, seed: int) -> float:
    """Train the network on mixtures of one or two clips, and save it.

    Args:
        audio: float16 (clips, 160000), 16 kHz.
        class_ids: int64 (clips,), indices into `SOUND_CLASSES`; clips of the study's labels are dropped.
        folder: Destination of config.json and model.safetensors.
        steps: Number of steps.
        device: `cpu` or `cuda`.
        seed: Random seed.

    Returns:
        Top-1 accuracy on every tenth clip, which training leaves out.
    """
    torch.manual_seed(seed)
    network = TinyCnn14(**NETWORK_CONFIG).to(device).train()
    output_index = {class_id: i for i, class_id in enumerate(NON_STUDY_CLASS_IDS)}
    keep = np.isin(class_ids, NON_STUDY_CLASS_IDS)
    waveforms = torch.from_numpy(audio[keep]).to(device)
    target = torch.tensor([output_index[k] for k in class_ids[keep]], device=device)
    is_test = torch.arange(len(target), device=device) % 10 == 0
    train, test = (~is_test).nonzero()[:, 0], is_test.nonzero()[:, 0]
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        pair = train[torch.randint(len(train), (2, 64), device=device)]
        gain = 10 ** ((torch.rand(2, 64, 1, device=device) - 0.5) * 1.2)
        is_mixed = (torch.rand(64, 1, device=device) < 0.5).float()
        mixed = waveforms[pair[0]].float() * gain[0] + is_mixed * 0.5 * waveforms[pair[1]].float() * gain[1]
        tags = F.one_hot(target[pair[0]], len(NON_STUDY_CLASS_IDS)).float()
        tags = torch.maximum(tags, is_mixed * F.one_hot(target[pair[1]], len(NON_STUDY_CLASS_IDS)).float())
        loss = F.binary_cross_entropy_with_logits(network(mixed)["clipwise_output"], tags)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        predicted = torch.cat([network(waveforms[i].float())["clipwise_output"].argmax(1) for i in test.split(64)])
    accuracy = (predicted == target[test]).float().mean().item()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1, sort_keys=True) + "\n")
    save_file(trainable_state_dict(network), folder / "model.safetensors")
    return accuracy
