"""Training loop: loss, micro-batches, trainable parameters, history, and resumption from checkpoints."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from synesthesia.config import AccelerationConfig
from synesthesia.data import clip_batches
from synesthesia.data.store import Store
from synesthesia.distillation import adapters, checkpoint, trainer
from synesthesia.distillation.dataset import make_sample_order
from synesthesia.models.base import LanguageModel
from synesthesia.questions.prompt import format_prompt
from synesthesia.utils.schedules import cosine_with_warmup
from tests.helpers.tiny_checkpoints import fresh_model, lora_config, small_store, training_config
from tests.helpers.training_examples import NUM_CLIPS, make_training_targets

pytestmark = pytest.mark.torch


class SimulatedKill(Exception):
    """Raised where the process is killed."""


def make_student(family, switches=None, **lora_options):
    student = fresh_model(family, switches)
    torch.manual_seed(0)
    adapters.add_lora(student, lora_config(**lora_options))
    return student


def train(
    checkpoint_dir,
    family="qwen2_audio",
    targets=None,
    stop_after=None,
    checkpoint_interval_seconds=60.0,
    dropout=0.0,
    switches=None,
    **changes,
):
    """Return a trained student and the history; raise SimulatedKill after the step `stop_after`."""
    student = make_student(family, switches, dropout=dropout)

    def log_metric(name, _, step):
        if step == stop_after and name == "grad_norm":  # the last metric logged in a step, before its checkpoint
            raise SimulatedKill

    clips, _, store_dir = small_store(NUM_CLIPS)
    history = trainer.train(
        student,
        targets or make_training_targets(),
        clips,
        store_dir,
        training_config(**{"global_batch_size": 4, "micro_batch_size": 4, "epochs": 2.0, **changes}),
        checkpoint_dir=checkpoint_dir,
        log_metric=log_metric,
        checkpoint_interval_seconds=checkpoint_interval_seconds,
    )
    return student, history


def trainable_weights(student):
    return {k: v.detach().clone() for k, v in student.model.named_parameters() if v.requires_grad}


def iter_first_step(model, targets):
    """Yield the index and the float64 logits of an untrained student for each of the four clips of the first step."""
    clips, _, store_dir = small_store(NUM_CLIPS)
    store, locations = Store(store_dir), clip_batches.locate_clips(clips, targets.questions["clip_id"].to_pylist())
    for i in make_sample_order(NUM_CLIPS, training_config(epochs=2.0))[:4]:
        clip_inputs = clip_batches.load_clip_inputs(store, *locations[i], "audio")
        prompt = format_prompt(targets.questions["options"][int(i)].as_py())
        with torch.inference_mode():
            yield i, model.answer_logits(model.collate([clip_inputs], [prompt]))[0].double()


def test_loss_of_the_first_step_matches_reference(tmp_path):
    _, history = train(tmp_path, temperature=2.0, kl_weight=0.7)
    original, targets = fresh_model("qwen2_audio"), make_training_targets()
    cross_entropy = kl = 0.0
    for i, logits in iter_first_step(original, targets):
        if targets.labels[i] >= 0:
            cross_entropy -= logits.log_softmax(-1)[original.letter_ids[targets.labels[i]]].item()
        if targets.kl_mask[i]:
            num_options = len(targets.questions["options"][int(i)])
            p = torch.from_numpy(targets.teacher_logits[i, :num_options]).double().div(2).softmax(-1)
            q = logits[original.letter_ids[:num_options]].div(2).softmax(-1)
            kl += 4 * (p * (p / q).log()).sum().item()
    first_step = history[0]
    assert first_step["cross_entropy"] == pytest.approx(cross_entropy / 4, rel=1e-4)
    assert first_step["kl_divergence"] == pytest.approx(kl / 4, rel=1e-4)
    assert first_step["loss"] == pytest.approx(cross_entropy / 4 + 0.7 * kl / 4, rel=1e-4)
    assert cross_entropy > 0
    assert kl > 0


def test_kl_divergence_of_top_k_tokens_matches_reference(tmp_path):
    targets, original = make_training_targets(), fresh_model("qwen2_audio")
    rng = np.random.default_rng(1)
    token_ids = np.stack([rng.permutation(len(original.tokenizer))[:6] for _ in range(NUM_CLIPS)])
    teacher_logits = rng.standard_normal((NUM_CLIPS, 6)).astype(np.float32)
    teacher_logits[:, 5] = -np.inf  # padding
    kl_only_targets = replace(
        targets,
        labels=np.full(NUM_CLIPS, -1),
        kl_mask=np.ones(NUM_CLIPS, dtype=bool),
        teacher_logits=teacher_logits,
        token_ids=token_ids,
    )
    _, history = train(tmp_path, targets=kl_only_targets, temperature=3.0)
    kl = 0.0
    for i, logits in iter_first_step(original, targets):
        p = torch.from_numpy(teacher_logits[i, :5]).double().div(3).softmax(-1)
        q = logits[torch.from_numpy(token_ids[i, :5])].div(3).softmax(-1)
        kl += 9 * (p * (p / q).log()).sum().item()
    assert history[0]["kl_divergence"] == pytest.approx(kl / 4, rel=1e-4)
    assert history[0]["cross_entropy"] == 0


def test_micro_batch_size_affects_neither_loss_nor_gradients_nor_weights(tmp_path):
    runs = [train(tmp_path / str(n), global_batch_size=8, micro_batch_size=n, epochs=1.0) for n in (8, 2)]
    for row, accumulated_row in zip(runs[0][1], runs[1][1], strict=True):
        assert row == pytest.approx(accumulated_row, rel=2e-3, abs=1e-5)
    assert runs[0][1][0] == pytest.approx(runs[1][1][0], rel=2e-5, abs=1e-6)
    for name, weight in trainable_weights(runs[0][0]).items():
        torch.testing.assert_close(trainable_weights(runs[1][0])[name], weight, atol=2e-4, rtol=0)


def test_flat_gradient_buffer_matches_separate_gradients(tmp_path):
    (flat, flat_history), (plain, plain_history) = (
        train(tmp_path / str(is_flat), micro_batch_size=2, switches=AccelerationConfig(flat_gradients=is_flat))
        for is_flat in (True, False)
    )
    for row, plain_row in zip(flat_history, plain_history, strict=True):
        assert row == pytest.approx(plain_row, rel=1e-6)
    for name, weight in trainable_weights(flat).items():
        torch.testing.assert_close(trainable_weights(plain)[name], weight, atol=1e-6, rtol=1e-5)


def test_loss_of_incomplete_last_step_is_averaged_over_its_clips(tmp_path):
    options = {"global_batch_size": 8, "epochs": 1.0, "learning_rate": 1e-12}
    _, history = train(tmp_path / "8", micro_batch_size=8, **options)
    assert [row["step"] for row in history] == [1, 2]  # 12 clips: 8 and 4
    _, small_batch_history = train(tmp_path / "4", **{**options, "global_batch_size": 4}, micro_batch_size=4)
    assert history[0]["loss"] == pytest.approx(
        (small_batch_history[0]["loss"] + small_batch_history[1]["loss"]) / 2, rel=1e-4
    )
    assert history[1]["loss"] == pytest.approx(small_batch_history[2]["loss"], rel=1e-4)


@pytest.mark.parametrize("family", ["qwen2_audio", "qwen2_vl"])
def test_only_the_adapter_is_trained_and_fits_the_targets(family, tmp_path):
    constant_targets = replace(
        make_training_targets(),
        labels=np.zeros(NUM_CLIPS, dtype=np.int64),
        kl_mask=np.zeros(NUM_CLIPS, dtype=bool),
    )
    before = dict(fresh_model(family).model.named_parameters())
    student, history = train(tmp_path, family, constant_targets, epochs=6.0, learning_rate=3e-3)
    assert np.mean([r["loss"] for r in history[-3:]]) < 0.5 * np.mean([r["loss"] for r in history[:3]])
    after = dict(student.model.get_base_model().named_parameters())
    frozen = {name.replace(".base_layer", ""): weight for name, weight in after.items() if "lora_" not in name}
    assert frozen.keys() == before.keys()
    assert all(torch.equal(frozen[name], weight) for name, weight in before.items())
    assert all(weight.abs().sum() > 0 for name, weight in after.items() if "lora_B" in name)
    assert not student.model.training


def test_history_has_scheduled_learning_rate_and_logged_metrics(tmp_path):
    logged = []
    clips, _, store_dir = small_store(NUM_CLIPS)
    config = training_config(global_batch_size=4, micro_batch_size=2, epochs=1.0)
    history = trainer.train(
        make_student("qwen2_audio"),
        make_training_targets(),
        clips,
        store_dir,
        config,
        checkpoint_dir=tmp_path,
        log_metric=lambda *row: logged.append(row),
    )
    assert [row["step"] for row in history] == [1, 2, 3]
    assert [row["learning_rate"] for row in history] == [
        cosine_with_warmup(step, 3, config.warmup_ratio, config.learning_rate) for step in range(3)
    ]
    assert logged == [(n, r[n], r["step"]) for r in history for n in ("loss", "learning_rate", "grad_norm")]
    assert not list(tmp_path.iterdir())  # the run ends before the first checkpoint is due


@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["no dropout", "dropout"])
def test_resumed_run_has_identical_history_and_adapter_bytes(tmp_path, dropout):
    uninterrupted, expected = train(tmp_path / "uninterrupted", dropout=dropout)
    checkpoint_dir = tmp_path / "killed"
    for stop in (3, 5):
        with pytest.raises(SimulatedKill):
            train(checkpoint_dir, stop_after=stop, checkpoint_interval_seconds=-1.0, dropout=dropout)
        assert [f.name for f in checkpoint_dir.iterdir()] == ["checkpoint.safetensors"]
    resumed, history = train(checkpoint_dir, checkpoint_interval_seconds=-1.0, dropout=dropout)
    assert history == expected
    for name, student in (("uninterrupted", uninterrupted), ("resumed", resumed)):
        adapters.save(student, tmp_path / name, "base")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "resumed" / file).read_bytes() == (tmp_path / "uninterrupted" / file).read_bytes()


def test_resumed_run_skips_steps_before_the_checkpoint(tmp_path, monkeypatch):
    with pytest.raises(SimulatedKill):
        train(tmp_path, stop_after=5, checkpoint_interval_seconds=-1.0)
    calls = []
    answer_logits = LanguageModel.answer_logits
    monkeypatch.setattr(
        LanguageModel, "answer_logits", lambda model, batch: calls.append(1) or answer_logits(model, batch)
    )
    _, history = train(tmp_path, checkpoint_interval_seconds=-1.0)
    assert len(history) == 6
    assert len(calls) == 2  # the checkpoint holds four of six steps: the run was killed before checkpoint 5


def test_kill_during_checkpoint_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    uninterrupted, expected = train(tmp_path / "uninterrupted")
    checkpoint_dir, save_file, save_calls = tmp_path / "killed", checkpoint.save_file, []

    def save_truncated(tensors, file):
        save_calls.append(1)
        save_file(tensors, file)
        if len(save_calls) == 3:
            file.write_bytes(file.read_bytes()[:1000])
            raise SimulatedKill

    with monkeypatch.context() as patch, pytest.raises(SimulatedKill):
        patch.setattr(checkpoint, "save_file", save_truncated)
        train(checkpoint_dir, checkpoint_interval_seconds=-1.0)
    resumed, history = train(checkpoint_dir)
    assert history == expected
    weights = trainable_weights(resumed)
    assert all(torch.equal(weight, weights[name]) for name, weight in trainable_weights(uninterrupted).items())
