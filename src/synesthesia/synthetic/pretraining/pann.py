"""The switch's miniature PANN learns to tag sounds that are not among the study's labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from synesthesia.distillation.switch import TinyCnn14, trainable_state_dict
from synesthesia.synthetic.labels import MAIN_CLASSES
from synesthesia.synthetic.pretraining.names import SOUND_CLASSES

NON_STUDY_CLASS_IDS = [i for i, kind in enumerate(SOUND_CLASSES) if kind not in MAIN_CLASSES]
CONFIG = {
    "architecture": "miniature",
    "rate": 16000,
    "window": 1024,
    "hop": 640,
    "mel_bins": 64,
    "channels": [8, 16, 32, 64],
    "classes": len(NON_STUDY_CLASS_IDS),
}


def train_pann(audio: np.ndarray, class_ids: np.ndarray, *, folder: Path, steps: int, device: str, seed: int) -> float:
    """Tag mixtures of one or two clips. audio: float16 (clips, 160000); kinds: int (clips,). Returns accuracy."""
    torch.manual_seed(seed)
    sizes = {k: v for k, v in CONFIG.items() if k != "architecture"}
    network = TinyCnn14(**sizes).to(device).train()
    place = {kind: i for i, kind in enumerate(NON_STUDY_CLASS_IDS)}
    keep = np.isin(class_ids, NON_STUDY_CLASS_IDS)
    sound = torch.from_numpy(audio[keep]).to(device)
    target = torch.tensor([place[k] for k in class_ids[keep]], device=device)
    held = torch.arange(len(target), device=device) % 10 == 0
    train, test = (~held).nonzero()[:, 0], held.nonzero()[:, 0]
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        pick = train[torch.randint(len(train), (2, 64), device=device)]
        gain = 10 ** ((torch.rand(2, 64, 1, device=device) - 0.5) * 1.2)
        second = (torch.rand(64, 1, device=device) < 0.5).float()
        mixed = sound[pick[0]].float() * gain[0] + second * 0.5 * sound[pick[1]].float() * gain[1]
        tags = F.one_hot(target[pick[0]], len(NON_STUDY_CLASS_IDS)).float()
        tags = torch.maximum(tags, second * F.one_hot(target[pick[1]], len(NON_STUDY_CLASS_IDS)).float())
        loss = F.binary_cross_entropy_with_logits(network(mixed)["clipwise_output"], tags)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        said = torch.cat([network(sound[i].float())["clipwise_output"].argmax(1) for i in test.split(64)])
    accuracy = (said == target[test]).float().mean().item()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1, sort_keys=True) + "\n")
    save_file(trainable_state_dict(network), folder / "model.safetensors")
    return accuracy
