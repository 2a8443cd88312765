"""Answers to a split: their order and content, how they are read, and what a kill costs (nothing)."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from synesthesia import schemas
from synesthesia.data.store import Store
from synesthesia.evaluation import local, resume
from synesthesia.questions.prompt import format_prompt
from tests.helpers.tiny_checkpoints import ROOT, checkpoint, fresh, loaded, study

pytestmark = pytest.mark.torch
CLIPS, BATCH = 12, 2


class Killed(Exception):
    """In the place of a kill."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder; a part is two batches of two questions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "BATCHES_PER_PART", 2)
    return tmp_path


def answered(key, model=None, asked=None, read="letter_logits", batch=BATCH, respondent="tiny", **more):
    clips, questions, store = study(CLIPS)
    model, asked = model or loaded("qwen2_vl"), questions if asked is None else asked
    return local.answer_questions(
        model, asked, clips, store, respondent=respondent, answer_mode=read, batch_size=batch, cache_key=key, **more
    )


def written(answers):
    """The bytes of the table on disk."""
    schemas.write(answers, "answers.parquet", schemas.ANSWER)
    return Path("answers.parquet").read_bytes()


def parts(key):
    return sorted(f.name for f in (local.CACHE_DIR / "answers" / key).iterdir())


def test_the_likeliest_tokens_of_the_vocabulary_are_kept_where_asked_and_the_letters_stay_the_same():
    model = loaded("qwen2_audio")
    plain, wide = answered("without", model), answered("with", model, likeliest_tokens=7)
    assert plain["token_ids"].null_count == plain.num_rows
    assert wide.drop_columns(["token_ids", "token_logits"]).equals(plain.drop_columns(["token_ids", "token_logits"]))
    for said, ids, logits in zip(*(wide[c].to_pylist() for c in ("text", "token_ids", "token_logits")), strict=True):
        assert len(set(ids)) == 7
        assert logits == sorted(logits, reverse=True)
        assert model.tokenizer.decode(ids[:1]) == said


def test_answers_stand_in_the_questions_order_with_a_logit_an_option():
    asked = study(CLIPS)[1].take([7, 0, 11, 3, 4])
    found = answered("a", asked=asked).to_pylist()
    assert [a["question_id"] for a in found] == asked["question_id"].to_pylist()
    assert [len(a["letter_logits"]) for a in found] == [len(o) for o in asked["options"].to_pylist()]
    assert [a["choice"] for a in found] == [int(np.argmax(a["letter_logits"])) for a in found]
    assert {(a["respondent"], a["condition"], a["seconds"]) for a in found} == {("tiny", "silent_video", None)}


@torch.inference_mode()
def test_each_answer_is_to_its_own_clip_and_question():
    clips, asked, folder = study(CLIPS)
    model, store = loaded("qwen2_vl"), Store(folder)
    places = local.locate_clips(clips, asked["clip_id"].to_pylist())
    found = answered("a").to_pylist()
    for row, (shard, at), question in zip(found, places, asked.to_pylist(), strict=True):
        assert store.clip_id(shard, at) == question["clip_id"]
        percept = local.load_clip_inputs(store, shard, at, model.condition)
        logits = model.answer_logits(model.collate([percept], [format_prompt(question["options"])]))
        alone = model.letter_logits(logits, len(question["options"]))[0].tolist()
        assert row["letter_logits"] == pytest.approx(alone, abs=1e-4)
        assert row["text"] == model.greedy_token(logits)[0]


@pytest.mark.parametrize("condition", schemas.CONDITIONS)
def test_a_respondent_perceives_its_condition_and_nothing_else(condition):
    folder = study(CLIPS)[2]
    percept = local.load_clip_inputs(Store(folder), 0, 0, condition)
    assert (percept.audio is None) == (condition == "silent_video")
    assert (percept.frames is None) == (condition == "audio")


def test_the_batch_and_the_respondents_name_change_no_logit():
    one, other = answered("a"), answered("b", batch=5, respondent="somebody else")
    assert one["choice"].equals(other["choice"])
    pairs = zip(one["letter_logits"].to_pylist(), other["letter_logits"].to_pylist(), strict=True)
    assert all(a == pytest.approx(b, abs=1e-4) for a, b in pairs)
    assert set(other["respondent"].to_pylist()) == {"somebody else"}


def test_no_questions_no_answers():
    found = answered("none", asked=study(CLIPS)[1].slice(0, 0))
    assert found.num_rows == 0
    assert found.schema == schemas.ANSWER


def saying(texts):
    """A model that says these texts, in the order in which it is asked; see `unsorted`."""
    model, left = fresh("qwen2_vl"), iter(texts)
    model.greedy_token = lambda logits: [next(left) for _ in logits]
    return model


@pytest.fixture
def unsorted(monkeypatch):
    """Questions are asked as they stand, not by their length."""
    monkeypatch.setattr(local.QuestionDataset, "_length", lambda *_: 0)


def test_read_as_text_what_is_no_letter_is_null_and_never_a_guess(unsorted):
    texts = ["A", " B", "c", "J", "cat purring", "owl", "", "the", "B.", "Z", "<|im_end|>", "1"]
    found = answered("t", model=saying(texts), read="text")
    options = study(CLIPS)[1]["options"].to_pylist()
    expected = [0, 1, 2, None, 0, None, None, None, 1, None, None, None]  # the fourth question has six options
    assert len(options[3]) == 6
    assert found["choice"].to_pylist() == expected
    assert found["text"].to_pylist() == texts
    assert found["letter_logits"].null_count == 0


