"""Names of the world's kinds: which texts are true of a clip, and options for a question about it."""

from __future__ import annotations

import numpy as np

from synesthesia.questions.sampling import prompt
from synesthesia.schemas import LETTERS
from synesthesia.synthetic.labels import MAIN, OTHERS, SEVERAL

KINDS = (*MAIN, *SEVERAL, *OTHERS)
DISPLAY = {"police car (siren)": "police car"}  # as params/embedded.yaml cleans it


def names_of(kind) -> list[str]:
    """All names that are true of a kind: VGGSound's (cleaned) and AudioSet's, the usual one first."""
    own = [] if kind in OTHERS else [DISPLAY.get(kind.name, kind.name)]
    return list(dict.fromkeys([*own, *kind.audioset]))


NAMES = sorted({n for kind in KINDS for n in names_of(kind)})
INDEX = {name: i for i, name in enumerate(NAMES)}
TRUE = np.zeros((len(KINDS), len(NAMES)), dtype=bool)  # kinds x names
for _k, _kind in enumerate(KINDS):
    for _name in names_of(_kind):
        TRUE[_k, INDEX[_name]] = True


def usual(rng: np.random.Generator, kind: int) -> int:
    """Index of a true name of a kind: its first in two of three questions, any of its names otherwise."""
    own = names_of(KINDS[kind])
    first = 0 if rng.random() < 0.67 or len(own) == 1 else int(rng.integers(len(own)))
    return INDEX[own[first]]


def ask(rng: np.random.Generator, kind: int, count: int) -> tuple[list[int], int]:
    """`count` name indices, one of them true of the kind, and the true one's place."""
    wrong = rng.choice(np.flatnonzero(~TRUE[kind]), size=count - 1, replace=False).tolist()
    place = int(rng.integers(count))
    wrong.insert(place, usual(rng, kind))
    return wrong, place


def training_texts() -> list[str]:
    """Texts for the miniature tokenizer: every name in the places where it stands in a question."""
    first = [prompt(NAMES[i : i + len(LETTERS)]) for i in range(0, len(NAMES) - 10)]
    return first + [f" {n}" for n in NAMES for _ in range(3)]
