"""Training targets in the settings of Table 2, on five example clips. Needs no torch.

Clip            switch   teacher         student         correct
teacher-right   closed   B               A               B
teacher-wrong   closed   C               B               B
teacher-none    closed   (unparseable)   A               B
open            open     C               A               B
student-none    open     C               (unparseable)   B
"""

from pathlib import Path

import numpy as np
import pytest

from synesthesia import config, schemas
from synesthesia.distillation.targets import TargetError, make_targets

A, B, C, NONE = 0, 1, 2, -1
CLIPS = ("teacher-right", "teacher-wrong", "teacher-none", "open", "student-none")
TEACHER = dict(zip(CLIPS, (B, C, None, C, C), strict=True))
STUDENT = dict(zip(CLIPS, (A, B, A, A, None), strict=True))
CLOSED = dict(zip(CLIPS, (True, True, True, False, False), strict=True))


def make_questions(clips=CLIPS, target=B):
    rows = [
        {"question_id": f"q-{c}", "clip_id": c, "split": "finetune", "options": ["cat", "dog", "owl"], "target": target}
        for c in clips
    ]
    return schemas.from_rows(rows, schemas.QUESTION, "questions")


def letter_logits(clip):
    return [1.5, -0.5, 0.25 * CLIPS.index(clip)]


def make_answers(choices, with_logits=True):
    rows = [
        {
            "question_id": f"q-{clip}",
            "respondent": "x",
            "condition": "audio",
            "choice": choice,
            "letter_logits": letter_logits(clip) if with_logits else None,
        }
        for clip, choice in choices.items()
    ]
    return schemas.from_rows(rows, schemas.ANSWER, "answers")


def make_setting(labels="teacher", kl=False, anti_forgetting=True):
    values = {"title": "This setting", "teacher": "visual-model", "student": "audio-model"}
    return config.DistillSetting(**values, labels=labels, kl=kl, anti_forgetting=anti_forgetting)


def compute_targets(questions=None, closed=CLOSED, teacher=TEACHER, student=STUDENT, **options):
    questions = make_questions() if questions is None else questions
    return make_targets(questions, make_setting(**options), closed, make_answers(teacher), make_answers(student))


def labels_and_kl_mask(targets):
    """Return label and KL mask of each clip by clip id."""
    clips = targets.questions["clip_id"].to_pylist()
    return dict(zip(clips, zip(targets.labels.tolist(), targets.kl_mask.tolist(), strict=True), strict=True))


OWN_ANSWERS = {"teacher-none": (A, False), "open": (A, False)}


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, {"teacher-right": (B, False), "teacher-wrong": (C, False), **OWN_ANSWERS}),
        (
            {"labels": "none", "kl": True},
            {"teacher-right": (NONE, True), "teacher-wrong": (NONE, True), **OWN_ANSWERS},
        ),
        ({"kl": True}, {"teacher-right": (B, True), "teacher-wrong": (C, True), **OWN_ANSWERS}),
        ({"labels": "ground_truth", "anti_forgetting": False}, dict.fromkeys(CLIPS, (B, False))),
        ({"anti_forgetting": False}, {"teacher-right": (B, False), "teacher-wrong": (C, False)}),
    ],
    ids=["labels", "kl", "kl and labels", "ground truth", "without anti-forgetting"],
)
def test_targets_of_each_setting(options, expected):
    assert labels_and_kl_mask(compute_targets(**options)) == expected


def test_embedded_preset_has_five_settings():
    settings = config.load(Path(__file__).parents[3] / "params/embedded.yaml").distill.settings.values()
    options = {(s.labels, s.kl, s.anti_forgetting) for s in settings if s.teacher == "qwen2-vl"}
    assert options == {("teacher", False, True), ("none", True, True), ("teacher", True, True),
                       ("ground_truth", False, False), ("teacher", False, False)}  # fmt: skip


def test_teacher_logits_are_minus_infinity_beyond_the_options_and_zero_outside_the_kl_mask():
    targets = compute_targets(kl=True)
    assert targets.teacher_logits.dtype == np.float32
    for row, clip in zip(targets.teacher_logits, targets.questions["clip_id"].to_pylist(), strict=True):
        has_kl = clip in ("teacher-right", "teacher-wrong")
        expected = [*letter_logits(clip), *[-np.inf] * 7] if has_kl else [0] * 10
        assert row.tolist() == expected


