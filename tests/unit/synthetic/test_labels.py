"""The table of kinds keeps what the rest of the world takes for granted about it."""

import pytest

from synesthesia.synthetic.audio import SYNTHESIZERS as HEARD
from synesthesia.synthetic.images import SCENE_FACTORIES as DRAWN
from synesthesia.synthetic.labels import (
    AUDIO_BETTER,
    AUDIOSET_ROWS,
    BALANCED,
    MAIN_CLASSES,
    MULTI_NAME_CLASSES,
    SOUND_CLASSES,
    UNSEEN_CLASSES,
    VISUAL_BETTER,
)


@pytest.mark.parametrize("regime", [BALANCED, AUDIO_BETTER, VISUAL_BETTER])
def test_each_regime_has_ten_main_labels(regime):
    assert sum(kind.group == regime for kind in MAIN_CLASSES) == 10


def test_only_the_several_name_labels_contain_a_comma():
    assert not [kind.name for kind in MAIN_CLASSES if "," in kind.name]
    assert all("," in kind.name for kind in MULTI_NAME_CLASSES) and len(MULTI_NAME_CLASSES) == 3


def test_every_kind_can_be_heard_and_seen_and_nothing_else_can():
    assert set(SOUND_CLASSES) == set(HEARD) == set(DRAWN)
    assert len(SOUND_CLASSES) == len(MAIN_CLASSES) + len(MULTI_NAME_CLASSES) + len(UNSEEN_CLASSES)


def test_every_audioset_name_has_its_own_row():
    assert {name for kind in SOUND_CLASSES.values() for name in kind.audioset_names} == set(AUDIOSET_ROWS)
    assert len({mid for _, mid in AUDIOSET_ROWS.values()}) == len(AUDIOSET_ROWS)


def test_audioset_only_kinds_carry_their_own_name_first():
    assert [kind.name for kind in UNSEEN_CLASSES] == [kind.audioset_names[0] for kind in UNSEEN_CLASSES]
