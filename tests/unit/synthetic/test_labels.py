"""Invariants of the sound classes and label groups."""

import pytest

from synesthesia.synthetic.audio import SYNTHESIZERS
from synesthesia.synthetic.images import SCENE_FACTORIES
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


@pytest.mark.parametrize("group", [BALANCED, AUDIO_BETTER, VISUAL_BETTER])
def test_each_group_has_ten_main_labels(group):
    assert sum(c.group == group for c in MAIN_CLASSES) == 10


def test_only_multi_name_labels_contain_a_comma():
    assert not [c.name for c in MAIN_CLASSES if "," in c.name]
    assert all("," in c.name for c in MULTI_NAME_CLASSES) and len(MULTI_NAME_CLASSES) == 3


def test_each_sound_class_has_a_synthesizer_and_a_scene():
    assert set(SOUND_CLASSES) == set(SYNTHESIZERS) == set(SCENE_FACTORIES)
    assert len(SOUND_CLASSES) == len(MAIN_CLASSES) + len(MULTI_NAME_CLASSES) + len(UNSEEN_CLASSES)


def test_each_audioset_name_has_a_unique_row():
    assert {name for c in SOUND_CLASSES.values() for name in c.audioset_names} == set(AUDIOSET_ROWS)
    assert len({mid for _, mid in AUDIOSET_ROWS.values()}) == len(AUDIOSET_ROWS)


def test_first_audioset_name_of_unseen_classes_is_the_class_name():
    assert [c.name for c in UNSEEN_CLASSES] == [c.audioset_names[0] for c in UNSEEN_CLASSES]
