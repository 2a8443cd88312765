"""The network of the switch: log-mel spectrograms, loading and saving, and rejected files."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from synesthesia.distillation import switch
from synesthesia.distillation.switch import Switch, SwitchError
from synesthesia.distillation.switch_training import predict_logits
from tests.helpers.switch_examples import CONFIG, make_switch, make_tones

pytestmark = pytest.mark.torch


@pytest.fixture
def pretrained_dir(tmp_path):
    """Folder of a pretrained PANN, as `make pretrain` writes it."""
    torch.manual_seed(1)
    network, _ = switch.build_backbone(CONFIG)
    folder = tmp_path / "pann"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file(switch.trainable_state_dict(network), folder / "model.safetensors")
    return folder


def test_from_pretrained_loads_the_backbone_and_initializes_the_head(pretrained_dir):
    torch.manual_seed(1)
    network, _ = switch.build_backbone(CONFIG)
    loaded = Switch.from_pretrained(pretrained_dir)
    assert all(torch.equal(v, loaded.backbone.state_dict()[k]) for k, v in switch.trainable_state_dict(network).items())
    assert (loaded.head.bias == 0).all()
    assert not [k for k in switch.trainable_state_dict(network) if "extractor" in k]


def test_precomputed_log_mel_gives_logits_of_the_full_network():
    network, (waveforms, _) = make_switch().eval(), make_tones(6)
    network.backbone.bn0.running_mean.normal_()
    log_mel = network.compute_log_mel(waveforms)
    assert log_mel.shape[:2] == (6, 1)
    with torch.no_grad():
        expected = network.head(network.backbone(waveforms)["embedding"])[:, 0]
    torch.testing.assert_close(network(log_mel), expected)
    torch.testing.assert_close(predict_logits(network, log_mel, batch_size=4), expected)
    assert network.backbone(waveforms)["clipwise_output"].shape == (6, 5)


def test_forward_error_restores_the_spectrogram_extractor():
    network = make_switch()
    extractor = network.backbone.spectrogram_extractor
    with pytest.raises(RuntimeError):
        network(torch.zeros(2, 1, 10, 7))
    assert network.backbone.spectrogram_extractor is extractor


def test_missing_folder_or_file_is_rejected(tmp_path):
    for load in (Switch.from_pretrained, Switch.load):
        with pytest.raises(SwitchError, match=r"nowhere: config\.json and model\.safetensors are expected"):
            load(tmp_path / "nowhere")
    with pytest.raises(SwitchError, match=r"train_switch\.checkpoint: .*Cnn14\.pth is missing"):
        Switch.from_pretrained(tmp_path / "Cnn14.pth")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_folder_with_missing_or_truncated_file_is_rejected(pretrained_dir, name):
    content = (pretrained_dir / name).read_bytes()
    (pretrained_dir / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(SwitchError, match=f"{pretrained_dir} is damaged"):
        Switch.from_pretrained(pretrained_dir)
    (pretrained_dir / name).unlink()
    with pytest.raises(SwitchError, match=f"{pretrained_dir}: "):
        Switch.from_pretrained(pretrained_dir)


def test_weights_with_unexpected_shapes_or_names_are_rejected(pretrained_dir):
    (pretrained_dir / "config.json").write_text(json.dumps({**CONFIG, "channels": [8, 24]}))
    with pytest.raises(SwitchError, match=f"{pretrained_dir} does not fit its architecture"):
        Switch.from_pretrained(pretrained_dir)
    (pretrained_dir / "config.json").write_text(json.dumps({**CONFIG, "channels": [8, 16, 16]}))
    with pytest.raises(SwitchError, match=r"does not fit its architecture: missing \['blocks\.2"):
        Switch.from_pretrained(pretrained_dir)
    (pretrained_dir / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(SwitchError, match=r"does not fit its architecture: missing .*head"):
        Switch.load(pretrained_dir)  # a PANN, not a trained switch


def test_unknown_or_incomplete_architecture_is_rejected(pretrained_dir):
    (pretrained_dir / "config.json").write_text(json.dumps({**CONFIG, "architecture": "ResNet38"}))
    with pytest.raises(SwitchError, match="architecture 'ResNet38' is not known: tiny_cnn14 or Cnn14_16k"):
        Switch.from_pretrained(pretrained_dir)
    incomplete = {"architecture": "tiny_cnn14", "sample_rate": 16000}
    (pretrained_dir / "config.json").write_text(json.dumps(incomplete))
    with pytest.raises(SwitchError, match="window_size"):
        Switch.from_pretrained(pretrained_dir)


@pytest.mark.slow  # 81 million parameters
def test_cnn14_has_published_shapes_and_loads_published_checkpoint_format(tmp_path):
    network = Switch({"architecture": "Cnn14_16k"}).eval()
    state = network.backbone.state_dict()
    assert tuple(state["fc_audioset.weight"].shape) == (527, 2048)
    assert tuple(state["bn0.weight"].shape) == (64,)
    num_parameters = sum(v.numel() for v in switch.trainable_state_dict(network.backbone).values())
    assert num_parameters == pytest.approx(81e6, rel=0.02)
    assert predict_logits(network, network.compute_log_mel(make_tones(2, seconds=1.0)[0])).isfinite().all()
    (tmp_path / "pann").mkdir()
    file = tmp_path / "pann/Cnn14_16k_mAP=0.438.pth"
    torch.save({"iteration": 440_000, "model": network.backbone.state_dict()}, file)
    for checkpoint in (file, tmp_path / "pann"):
        assert torch.equal(Switch.from_pretrained(checkpoint).backbone.fc1.weight, network.backbone.fc1.weight)


@pytest.mark.slow
def test_panns_import_neither_downloads_nor_writes_to_the_home_folder(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/wget").write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
    (tmp_path / "bin/wget").chmod(0o755)
    (tmp_path / "home").mkdir()
    code = "import socket; socket.socket.connect = None\n"
    code += "from synesthesia.distillation import switch; print(switch.import_panns_models().Cnn14)"
    env = {**os.environ, "HOME": str(tmp_path / "home"), "MPLCONFIGDIR": str(tmp_path / "mpl")}
    env["PATH"] = f"{tmp_path}/bin:{os.environ['PATH']}"
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Cnn14" in result.stdout
    assert not (tmp_path / "called").exists()
    assert not list((tmp_path / "home").iterdir())
