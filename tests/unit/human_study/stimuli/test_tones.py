"""The headphone test is Huggins pitch, and the sound check can be counted."""

import numpy as np
import pytest

from synesthesia.human_study.stimuli import tones


@pytest.fixture
def pitch():
    return tones.make_huggins_noise(np.random.default_rng(3))


def test_either_ear_alone_hears_plain_noise(pitch):
    """No peak or dip at 600 Hz in the power spectrum of either ear (mean of windows) against its neighbourhood."""
    many = np.concatenate([tones.make_huggins_noise(np.random.default_rng(n)) for n in range(40)])
    frequency = np.fft.rfftfreq(4096, 1 / tones.SAMPLE_RATE)
    for ear in range(2):
        windows = np.lib.stride_tricks.sliding_window_view(many[:, ear], 4096)[::2048] * np.hanning(4096)
        power = (np.abs(np.fft.rfft(windows)) ** 2).mean(axis=0)
        inside = power[np.abs(frequency - 600) <= 36].mean()
        around = power[(np.abs(frequency - 600) > 36) & (np.abs(frequency - 600) < 300)].mean()
        assert abs(10 * np.log10(inside / around)) < 0.5


def test_the_ears_differ_by_half_a_turn_within_six_percent_of_600_hz_and_nowhere_else(pitch):
    left, right = np.fft.rfft(pitch[:, 0]), np.fft.rfft(pitch[:, 1])
    frequency = np.fft.rfftfreq(len(pitch), 1 / tones.SAMPLE_RATE)
    band = np.abs(frequency - 600) <= 36
    assert 70 <= band.sum() <= 75
    np.testing.assert_allclose(right[band], -left[band], atol=1e-8)
    np.testing.assert_allclose(right[~band], left[~band], atol=1e-8)


def test_over_loudspeakers_the_ears_add_up_to_noise_without_a_tone(pitch):
    """Mixed in the air the band cancels: there is less there, never more."""
    mixed = np.abs(np.fft.rfft(pitch.sum(axis=1)))
    frequency = np.fft.rfftfreq(len(pitch), 1 / tones.SAMPLE_RATE)
    assert mixed[np.abs(frequency - 600) <= 36].max() < 1e-6


@pytest.mark.parametrize("target", range(3))
def test_the_pitch_is_in_the_interval_that_is_right_and_the_others_are_the_same_in_both_ears(target):
    sound = tones.make_headphone_sound(target, seed=1)
    assert sound.dtype == np.int16 and len(sound) == 44100 * 4
    for interval in range(3):
        start = round(interval * 1.5 * tones.SAMPLE_RATE)
        left, right = sound[start : start + tones.SAMPLE_RATE].T.astype(int)
        assert (np.abs(left - right).max() > 50) == (interval == target)
    level = np.sqrt((sound[: tones.SAMPLE_RATE].astype(float) ** 2).mean()) / 32768
    assert 0.06 < level < 0.1


def test_each_interval_is_right_twice_and_guessing_passes_once_in_729():
    assert sorted(tones.TARGET_INTERVALS) == [0, 0, 1, 1, 2, 2]
    assert pytest.approx(1 / 729) == (1 / 3) ** tones.PASS_SCORE


@pytest.mark.parametrize("count", [3, 4, 5])
def test_tones_of_the_sound_check_can_be_counted(count):
    sound = np.abs(tones.make_counting_sound(count).astype(float))
    loud = np.convolve(sound, np.ones(160) / 160, "same") > 500
    assert (np.diff(loud.astype(int)) == 1).sum() == count
