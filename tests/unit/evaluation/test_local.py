"""Local evaluation: order and content of answers, both answer modes, and resuming after a kill."""

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
from synesthesia.data import clip_batches
from synesthesia.data.store import Store
from synesthesia.evaluation import local, resume
from synesthesia.questions.prompt import format_prompt
from tests.helpers.tiny_checkpoints import ROOT, checkpoint, fresh_model, model_entry, shared_model, small_store

pytestmark = pytest.mark.torch
CLIPS, BATCH = 12, 2


class KilledError(Exception):
    """Stands for a kill."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Change to an empty folder; a part is two batches of two questions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "BATCHES_PER_PART", 2)
    return tmp_path


def answer(key, model=None, questions=None, mode="letter_logits", batch_size=BATCH, respondent="tiny", **options):
    clips, all_questions, store = small_store(CLIPS)
    return local.answer_questions(
        model or shared_model("qwen2_vl"),
        all_questions if questions is None else questions,
        clips,
        store,
        respondent=respondent,
        answer_mode=mode,
        batch_size=batch_size,
        cache_key=key,
        **options,
    )


def file_bytes(answers):
    """Write a table; return the bytes of the file."""
    schemas.write(answers, "answers.parquet", schemas.ANSWER)
    return Path("answers.parquet").read_bytes()


def part_names(key):
    return sorted(f.name for f in (local.CACHE_DIR / "answers" / key).iterdir())


def test_top_k_logits_of_the_vocabulary_are_stored_on_request_and_change_no_letter_logit():
    model = shared_model("qwen2_audio")
    plain, wide = answer("without", model), answer("with", model, top_k_logits=7)
    assert plain["token_ids"].null_count == plain.num_rows
    assert wide.drop_columns(["token_ids", "token_logits"]).equals(plain.drop_columns(["token_ids", "token_logits"]))
    for text, ids, logits in zip(*(wide[c].to_pylist() for c in ("text", "token_ids", "token_logits")), strict=True):
        assert len(set(ids)) == 7
        assert logits == sorted(logits, reverse=True)
        assert model.tokenizer.decode(ids[:1]) == text


def test_answers_follow_the_order_of_the_questions_with_a_logit_per_option():
    questions = small_store(CLIPS)[1].take([7, 0, 11, 3, 4])
    answers = answer("a", questions=questions).to_pylist()
    assert [a["question_id"] for a in answers] == questions["question_id"].to_pylist()
    assert [len(a["letter_logits"]) for a in answers] == [len(o) for o in questions["options"].to_pylist()]
    assert [a["choice"] for a in answers] == [int(np.argmax(a["letter_logits"])) for a in answers]
    assert {(a["respondent"], a["condition"], a["seconds"]) for a in answers} == {("tiny", "silent_video", None)}


@torch.inference_mode()
def test_each_answer_belongs_to_its_clip_and_question():
    clips, questions, folder = small_store(CLIPS)
    model, store = shared_model("qwen2_vl"), Store(folder)
    locations = clip_batches.locate_clips(clips, questions["clip_id"].to_pylist())
    answers = answer("a").to_pylist()
    for row, (shard, row_in_shard), question in zip(answers, locations, questions.to_pylist(), strict=True):
        assert store.clip_id(shard, row_in_shard) == question["clip_id"]
        clip_inputs = clip_batches.load_clip_inputs(store, shard, row_in_shard, model.condition)
        logits = model.answer_logits(model.collate([clip_inputs], [format_prompt(question["options"])]))
        expected = model.letter_logits(logits, len(question["options"]))[0].tolist()
        assert row["letter_logits"] == pytest.approx(expected, abs=1e-4)
        assert row["text"] == model.greedy_token(logits)[0]


@pytest.mark.parametrize("condition", schemas.CONDITIONS)
def test_a_respondent_perceives_its_condition_and_nothing_else(condition):
    folder = small_store(CLIPS)[2]
    clip_inputs = clip_batches.load_clip_inputs(Store(folder), 0, 0, condition)
    assert (clip_inputs.audio is None) == (condition == "silent_video")
    assert (clip_inputs.frames is None) == (condition == "audio")


def test_batch_size_and_respondent_change_no_logit():
    one, other = answer("a"), answer("b", batch_size=5, respondent="somebody else")
    assert one["choice"].equals(other["choice"])
    pairs = zip(one["letter_logits"].to_pylist(), other["letter_logits"].to_pylist(), strict=True)
    assert all(a == pytest.approx(b, abs=1e-4) for a, b in pairs)
    assert set(other["respondent"].to_pylist()) == {"somebody else"}


def test_no_questions_give_no_answers():
    answers = answer("none", questions=small_store(CLIPS)[1].slice(0, 0))
    assert answers.num_rows == 0
    assert answers.schema == schemas.ANSWER


def model_with_replies(texts):
    """A model with these replies, in the order of the forward passes; see `unsorted`."""
    model, remaining = fresh_model("qwen2_vl"), iter(texts)
    model.greedy_token = lambda logits: [next(remaining) for _ in logits]
    return model


@pytest.fixture
def unsorted(monkeypatch):
    """Ask questions in their order, not sorted by length."""
    monkeypatch.setattr(clip_batches.QuestionDataset, "_sort_key", lambda *_: 0)


def test_in_text_mode_a_reply_without_a_letter_is_null_and_never_guessed(unsorted):
    texts = ["A", " B", "c", "J", "cat purring", "owl", "", "the", "B.", "Z", "<|im_end|>", "1"]
    answers = answer("t", model=model_with_replies(texts), mode="text")
    options = small_store(CLIPS)[1]["options"].to_pylist()
    expected = [0, 1, 2, None, 0, None, None, None, 1, None, None, None]  # the fourth question has six options
    assert len(options[3]) == 6
    assert answers["choice"].to_pylist() == expected
    assert answers["text"].to_pylist() == texts
    assert answers["letter_logits"].null_count == 0


def test_in_letter_logits_mode_every_answer_has_a_choice():
    answers = answer("t", model=model_with_replies(["nonsense"] * CLIPS))
    assert answers["choice"].null_count == 0
    assert set(answers["text"].to_pylist()) == {"nonsense"}


def test_unparseable_answers_are_counted_and_are_wrong(folder, unsorted):
    from synesthesia.pipeline import accuracy_record

    questions = small_store(CLIPS)[1]
    schemas.write(questions, accuracy_record.QUESTIONS_FILE, schemas.QUESTION)
    texts = [schemas.LETTERS[a] for a in questions["target"].to_pylist()]
    texts[:3] = ["the", "", "Z"]
    schemas.write(
        answer("t", model=model_with_replies(texts), mode="text"), folder / "finetune.parquet", schemas.ANSWER
    )
    metrics = accuracy_record.build_accuracy_record("answer", "tiny", [folder / "finetune.parquet"], {}).metrics
    assert metrics == {"accuracy.finetune": 9 / 12, "unparseable.finetune": 3}


@pytest.mark.parametrize("done", [0, 1, 3, 5])
def test_evaluation_killed_after_some_batches_resumes_to_the_same_bytes(done, monkeypatch):
    expected = file_bytes(answer("whole"))
    remaining, answer_batch = [True] * done, local._answer_batch

    def die_later(*args):
        if not remaining:
            raise KilledError
        remaining.pop()
        return answer_batch(*args)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(local, "_answer_batch", die_later)
        answer("killed")
    assert part_names("killed") == [f"part-{i:05d}.parquet" for i in range(done // 2)]
    calls = []
    monkeypatch.setattr(local, "_answer_batch", lambda *a: calls.append(1) or answer_batch(*a))
    assert file_bytes(answer("killed")) == expected
    assert len(calls) == CLIPS // BATCH - done // 2 * 2, "finished parts are not repeated"


def test_a_missing_part_in_the_middle_is_computed_again():
    expected = file_bytes(answer("a"))
    (local.CACHE_DIR / "answers/a/part-00001.parquet").unlink()
    assert file_bytes(answer("a")) == expected


def answer_slowly(key, delay):
    """Answer with one thread until the test kills this process."""
    torch.set_num_threads(1)
    answer_batch = local._answer_batch
    local._answer_batch = lambda *a: time.sleep(delay) or answer_batch(*a)
    file_bytes(answer(key, batch_size=1))


@pytest.mark.slow
def test_a_process_killed_at_random_moments_resumes_to_the_same_bytes():
    expected = file_bytes(answer("whole", batch_size=1))
    Path("answers.parquet").unlink()
    rng = random.Random(os.getpid())
    for _ in range(4):  # 2.2 seconds at most, of the 2.4 at least that all twelve take
        process = multiprocessing.get_context("fork").Process(target=answer_slowly, args=("killed", 0.2))
        process.start()
        process.join(rng.uniform(0.1, 0.55))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert file_bytes(answer("killed", batch_size=1)) == expected


def test_a_fingerprint_depends_on_content_and_not_on_location(folder):
    weights = shutil.copytree(checkpoint("qwen2_vl"), folder / "weights")
    original = resume.fingerprint(["q1"], "tiny", weights)
    assert original == resume.fingerprint(["q1"], "tiny", Path(checkpoint("qwen2_vl")))
    assert len(original) == 20
    fingerprints = {
        original,
        resume.fingerprint(["q2"], "tiny", weights),
        resume.fingerprint(["q1"], "other", weights),
        resume.fingerprint(["q1"], "tiny", weights, 1),
        resume.fingerprint(["q1"], "tiny", weights / "model.safetensors"),
    }
    data = bytearray((weights / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (weights / "model.safetensors").write_bytes(data)
    fingerprints.add(resume.fingerprint(["q1"], "tiny", weights))
    (weights / "config.json").rename(weights / "configuration.json")
    fingerprints.add(resume.fingerprint(["q1"], "tiny", weights))
    assert len(fingerprints) == 7


def test_answers_of_another_cache_key_are_not_reused():
    first = answer("a")
    other = fresh_model("qwen2_vl")
    with torch.no_grad():
        other.model.lm_head.weight.mul_(2)
    assert not answer("b", model=other)["letter_logits"].equals(first["letter_logits"])


def test_a_finished_stage_deletes_its_parts_and_a_forced_rerun_answers_again(folder):
    """Parts that outlive their stage would be reused after a change of code, prompt, or dtype."""
    from synesthesia import config
    from synesthesia.pipeline import evaluate as stage

    clips, questions, store = small_store(CLIPS)
    shutil.copytree(store, stage.STORE_DIR)
    schemas.write(clips, "out/curate/clips.parquet", schemas.CLIP)
    schemas.write(questions, "out/make_questions/questions.parquet", schemas.QUESTION)
    embedded = config.load(ROOT / "params/embedded.yaml")
    changed = fresh_model("qwen2_vl")
    with torch.no_grad():
        changed.model.lm_head.weight.mul_(2)
    outputs = []
    for model in (shared_model("qwen2_vl"), changed):
        entry = model_entry("qwen2_vl", batch_size=BATCH)
        stage.evaluate_splits(embedded, model, "qwen2-vl", ["finetune"], folder / "answers", entry)
        outputs.append((folder / "answers/finetune.parquet").read_bytes())
    assert not list(local.CACHE_DIR.rglob("*.parquet"))
    assert outputs[0] != outputs[1]
