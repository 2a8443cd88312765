"""Text names of the sound classes: true names of a clip, and answer options for a question about it."""

from __future__ import annotations

import numpy as np

from synesthesia.questions.prompt import format_prompt
from synesthesia.schemas import LETTERS
from synesthesia.synthetic.labels import MAIN_CLASSES, MULTI_NAME_CLASSES, UNSEEN_CLASSES, SoundClass

SOUND_CLASSES = (*MAIN_CLASSES, *MULTI_NAME_CLASSES, *UNSEEN_CLASSES)
DISPLAY_NAMES = {"police car (siren)": "police car"}  # as params/embedded.yaml cleans it


def class_names(sound_class: SoundClass) -> list[str]:
    """List all true names of a class.

    Args:
        sound_class: Sound class.

    Returns:
        VGGSound's name (cleaned), then AudioSet's; the most common one first.
    """
    vggsound = [] if sound_class in UNSEEN_CLASSES else [DISPLAY_NAMES.get(sound_class.name, sound_class.name)]
    return list(dict.fromkeys([*vggsound, *sound_class.audioset_names]))


NAMES = sorted({name for sound_class in SOUND_CLASSES for name in class_names(sound_class)})
NAME_INDEX = {name: i for i, name in enumerate(NAMES)}
IS_TRUE_NAME = np.zeros((len(SOUND_CLASSES), len(NAMES)), dtype=bool)  # classes x names
for _class_id, _sound_class in enumerate(SOUND_CLASSES):
    for _name in class_names(_sound_class):
        IS_TRUE_NAME[_class_id, NAME_INDEX[_name]] = True


def draw_true_name(rng: np.random.Generator, class_id: int) -> int:
    """Draw a true name of a class: the first in two of three questions, any of its names otherwise.

    Args:
        rng: Random generator.
        class_id: Index into `SOUND_CLASSES`.

    Returns:
        Index into `NAMES`.
    """
    names = class_names(SOUND_CLASSES[class_id])
    choice = 0 if rng.random() < 0.67 or len(names) == 1 else int(rng.integers(len(names)))
    return NAME_INDEX[names[choice]]


def draw_options(rng: np.random.Generator, class_id: int, num_options: int) -> tuple[list[int], int]:
    """Draw the answer options of a question.

    Args:
        rng: Random generator.
        class_id: Index into `SOUND_CLASSES`.
        num_options: Number of options, 2 to 10.

    Returns:
        Indices into `NAMES`, exactly one of them true of the class, and the position of the true one.
    """
    options = rng.choice(np.flatnonzero(~IS_TRUE_NAME[class_id]), size=num_options - 1, replace=False).tolist()
    target = int(rng.integers(num_options))
    options.insert(target, draw_true_name(rng, class_id))
    return options, target


def tokenizer_texts() -> list[str]:
    """Build the training texts of the tokenizer: every name wherever it stands in a question.

    Returns:
        Questions over a sliding window of names, then each name with a leading space, three times.
    """
    questions = [format_prompt(NAMES[i : i + len(LETTERS)]) for i in range(0, len(NAMES) - 10)]
    return questions + [f" {name}" for name in NAMES for _ in range(3)]
