"""Synthetic classes are separable: linear probes on simple audio and video features beat chance."""

import numpy as np
import pytest
from scipy.signal import spectrogram
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from synesthesia.synthetic import clips

pytestmark = pytest.mark.slow  # renders clips: seconds per test

CLASSES = (
    "ambulance siren",
    "church bell ringing",
    "thunder",
    "swimming",
    "typing on computer keyboard",
    "bowling impact",
)
N_TRAIN, N_TEST = 8, 4  # clips per class


def _audio_features(x: np.ndarray) -> np.ndarray:
    """Compute mean and standard deviation over time of the log spectrum in 32 bands."""
    _, _, power = spectrogram(x, clips.SAMPLE_RATE, nperseg=512)
    bands = np.log(power[1:].reshape(32, 8, -1).mean(1) + 1e-10)
    return np.concatenate([bands.mean(1), bands.std(1)])


def _video_features(frames: np.ndarray) -> np.ndarray:
    """Average the temporal mean of the frames over 12 x 16 cells."""
    _, height, width, _ = frames.shape
    rows, columns = np.arange(12) * height // 12, np.arange(16) * width // 16
    cells = np.add.reduceat(np.add.reduceat(frames.mean(0), rows, 0), columns, 1)
    return (cells * 192 / (height * width)).ravel()


def test_linear_probes_beat_chance_on_audio_and_video():
    audio, video, labels = [], [], []
    for class_name in CLASSES:
        for k in range(N_TRAIN + N_TEST):
            x, frames = clips.render_model_inputs(clips.draw_recipe(f"probe{k:06d}_000000", class_name, 0))
            audio.append(_audio_features(x))
            video.append(_video_features(frames))
            labels.append(class_name)
    labels = np.array(labels)
    is_train = np.arange(len(labels)) % (N_TRAIN + N_TEST) < N_TRAIN
    for features, min_accuracy in ((np.array(audio), 0.8), (np.array(video), 0.45)):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
        accuracy = probe.fit(features[is_train], labels[is_train]).score(features[~is_train], labels[~is_train])
        assert accuracy > min_accuracy  # chance: 0.17
