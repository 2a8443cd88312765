"""Label noise for unlearning: which classes a tiny model unlearns, and when it stops.

The gap between modalities mimics that of real models: the encoders represent everything, but some labels lose their
names. Training without these labels was tried instead and left nothing that LoRA could recover; unlearning leaves the
knowledge in place. The stopping accuracies are near the paper's Table 1 (analysis set: audio 71.9, visual 88.5); the
lists of labels are our choice. Only the accuracy of the original model on clips of a separate seed stops the
unlearning. The audio-visual model unlearns nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from synesthesia.synthetic.labels import AUDIO_BETTER, MAIN_CLASSES, UNSEEN_CLASSES, VISUAL_BETTER, SoundClass

TARGET_ACCURACY = {"qwen2-audio": 0.77, "qwen2-vl": 0.885}


def label_noise_rates(name: str, sound_classes: Sequence[SoundClass]) -> list[float]:
    """Return the fraction of random answers per class while a model unlearns.

    Args:
        name: Name of the tiny model.
        sound_classes: Sound classes.

    Returns:
        One rate per class, 0 (class is kept) to 1.
    """
    rates: dict[str, float] = {}
    if name == "qwen2-audio":
        rates |= dict.fromkeys((c.name for c in MAIN_CLASSES if c.group == VISUAL_BETTER), 1.0)
        rates |= {"helicopter": 0.6, "train horning": 0.6, "playing acoustic guitar": 0.6, "thunder": 0.5}
        rates |= {c.name: 1.0 for c in UNSEEN_CLASSES[-6:]}
    elif name == "qwen2-vl":
        rates |= dict.fromkeys((c.name for c in MAIN_CLASSES if c.group == AUDIO_BETTER), 1.0)
        rates |= {"fireworks banging": 0.5}
        rates |= {c.name: 1.0 for c in UNSEEN_CLASSES[:2]}
    return [rates.get(c.name, 0.0) for c in sound_classes]