def test_read_by_letter_logits_the_same_answers_have_a_choice():
    found = answered("t", model=saying(["nonsense"] * CLIPS))
    assert found["choice"].null_count == 0
    assert set(found["text"].to_pylist()) == {"nonsense"}


def test_unparseable_answers_are_counted_and_wrong(folder, unsorted):
    from synesthesia.pipeline import accuracy_record

    asked = study(CLIPS)[1]
    schemas.write(asked, accuracy_record.QUESTIONS_FILE, schemas.QUESTION)
    texts = [schemas.LETTERS[a] for a in asked["target"].to_pylist()]
    texts[:3] = ["the", "", "Z"]
    schemas.write(answered("t", model=saying(texts), read="text"), folder / "finetune.parquet", schemas.ANSWER)
    metrics = accuracy_record.build_accuracy_record("answer", "tiny", [folder / "finetune.parquet"], {}).metrics
    assert metrics == {"accuracy.finetune": 9 / 12, "unparseable.finetune": 3}


@pytest.mark.parametrize("done", [0, 1, 3, 5])
def test_killed_after_some_batches_it_ends_with_the_same_bytes(done, monkeypatch):
    expected = written(answered("whole"))
    left, read = [True] * done, local._answer_batch

    def dies(*arguments):
        if not left:
            raise Killed
        left.pop()
        return read(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(local, "_read", dies)
        answered("killed")
    assert parts("killed") == [f"part-{i:05d}.parquet" for i in range(done // 2)]
    asked_again = []
    monkeypatch.setattr(local, "_read", lambda *a: asked_again.append(1) or read(*a))
    assert written(answered("killed")) == expected
    assert len(asked_again) == CLIPS // BATCH - done // 2 * 2, "finished parts are not asked again"


def test_a_part_lost_in_the_middle_is_asked_again():
    expected = written(answered("a"))
    (local.CACHE_DIR / "answers/a/part-00001.parquet").unlink()
    assert written(answered("a")) == expected


def work(key, delay):
    """In a process of its own: answer slowly, one thread, until somebody kills it."""
    torch.set_num_threads(1)
    read = local._answer_batch
    local._answer_batch = lambda *a: time.sleep(delay) or read(*a)
    written(answered(key, batch=1))


@pytest.mark.slow
def test_a_process_killed_at_random_moments_ends_with_the_same_bytes():
    expected = written(answered("whole", batch=1))
    Path("answers.parquet").unlink()
    moment = random.Random(os.getpid())
    for _ in range(4):  # 2.2 seconds at most, of the 2.4 at least that all twelve take
        process = multiprocessing.get_context("fork").Process(target=work, args=("killed", 0.2))
        process.start()
        process.join(moment.uniform(0.1, 0.55))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert written(answered("killed", batch=1)) == expected


def test_a_fingerprint_follows_content_and_not_place(folder):
    weights = shutil.copytree(checkpoint("qwen2_vl"), folder / "weights")
    here = resume.fingerprint(["q1"], "tiny", weights)
    assert here == resume.fingerprint(["q1"], "tiny", Path(checkpoint("qwen2_vl")))
    assert len(here) == 20
    others = {
        here,
        resume.fingerprint(["q2"], "tiny", weights),
        resume.fingerprint(["q1"], "other", weights),
        resume.fingerprint(["q1"], "tiny", weights, 1),
        resume.fingerprint(["q1"], "tiny", weights / "model.safetensors"),
    }
    data = bytearray((weights / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (weights / "model.safetensors").write_bytes(data)
    others.add(resume.fingerprint(["q1"], "tiny", weights))
    (weights / "config.json").rename(weights / "configuration.json")
    others.add(resume.fingerprint(["q1"], "tiny", weights))
    assert len(others) == 7


def test_answers_are_taken_from_another_key_by_nobody():
    first = answered("a")
    other = fresh("qwen2_vl")
    with torch.no_grad():
        other.model.lm_head.weight.mul_(2)
    assert not answered("b", model=other)["letter_logits"].equals(first["letter_logits"])


def test_a_finished_stage_keeps_no_parts_and_asks_anew_when_forced(folder):
    """Parts that outlive their stage would be read again after a change of code, wording or precision."""
    from synesthesia import config
    from synesthesia.pipeline import evaluate as stage

    clips, asked, store = study(CLIPS)
    shutil.copytree(store, stage.STORE_DIR)
    schemas.write(clips, "out/curate/clips.parquet", schemas.CLIP)
    schemas.write(asked, "out/make_questions/questions.parquet", schemas.QUESTION)
    given = config.load(ROOT / "params/embedded.yaml")
    changed = fresh("qwen2_vl")
    with torch.no_grad():
        changed.model.lm_head.weight.mul_(2)
    written_by = []
    for model in (loaded("qwen2_vl"), changed):
        stage.evaluate_splits(given, model, "qwen2-vl", ["finetune"], folder / "answers", checkpoint("qwen2_vl"), BATCH)
        written_by.append((folder / "answers/finetune.parquet").read_bytes())
    assert not list(local.CACHE_DIR.rglob("*.parquet"))
    assert written_by[0] != written_by[1]
