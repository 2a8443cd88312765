"""Names of the world's kinds: which texts are true of a clip, and options for a question about it."""

from __future__ import annotations

import numpy as np

from synesthesia.questions.sampling import format_prompt
from synesthesia.schemas import LETTERS
from synesthesia.synthetic.labels import MAIN_CLASSES, MULTI_NAME_CLASSES, UNSEEN_CLASSES

SOUND_CLASSES = (*MAIN_CLASSES, *MULTI_NAME_CLASSES, *UNSEEN_CLASSES)
DISPLAY_NAMES = {"police car (siren)": "police car"}  # as params/embedded.yaml cleans it


def class_names(sound_class) -> list[str]:
    """All names that are true of a kind: VGGSound's (cleaned) and AudioSet's, the usual one first."""
    own = [] if sound_class in UNSEEN_CLASSES else [DISPLAY_NAMES.get(sound_class.name, sound_class.name)]
    return list(dict.fromkeys([*own, *sound_class.audioset]))


NAMES = sorted({n for kind in SOUND_CLASSES for n in class_names(kind)})
NAME_INDEX = {name: i for i, name in enumerate(NAMES)}
IS_TRUE_NAME = np.zeros((len(SOUND_CLASSES), len(NAMES)), dtype=bool)  # kinds x names
for _k, _kind in enumerate(SOUND_CLASSES):
    for _name in class_names(_kind):
        IS_TRUE_NAME[_k, NAME_INDEX[_name]] = True


def draw_true_name(rng: np.random.Generator, class_id: int) -> int:
    """Index of a true name of a kind: its first in two of three questions, any of its names otherwise."""
    own = class_names(SOUND_CLASSES[class_id])
    first = 0 if rng.random() < 0.67 or len(own) == 1 else int(rng.integers(len(own)))
    return NAME_INDEX[own[first]]


def draw_options(rng: np.random.Generator, class_id: int, num_options: int) -> tuple[list[int], int]:
    """`count` name indices, one of them true of the kind, and the true one's place."""
    wrong = rng.choice(np.flatnonzero(~IS_TRUE_NAME[class_id]), size=num_options - 1, replace=False).tolist()
    place = int(rng.integers(num_options))
    wrong.insert(place, draw_true_name(rng, class_id))
    return wrong, place


def tokenizer_texts() -> list[str]:
    """Texts for the miniature tokenizer: every name in the places where it stands in a question."""
    first = [format_prompt(NAMES[i : i + len(LETTERS)]) for i in range(0, len(NAMES) - 10)]
    return first + [f" {n}" for n in NAMES for _ in range(3)]
