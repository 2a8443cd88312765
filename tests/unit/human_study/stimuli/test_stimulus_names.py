"""Stimulus names are unguessable and reveal neither label, clip, nor condition."""

import re

import numpy as np
import pytest

from synesthesia.human_study.stimuli import encode

pytestmark = pytest.mark.slow  # a real study


def test_a_name_has_160_bits_that_depend_on_secret_clip_and_condition():
    names = {
        encode.StimulusNames(secret).filename(clip_id, condition)[:40]
        for secret in (b"a" * 32, b"b" * 32)
        for clip_id in ("clip1", "clip2")
        for condition in ("audio", "silent_video", "sounded_video")
    }
    assert len(names) == 12 and all(re.fullmatch("[0-9a-f]{40}", name) for name in names)


def test_the_stimulus_folder_holds_only_such_names(prepared_study):
    names = {p.name for p in (prepared_study / "humans/stimuli").iterdir()}
    assert all(re.fullmatch(r"[0-9a-f]{40}\.(wav|mp4)", name) for name in names)
    assert len(names) == 3 * 48 + 3 + 3 + 6  # plan, practice, sound check, headphone check


def test_names_do_not_sort_by_clip():
    names = encode.StimulusNames(b"a" * 32)
    order = sorted((names.filename(f"clip{n:03d}", "silent_video"), n) for n in range(200))
    assert abs(np.corrcoef([n for _, n in order], range(200))[0, 1]) < 0.25
