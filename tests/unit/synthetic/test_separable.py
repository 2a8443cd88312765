"""The evidence is in the clips: simple features of sound and picture tell a handful of kinds apart."""

import numpy as np
import pytest
from scipy.signal import spectrogram
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from synesthesia.synthetic import clips

pytestmark = pytest.mark.slow  # real files and figures: seconds each

SOME = (
    "ambulance siren",
    "church bell ringing",
    "thunder",
    "swimming",
    "typing on computer keyboard",
    "bowling impact",
)
TRAIN, TEST = 8, 4


def _sound(x: np.ndarray) -> np.ndarray:
    """Mean and spread over time of the log spectrum in 32 bands."""
    _, _, power = spectrogram(x, clips.SAMPLE_RATE, nperseg=512)
    bands = np.log(power[1:].reshape(32, 8, -1).mean(1) + 1e-10)
    return np.concatenate([bands.mean(1), bands.std(1)])


def _picture(frames: np.ndarray) -> np.ndarray:
    """The mean frame in 12 x 16 cells."""
    _, height, width, _ = frames.shape
    rows, columns = np.arange(12) * height // 12, np.arange(16) * width // 16
    cells = np.add.reduceat(np.add.reduceat(frames.mean(0), rows, 0), columns, 1)
    return (cells * 192 / (height * width)).ravel()


def test_simple_probes_beat_chance_clearly_by_ear_and_by_eye():
    heard, seen, kinds = [], [], []
    for kind in SOME:
        for k in range(TRAIN + TEST):
            x, frames = clips.render_model_inputs(clips.draw_recipe(f"probe{k:06d}_000000", kind, 0))
            heard.append(_sound(x))
            seen.append(_picture(frames))
            kinds.append(kind)
    kinds = np.array(kinds)
    train = np.arange(len(kinds)) % (TRAIN + TEST) < TRAIN
    for features, least in ((np.array(heard), 0.8), (np.array(seen), 0.45)):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
        right = probe.fit(features[train], kinds[train]).score(features[~train], kinds[~train])
        assert right > least  # chance: 0.17
