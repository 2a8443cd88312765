"""Training of the switch on separable tones."""

import pytest
import torch

from synesthesia.distillation import switch_training
from synesthesia.distillation.switch import Switch, SwitchError
from synesthesia.distillation.switch_training import predict_logits
from tests.helpers.switch_examples import make_switch, make_tones

pytestmark = pytest.mark.torch
TRAINING = {"epochs": 8, "batch_size": 8, "learning_rate": 5e-3, "warmup_ratio": 0.1, "class_weighted": True, "seed": 0}


def train(seed=0, targets=None, **changes):
    """Train on 16 tones and validate on 8; return the switch, all log-mel spectrograms, and the history."""
    network = make_switch(seed)
    waveforms, is_high = make_tones()
    log_mel = network.compute_log_mel(waveforms)
    targets = is_high if targets is None else targets
    torch.manual_seed(0)
    validation = log_mel[16:], targets[16:]
    history = list(switch_training.train(network, log_mel[:16], targets[:16], validation, **{**TRAINING, **changes}))
    return network, log_mel, history


def test_switch_learns_separable_task():
    network, log_mel, history = train(epochs=30, learning_rate=1e-2)
    assert [row["epoch"] for row in history] == list(range(1, 31))
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]
    assert history[-1]["validation_balanced_accuracy"] == 1
    assert torch.equal(predict_logits(network, log_mel) > 0, make_tones()[1].bool())


def test_training_is_reproducible():
    first, second = train()[0], train()[0]
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())
    assert not torch.equal(train(seed=1)[0].head.weight, first.head.weight)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_training_targets_of_one_class_are_rejected(value):
    with pytest.raises(SwitchError, match=rf"all 16 training clips have the same target \({value:.0f}\)"):
        train(targets=torch.full((24,), value))


def test_last_batch_of_one_clip_is_skipped():
    assert len(train(batch_size=15, epochs=2)[2]) == 2


def test_class_weights_raise_the_logits_of_a_rare_class():
    rare = torch.zeros(24)
    rare[[1, 17]] = 1  # 1 of 16 training clips
    mean_logits = {
        is_weighted: predict_logits(*train(targets=rare, class_weighted=is_weighted, epochs=3)[:2]).mean()
        for is_weighted in (True, False)
    }
    assert mean_logits[True] > mean_logits[False]


def test_saved_and_loaded_switch_gives_the_same_logits(tmp_path):
    network, log_mel, _ = train(epochs=1)
    network.save(tmp_path / "model")
    loaded = Switch.load(tmp_path / "model")
    assert torch.equal(predict_logits(loaded, log_mel), predict_logits(network, log_mel))
    assert torch.equal(loaded.compute_log_mel(make_tones()[0]), log_mel)
    assert sorted(f.name for f in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
