"""The distillation loop: its loss, its micro-batches, what learns, and what a kill costs (nothing)."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from synesthesia.data import clip_batches
from synesthesia.data.store import Store
from synesthesia.distillation import adapters, checkpoint, trainer
from synesthesia.questions.prompt import format_prompt
from tests.helpers.tiny_checkpoints import fresh, lora, study, training
from tests.helpers.training_examples import CLIPS, lessons

pytestmark = pytest.mark.torch


class Killed(Exception):
    """In the place of a kill."""


def student_of(family, **changes):
    student = fresh(family)
    torch.manual_seed(0)
    adapters.add_lora(student, lora(**changes))
    return student


def trained(partial, family="qwen2_audio", targets=None, stop_after=None, seconds=60.0, dropout=0.0, **changes):
    """A student after its training, and the history; `stop_after`: raise Killed when so many steps are done."""
    student = student_of(family, dropout=dropout)

    def tell(name, _, step):
        if step == stop_after and name == "gradient_norm":  # the last thing said of a step, before its checkpoint
            raise Killed

    clips, _, store = study(CLIPS)
    given = training(**{"global_batch_size": 4, "micro_batch": 4, "epochs": 2.0, **changes})
    history = trainer.train(
        student,
        targets or lessons(),
        clips,
        store,
        given,
        checkpoint_dir=partial,
        log_metric=tell,
        checkpoint_interval_seconds=seconds,
    )
    return student, history


def learnt(student):
    return {k: v.detach().clone() for k, v in student.model.named_parameters() if v.requires_grad}


def first_step(original, of):
    """The clips of the first step of four, and the float64 logits of a student that has learnt nothing yet for each."""
    clips, _, folder = study(CLIPS)
    store, places = Store(folder), clip_batches.locate_clips(clips, of.questions["clip_id"].to_pylist())
    for i in trainer.make_sample_order(CLIPS, training(epochs=2.0))[:4]:
        percept = clip_batches.load_clip_inputs(store, *places[i], "audio")
        prompt = format_prompt(of.questions["options"][int(i)].as_py())
        with torch.inference_mode():
            yield i, original.answer_logits(original.collate([percept], [prompt]))[0].double()


def test_the_first_steps_loss_is_the_mean_over_its_clips_worked_out_by_hand(tmp_path):
    _, history = trained(tmp_path, temperature=2.0, kl_weight=0.7)
    original, of = fresh("qwen2_audio"), lessons()
    hard = soft = 0.0
    for i, logits in first_step(original, of):
        if of.labels[i] >= 0:
            hard -= logits.log_softmax(-1)[original.letter_ids[of.labels[i]]].item()
        if of.kl_mask[i]:
            options = len(of.questions["options"][int(i)])
            p = torch.from_numpy(of.teacher_logits[i, :options]).double().div(2).softmax(-1)
            q = logits[original.letter_ids[:options]].div(2).softmax(-1)
            soft += 4 * (p * (p / q).log()).sum().item()
    first = history[0]
    assert first["cross_entropy"] == pytest.approx(hard / 4, rel=1e-4)
    assert first["divergence"] == pytest.approx(soft / 4, rel=1e-4)
    assert first["loss"] == pytest.approx(hard / 4 + 0.7 * soft / 4, rel=1e-4)
    assert hard > 0
    assert soft > 0


def test_logits_over_the_vocabulary_are_matched_at_their_own_tokens(tmp_path):
    of, original = lessons(), fresh("qwen2_audio")
    random = np.random.default_rng(1)
    tokens = np.stack([random.permutation(len(original.tokenizer))[:6] for _ in range(CLIPS)])
    wide = random.standard_normal((CLIPS, 6)).astype(np.float32)
    wide[:, 5] = -np.inf  # filled up
    only = replace(of, letters=np.full(CLIPS, -1), soft=np.ones(CLIPS, dtype=bool), teacher_logits=wide, tokens=tokens)
    _, history = trained(tmp_path, targets=only, temperature=3.0)
    soft = 0.0
    for i, logits in first_step(original, of):
        p = torch.from_numpy(wide[i, :5]).double().div(3).softmax(-1)
        q = logits[torch.from_numpy(tokens[i, :5])].div(3).softmax(-1)
        soft += 9 * (p * (p / q).log()).sum().item()
    assert history[0]["divergence"] == pytest.approx(soft / 4, rel=1e-4)
    assert history[0]["cross_entropy"] == 0


def test_micro_batches_change_neither_loss_nor_gradient_nor_what_is_learnt(tmp_path):
    runs = [trained(tmp_path / str(n), global_batch_size=8, micro_batch=n, epochs=1.0) for n in (8, 2)]
    for one, other in zip(runs[0][1], runs[1][1], strict=True):
        assert one == pytest.approx(other, rel=2e-3, abs=1e-5)
    assert runs[0][1][0] == pytest.approx(runs[1][1][0], rel=2e-5, abs=1e-6)
    for name, weight in learnt(runs[0][0]).items():
        torch.testing.assert_close(learnt(runs[1][0])[name], weight, atol=2e-4, rtol=0)


def test_the_last_incomplete_batch_is_a_mean_over_its_own_clips(tmp_path):
    given = {"global_batch_size": 8, "epochs": 1.0, "learning_rate": 1e-12}
    _, history = trained(tmp_path / "8", micro_batch=8, **given)
    assert [row["step"] for row in history] == [1, 2]  # 12 clips: 8 and 4
    _, fours = trained(tmp_path / "4", **{**given, "global_batch_size": 4}, micro_batch=4)
    assert history[0]["loss"] == pytest.approx((fours[0]["loss"] + fours[1]["loss"]) / 2, rel=1e-4)
    assert history[1]["loss"] == pytest.approx(fours[2]["loss"], rel=1e-4)


@pytest.mark.parametrize("family", ["qwen2_audio", "qwen2_vl"])
def test_only_the_adapter_learns_and_it_learns_its_lessons(family, tmp_path):
    easy = replace(lessons(), letters=np.zeros(CLIPS, dtype=np.int64), soft=np.zeros(CLIPS, dtype=bool))
    before = dict(fresh(family).model.named_parameters())
    student, history = trained(tmp_path, family, easy, epochs=6.0, learning_rate=3e-3)
    assert np.mean([r["loss"] for r in history[-3:]]) < 0.5 * np.mean([r["loss"] for r in history[:3]])
    after = dict(student.model.get_base_model().named_parameters())
    frozen = {name.replace(".base_layer", ""): weight for name, weight in after.items() if "lora_" not in name}
    assert frozen.keys() == before.keys()
    assert all(torch.equal(frozen[name], weight) for name, weight in before.items())
    assert all(weight.abs().sum() > 0 for name, weight in after.items() if "lora_B" in name)
    assert not student.model.training


def test_the_history_has_the_schedules_rate_and_what_is_told(tmp_path):
    told = []
    clips, _, store = study(CLIPS)
    given = training(global_batch_size=4, micro_batch=2, epochs=1.0)
    history = trainer.train(
        student_of("qwen2_audio"),
        lessons(),
        clips,
        store,
        given,
        checkpoint_dir=tmp_path,
        log_metric=lambda *row: told.append(row),
    )
    assert [row["step"] for row in history] == [1, 2, 3]
    assert [row["learning_rate"] for row in history] == [trainer.compute_learning_rate(s, 3, given) for s in range(3)]
    assert told == [(n, r[n], r["step"]) for r in history for n in ("loss", "learning_rate", "gradient_norm")]
    assert not list(tmp_path.iterdir())  # too quick for a checkpoint


@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["no dropout", "dropout"])
def test_killed_twice_it_ends_with_the_same_history_and_the_same_adapter_bytes(tmp_path, dropout):
    whole, expected = trained(tmp_path / "whole", dropout=dropout)
    partial = tmp_path / "killed"
    for stop in (3, 5):
        with pytest.raises(Killed):
            trained(partial, stop_after=stop, seconds=-1.0, dropout=dropout)
        assert [f.name for f in partial.iterdir()] == ["checkpoint.safetensors"]
    again, history = trained(partial, seconds=-1.0, dropout=dropout)
    assert history == expected
    for name, student in (("whole", whole), ("again", again)):
        adapters.save(student, tmp_path / name, "base")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_resumed_run_does_not_repeat_finished_steps(tmp_path, monkeypatch):
    with pytest.raises(Killed):
        trained(tmp_path, stop_after=5, seconds=-1.0)
    called = []
    answer = trainer.LanguageModel.answer_logits
    monkeypatch.setattr(
        trainer.LanguageModel, "answer_logits", lambda model, batch: called.append(1) or answer(model, batch)
    )
    _, history = trained(tmp_path, seconds=-1.0)
    assert len(history) == 6
    assert len(called) == 2  # four of six steps were kept: the fifth's checkpoint came too late


def test_a_kill_while_a_checkpoint_is_written_leaves_the_last_one(tmp_path, monkeypatch):
    whole, expected = trained(tmp_path / "whole")
    partial, save_file, count = tmp_path / "killed", checkpoint.save_file, []

    def half(tensors, file):
        count.append(1)
        save_file(tensors, file)
        if len(count) == 3:
            file.write_bytes(file.read_bytes()[:1000])
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoint, "save_file", half)
        trained(partial, seconds=-1.0)
    again, history = trained(partial)
    assert history == expected
    assert all(torch.equal(weight, learnt(again)[name]) for name, weight in learnt(whole).items())
