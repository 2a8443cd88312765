"""The switch: its network, its training on sounds that can be told apart, and its clips with their targets."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from synesthesia.distillation import switch
from synesthesia.distillation.switch import Switch, SwitchError

pytestmark = pytest.mark.torch
CONFIG = {"architecture": "miniature", "rate": 16000, "window": 512, "hop": 320, "mel_bins": 32,
          "channels": [8, 16], "classes": 5}  # fmt: skip
TRAINING = {"epochs": 8, "batch_clips": 8, "learning_rate": 5e-3, "warmup": 0.1, "balance_classes": True, "seed": 0}


def made(seed=0, **changes):
    torch.manual_seed(seed)
    return Switch({**CONFIG, **changes})


def sounds(count=24, seconds=1.0, seed=0):
    """Low and high tones by turns, float32 (clips, samples), and which are high."""
    random = np.random.default_rng(seed)
    t = np.arange(int(seconds * 16000)) / 16000
    high = np.arange(count) % 2 == 1
    pitch = np.where(high, random.uniform(2500, 4000, count), random.uniform(150, 400, count))
    wave = 0.3 * np.sin(2 * np.pi * pitch[:, None] * t) + 0.02 * random.standard_normal((count, len(t)))
    return torch.from_numpy(wave.astype(np.float32)), torch.from_numpy(high.astype(np.float32))


@pytest.fixture
def pann(tmp_path):
    """A pretrained PANN's folder, as `make pretrain` writes it."""
    torch.manual_seed(1)
    network, _ = switch.build_backbone(CONFIG)
    folder = tmp_path / "pann"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file(switch.trainable_state_dict(network), folder / "model.safetensors")
    return folder


def test_a_pretrained_folder_fills_the_backbone_and_leaves_the_output_new(pann):
    torch.manual_seed(1)
    network, _ = switch.build_backbone(CONFIG)
    loaded = Switch.from_pretrained(pann)
    assert all(torch.equal(v, loaded.backbone.state_dict()[k]) for k, v in switch.trainable_state_dict(network).items())
    assert (loaded.head.bias == 0).all()
    assert not [k for k in switch.trainable_state_dict(network) if "extractor" in k]


def test_frames_computed_once_give_the_same_as_the_whole_network():
    network, (wave, _) = made().eval(), sounds(6)
    network.backbone.bn0.running_mean.normal_()
    frames = network.compute_log_mel(wave)
    assert frames.shape[:2] == (6, 1)
    with torch.no_grad():
        whole = network.head(network.backbone(wave)["embedding"])[:, 0]
    torch.testing.assert_close(network(frames), whole)
    torch.testing.assert_close(switch.predict(network, frames, batch_size=4), whole)
    assert network.backbone(wave)["clipwise_output"].shape == (6, 5)


def test_an_error_in_the_network_leaves_its_front_in_place():
    network = made()
    front = network.backbone.spectrogram_extractor
    with pytest.raises(RuntimeError):
        network(torch.zeros(2, 1, 10, 7))
    assert network.backbone.spectrogram_extractor is front


def trained(seed=0, targets=None, **changes):
    network = made(seed)
    wave, high = sounds()
    frames = network.compute_log_mel(wave)
    targets = high if targets is None else targets
    torch.manual_seed(0)
    return (
        network,
        frames,
        list(switch.train(network, frames[:16], targets[:16], (frames[16:], targets[16:]), **{**TRAINING, **changes})),
    )


def test_training_tells_high_from_low_also_on_clips_not_trained_on():
    network, frames, history = trained(epochs=30, learning_rate=1e-2)
    assert [row["epoch"] for row in history] == list(range(1, 31))
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]
    assert history[-1]["validation_balanced_accuracy"] == 1
    assert torch.equal(switch.predict(network, frames) > 0, sounds()[1].bool())


def test_the_same_seed_gives_the_same_weights():
    first, second = trained()[0], trained()[0]
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())
    assert not torch.equal(trained(seed=1)[0].head.weight, first.head.weight)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_targets_of_one_kind_are_refused(value):
    with pytest.raises(SwitchError, match=rf"all 16 training clips have the same answer \({value:.0f}\)"):
        trained(targets=torch.full((24,), value))


def test_a_last_batch_of_one_clip_is_no_obstacle():
    assert len(trained(batch_clips=15, epochs=2)[2]) == 2


