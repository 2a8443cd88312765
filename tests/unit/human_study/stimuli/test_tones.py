"""Huggins-pitch headphone check, and countable tones of the sound check."""

import numpy as np
import pytest

from synesthesia.human_study.stimuli import tones


@pytest.fixture
def huggins_noise():
    return tones.make_huggins_noise(np.random.default_rng(3))


def test_each_channel_alone_is_plain_noise():
    """The mean power spectrum of each channel has no peak or dip at 600 Hz."""
    noise = np.concatenate([tones.make_huggins_noise(np.random.default_rng(n)) for n in range(40)])
    frequency = np.fft.rfftfreq(4096, 1 / tones.SAMPLE_RATE)
    for channel in range(2):
        windows = np.lib.stride_tricks.sliding_window_view(noise[:, channel], 4096)[::2048] * np.hanning(4096)
        power = (np.abs(np.fft.rfft(windows)) ** 2).mean(axis=0)
        inside = power[np.abs(frequency - 600) <= 36].mean()
        around = power[(np.abs(frequency - 600) > 36) & (np.abs(frequency - 600) < 300)].mean()
        assert abs(10 * np.log10(inside / around)) < 0.5


def test_channels_have_opposite_phase_within_six_percent_of_600_hz_only(huggins_noise):
    left, right = np.fft.rfft(huggins_noise[:, 0]), np.fft.rfft(huggins_noise[:, 1])
    frequency = np.fft.rfftfreq(len(huggins_noise), 1 / tones.SAMPLE_RATE)
    band = np.abs(frequency - 600) <= 36
    assert 70 <= band.sum() <= 75
    np.testing.assert_allclose(right[band], -left[band], atol=1e-8)
    np.testing.assert_allclose(right[~band], left[~band], atol=1e-8)


def test_mixed_channels_as_over_loudspeakers_have_no_tone(huggins_noise):
    """Added, the channels cancel in the band: it has less power, never more."""
    mixed = np.abs(np.fft.rfft(huggins_noise.sum(axis=1)))
    frequency = np.fft.rfftfreq(len(huggins_noise), 1 / tones.SAMPLE_RATE)
    assert mixed[np.abs(frequency - 600) <= 36].max() < 1e-6


@pytest.mark.parametrize("target", range(3))
def test_only_the_target_interval_has_the_pitch(target):
    sound = tones.make_headphone_sound(target, seed=1)
    assert sound.dtype == np.int16 and len(sound) == 44100 * 4
    for interval in range(3):
        start = round(interval * 1.5 * tones.SAMPLE_RATE)
        left, right = sound[start : start + tones.SAMPLE_RATE].T.astype(int)
        assert (np.abs(left - right).max() > 50) == (interval == target)
    rms = np.sqrt((sound[: tones.SAMPLE_RATE].astype(float) ** 2).mean()) / 32768
    assert 0.06 < rms < 0.1


def test_each_interval_is_the_target_twice_and_guessing_passes_once_in_729():
    assert sorted(tones.TARGET_INTERVALS) == [0, 0, 1, 1, 2, 2]
    assert pytest.approx(1 / 729) == (1 / 3) ** tones.PASS_SCORE


@pytest.mark.parametrize("n_tones", [3, 4, 5])
def test_sound_check_has_the_given_number_of_tones(n_tones):
    sound = np.abs(tones.make_counting_sound(n_tones).astype(float))
    is_loud = np.convolve(sound, np.ones(160) / 160, "same") > 500
    assert (np.diff(is_loud.astype(int)) == 1).sum() == n_tones