def make_answers_with_tokens(token_ids):
    """Make the teacher's answers with logits of the given tokens per clip."""
    rows = make_answers(TEACHER).to_pylist()
    for row in rows:
        ids = token_ids[row["question_id"].removeprefix("q-")]
        row |= {"token_ids": ids, "token_logits": [t / 8 for t in ids]}
    return schemas.from_rows(rows, schemas.ANSWER, "answers")


def test_only_top_k_tokens_in_both_vocabularies_are_targets():
    teacher = make_answers_with_tokens(dict(zip(CLIPS, ([7, 5, 900], [2, 7, 5], [1], [1], [1]), strict=True)))
    targets = make_targets(make_questions(), make_setting(kl=True), CLOSED, teacher, make_answers(STUDENT), {2, 5, 7})
    tokens = {
        clip: (ids.tolist(), logits.tolist())
        for clip, ids, logits in zip(
            targets.questions["clip_id"].to_pylist(), targets.token_ids, targets.teacher_logits, strict=True
        )
    }
    assert tokens == {
        "teacher-right": ([7, 5, 0], [7 / 8, 5 / 8, -np.inf]),
        "teacher-wrong": ([2, 7, 5], [2 / 8, 7 / 8, 5 / 8]),
        "teacher-none": ([0, 0, 0], [0, 0, 0]),
        "open": ([0, 0, 0], [0, 0, 0]),
    }
    assert labels_and_kl_mask(targets) == {"teacher-right": (B, True), "teacher-wrong": (C, True), **OWN_ANSWERS}


def test_missing_top_k_tokens_and_disjoint_vocabularies_are_rejected():
    questions, setting, student = make_questions(), make_setting(kl=True), make_answers(STUDENT)
    with pytest.raises(TargetError, match=r"visual-model gave no logits of its top-k tokens for q-teacher-right"):
        make_targets(questions, setting, CLOSED, make_answers(TEACHER), student, {1, 2})
    teacher = make_answers_with_tokens({clip: [7, 900] for clip in CLIPS})
    with pytest.raises(TargetError, match=r"the student's vocabulary has 1 under the same id: too few"):
        make_targets(questions, setting, CLOSED, teacher, student, {7, 8})


def test_teacher_fraction_includes_clips_without_target():
    assert compute_targets().teacher_fraction == compute_targets(anti_forgetting=False).teacher_fraction == 3 / 5


def test_kl_requires_logits_only_where_the_switch_is_closed():
    questions, setting = make_questions(), make_setting(labels="none", kl=True)
    teacher, student = make_answers(TEACHER, with_logits=False), make_answers(STUDENT, with_logits=False)
    with pytest.raises(TargetError, match="visual-model gave no letter logits for q-teacher-right; kl needs them"):
        make_targets(questions, setting, CLOSED, teacher, make_answers(STUDENT))
    closed_without_answer = {clip: clip == "teacher-none" for clip in CLIPS}
    targets = make_targets(questions, setting, closed_without_answer, teacher, student)
    assert labels_and_kl_mask(targets) == {"teacher-right": (A, False), "teacher-wrong": (B, False), **OWN_ANSWERS}


def test_targets_are_independent_of_answer_order_and_other_questions():
    reordered = dict(reversed(TEACHER.items()))
    targets = compute_targets(questions=make_questions(["open", "teacher-right"]), teacher=reordered)
    assert list(labels_and_kl_mask(targets)) == ["open", "teacher-right"]
    assert labels_and_kl_mask(targets) == {"open": (A, False), "teacher-right": (B, False)}


def test_clip_without_route_is_rejected():
    with pytest.raises(TargetError, match=r"clip open has no route: run `dvc repro route`"):
        compute_targets(closed={c: True for c in CLIPS if c != "open"})


@pytest.mark.parametrize("respondent", ["teacher", "student"])
def test_missing_answers_are_rejected(respondent):
    answers = {c: A for c in CLIPS if c not in ("teacher-wrong", "student-none")}
    message = f"the {respondent} has not answered 2 finetune questions, q-teacher-wrong first"
    with pytest.raises(TargetError, match=message):
        compute_targets(**{respondent: answers})


@pytest.mark.parametrize(
    "questions", [make_questions(), make_questions([])], ids=["switch open on all clips", "no questions"]
)
def test_setting_without_any_target_is_rejected(questions):
    with pytest.raises(TargetError, match=r"This setting: no clip has a target \(switch closed on 0 of"):
        compute_targets(questions=questions, closed=dict.fromkeys(CLIPS, False), anti_forgetting=False)