def test_balanced_classes_weigh_both_answers_alike():
    rare = torch.zeros(24)
    rare[[1, 17]] = 1  # one in sixteen
    logits = {b: switch.predict(*trained(targets=rare, balance_classes=b, epochs=3)[:2]).mean() for b in (True, False)}
    assert logits[True] > logits[False]


def test_saved_and_loaded_it_says_the_same(tmp_path):
    network, frames, _ = trained(epochs=1)
    network.save(tmp_path / "model")
    again = Switch.load(tmp_path / "model")
    assert torch.equal(switch.predict(again, frames), switch.predict(network, frames))
    assert torch.equal(again.compute_log_mel(sounds()[0]), frames)
    assert sorted(f.name for f in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for read in (Switch.from_pretrained, Switch.load):
        with pytest.raises(SwitchError, match=r"nowhere: config\.json and model\.safetensors are expected"):
            read(tmp_path / "nowhere")
    with pytest.raises(SwitchError, match=r"Cnn14\.pth is missing"):
        Switch.from_pretrained(tmp_path / "Cnn14.pth")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_or_truncated_file_is_named(pann, name):
    whole = (pann / name).read_bytes()
    (pann / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SwitchError, match=f"{pann} is damaged"):
        Switch.from_pretrained(pann)
    (pann / name).unlink()
    with pytest.raises(SwitchError, match=f"{pann}: "):
        Switch.from_pretrained(pann)


def test_weights_of_another_shape_or_with_other_names_are_refused(pann):
    (pann / "config.json").write_text(json.dumps({**CONFIG, "channels": [8, 24]}))
    with pytest.raises(SwitchError, match=f"{pann} does not fit its architecture"):
        Switch.from_pretrained(pann)
    (pann / "config.json").write_text(json.dumps({**CONFIG, "channels": [8, 16, 16]}))
    with pytest.raises(SwitchError, match=r"does not fit its architecture: missing \['blocks\.2"):
        Switch.from_pretrained(pann)
    with pytest.raises(SwitchError, match=r"does not fit its architecture: missing .*output"):
        (pann / "config.json").write_text(json.dumps(CONFIG))
        Switch.load(pann)  # a PANN, no trained switch


def test_an_unknown_or_incomplete_architecture_is_refused(pann):
    (pann / "config.json").write_text(json.dumps({**CONFIG, "architecture": "ResNet38"}))
    with pytest.raises(SwitchError, match="architecture 'ResNet38' is not known: miniature or Cnn14_16k"):
        Switch.from_pretrained(pann)
    (pann / "config.json").write_text(json.dumps({"architecture": "miniature", "rate": 16000}))
    with pytest.raises(SwitchError, match="window"):
        Switch.from_pretrained(pann)


@pytest.mark.slow  # 81 million weights
def test_the_papers_network_has_panns_shape_hears_and_is_read_from_panns_own_file(tmp_path):
    network = Switch({"architecture": "Cnn14_16k"}).eval()
    state = network.backbone.state_dict()
    assert tuple(state["fc_audioset.weight"].shape) == (527, 2048)
    assert tuple(state["bn0.weight"].shape) == (64,)
    assert sum(v.numel() for v in switch.trainable_state_dict(network.backbone).values()) == pytest.approx(
        81e6, rel=0.02
    )
    assert switch.predict(network, network.compute_log_mel(sounds(2, seconds=1.0)[0])).isfinite().all()
    (tmp_path / "pann").mkdir()
    file = tmp_path / "pann/Cnn14_16k_mAP=0.438.pth"
    torch.save({"iteration": 440_000, "model": network.backbone.state_dict()}, file)
    for named in (file, tmp_path / "pann"):
        assert torch.equal(Switch.from_pretrained(named).backbone.fc1.weight, network.backbone.fc1.weight)


@pytest.mark.slow
def test_panns_networks_are_imported_without_wget_and_without_touching_the_home(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/wget").write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
    (tmp_path / "bin/wget").chmod(0o755)
    (tmp_path / "home").mkdir()
    code = "import socket; socket.socket.connect = None\n"
    code += "from synesthesia import switch; print(switch.panns_models().Cnn14)"
    env = {**os.environ, "HOME": str(tmp_path / "home"), "MPLCONFIGDIR": str(tmp_path / "mpl")}
    env["PATH"] = f"{tmp_path}/bin:{os.environ['PATH']}"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Cnn14" in done.stdout
    assert not (tmp_path / "called").exists()
    assert not list((tmp_path / "home").iterdir())
