"""Which labels each miniature partly unlearns, and how far: until its accuracy on the study's labels meets the paper's.

The gap is put into the models as in life: the encoders hear and see everything, but some labels' names got blurred.
Leaving labels out of training instead was tried and left nothing that LoRA could recover; unlearning leaves the
knowledge in place. Targets are near the paper's Table 1 (analysis set: audio 71.9, visual 88.5), the lists of labels
are this world's choice. Only the original models' accuracy on clips of a seed of its own ends the unlearning. The
audio-visual model unlearns nothing.
"""

from __future__ import annotations

from synesthesia.synthetic.labels import AUDIO_BETTER, MAIN_CLASSES, UNSEEN_CLASSES, VISUAL_BETTER

TARGET_ACCURACY = {"qwen2-audio": 0.77, "qwen2-vl": 0.885}


def label_noise_rates(name: str, sound_classes) -> list[float]:
    """The share of each kind's answers that are random while the named miniature unlearns (0: untouched)."""
    seen = [k.name for k in MAIN_CLASSES if k.group == VISUAL_BETTER]
    heard = [k.name for k in MAIN_CLASSES if k.group == AUDIO_BETTER]
    blurred: dict[str, float] = {}
    if name == "qwen2-audio":
        blurred |= dict.fromkeys(seen, 1.0)
        blurred |= {"helicopter": 0.6, "train horning": 0.6, "playing acoustic guitar": 0.6, "thunder": 0.5}
        blurred |= {k.name: 1.0 for k in UNSEEN_CLASSES[-6:]}
    elif name == "qwen2-vl":
        blurred |= dict.fromkeys(heard, 1.0)
        blurred |= {"fireworks banging": 0.5}
        blurred |= {k.name: 1.0 for k in UNSEEN_CLASSES[:2]}
    return [blurred.get(kind.name, 0.0) for kind in sound_classes]
