"""Stimuli's names cannot be guessed and tell neither label nor clip nor condition."""

import re

import numpy as np
import pytest

from synesthesia.human_study.stimuli import encode

pytestmark = pytest.mark.slow  # a real study


def test_a_name_is_160_bits_that_hang_on_the_secret_the_clip_and_the_condition():
    names = {
        encode.StimulusNames(secret).filename(clip, condition)[:40]
        for secret in (b"a" * 32, b"b" * 32)
        for clip in ("clip1", "clip2")
        for condition in ("audio", "silent_video", "sounded_video")
    }
    assert len(names) == 12 and all(re.fullmatch("[0-9a-f]{40}", name) for name in names)


def test_the_folder_holds_files_under_such_names_alone(prepared):
    names = {p.name for p in (prepared / "humans/stimuli").iterdir()}
    assert all(re.fullmatch(r"[0-9a-f]{40}\.(wav|mp4)", name) for name in names)
    assert len(names) == 3 * 48 + 3 + 3 + 6  # the plan, practice, sound check, headphones


def test_names_do_not_sort_by_condition_or_label():
    names = encode.StimulusNames(b"a" * 32)
    order = sorted((names.filename(f"clip{n:03d}", "silent_video"), n) for n in range(200))
    assert abs(np.corrcoef([n for _, n in order], range(200))[0, 1]) < 0.25
