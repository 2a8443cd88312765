"""What each clip teaches in the settings of Table 2, on five clips worked out by hand. Needs no torch.

Clip    switch   teacher says       student says      truth
right   closed   B                  A                 B
wrong   closed   C                  B                 B
lost    closed   (unparseable)      A                 B
open    open     C                  A                 B
mute    open     C                  (unparseable)     B
"""

from pathlib import Path

import numpy as np
import pytest

from synesthesia import config, schemas
from synesthesia.distillation.targets import TargetError, make_targets

A, B, C, NONE = 0, 1, 2, -1
CLIPS = ("right", "wrong", "lost", "open", "mute")
TEACHER = {"right": B, "wrong": C, "lost": None, "open": C, "mute": C}
STUDENT = {"right": A, "wrong": B, "lost": A, "open": A, "mute": None}
CLOSED = {"right": True, "wrong": True, "lost": True, "open": False, "mute": False}


def questions(clips=CLIPS, answer=B):
    rows = [
        {"question_id": f"q-{c}", "clip_id": c, "split": "finetune", "options": ["cat", "dog", "owl"], "answer": answer}
        for c in clips
    ]
    return schemas.from_rows(rows, schemas.QUESTION, "questions")


def logits(clip):
    return [1.5, -0.5, 0.25 * CLIPS.index(clip)]


def answers(choices, with_logits=True):
    rows = [
        {
            "question_id": f"q-{clip}",
            "respondent": "x",
            "condition": "audio",
            "choice": choice,
            "letter_logits": logits(clip) if with_logits else None,
        }
        for clip, choice in choices.items()
    ]
    return schemas.from_rows(rows, schemas.ANSWER, "answers")


def setting(labels="teacher", kl=False, anti_forgetting=True):
    values = {"title": "This setting", "teacher": "eyes", "student": "ears"}
    return config.DistillSetting(**values, labels=labels, kl=kl, anti_forgetting=anti_forgetting)


def made(asked=None, closed=CLOSED, teacher=TEACHER, own=STUDENT, **kinds):
    asked = questions() if asked is None else asked
    return make_targets(asked, setting(**kinds), closed, answers(teacher), answers(own))


def taught(found):
    """clip -> (letter, whether the teacher's logits are matched)."""
    clips = found.questions["clip_id"].to_pylist()
    return dict(zip(clips, zip(found.letters.tolist(), found.soft.tolist(), strict=True), strict=True))


@pytest.mark.parametrize(
    "kinds, expected",
    [
        ({}, {"right": (B, False), "wrong": (C, False), "lost": (A, False), "open": (A, False)}),
        (
            {"labels": "none", "kl": True},
            {"right": (NONE, True), "wrong": (NONE, True), "lost": (A, False), "open": (A, False)},
        ),
        ({"kl": True}, {"right": (B, True), "wrong": (C, True), "lost": (A, False), "open": (A, False)}),
        ({"labels": "ground_truth", "anti_forgetting": False}, dict.fromkeys(CLIPS, (B, False))),
        ({"anti_forgetting": False}, {"right": (B, False), "wrong": (C, False)}),
    ],
    ids=["labels", "kl", "kl and labels", "ground truth", "without anti-forgetting"],
)
def test_each_setting_of_table_2_teaches(kinds, expected):
    assert taught(made(**kinds)) == expected


def test_the_five_settings_of_the_parameters_are_these():
    given = config.load(Path(__file__).parents[3] / "params/embedded.yaml").distill.settings.values()
    kinds = {(s.labels, s.kl, s.anti_forgetting) for s in given if s.teacher == "qwen2-vl"}
    assert kinds == {("teacher", False, True), ("none", True, True), ("teacher", True, True),
                     ("ground_truth", False, False), ("teacher", False, False)}  # fmt: skip


def test_logits_stand_where_they_are_matched_minus_infinity_beyond_the_options_and_zero_elsewhere():
    found = made(kl=True)
    assert found.teacher_logits.dtype == np.float32
    for row, clip in zip(found.teacher_logits, found.questions["clip_id"].to_pylist(), strict=True):
        expected = [*logits(clip), *[-np.inf] * 7] if clip in ("right", "wrong") else [0] * 10
        assert row.tolist() == expected


def with_tokens(ids_of):
    """The teacher's answers with the logits of some tokens, by clip."""
    rows = answers(TEACHER).to_pylist()
    for row in rows:
        ids = ids_of[row["question_id"].removeprefix("q-")]
        row |= {"token_ids": ids, "token_logits": [t / 8 for t in ids]}
    return schemas.from_rows(rows, schemas.ANSWER, "answers")


def test_over_the_likeliest_tokens_those_that_both_vocabularies_have_are_matched():
    teacher = with_tokens({"right": [7, 5, 900], "wrong": [2, 7, 5], "lost": [1], "open": [1], "mute": [1]})
    found = make_targets(questions(), setting(kl=True), CLOSED, teacher, answers(STUDENT), {2, 5, 7})
    clips = found.questions["clip_id"].to_pylist()
    by_clip = {
        c: (t.tolist(), v.tolist()) for c, t, v in zip(clips, found.token_ids, found.teacher_logits, strict=True)
    }
    assert by_clip == {
        "right": ([7, 5, 0], [7 / 8, 5 / 8, -np.inf]),
        "wrong": ([2, 7, 5], [2 / 8, 7 / 8, 5 / 8]),
        "lost": ([0, 0, 0], [0, 0, 0]),
        "open": ([0, 0, 0], [0, 0, 0]),
    }
    assert taught(found) == {"right": (B, True), "wrong": (C, True), "lost": (A, False), "open": (A, False)}


def test_over_the_likeliest_tokens_answers_without_them_and_vocabularies_apart_are_refused():
    with pytest.raises(TargetError, match=r"eyes gave no logits of its likeliest tokens for q-right"):
        make_targets(questions(), setting(kl=True), CLOSED, answers(TEACHER), answers(STUDENT), {1, 2})
    teacher = with_tokens({key: [7, 900] for key in CLIPS})
    with pytest.raises(TargetError, match=r"the student's vocabulary has 1 under the same id: too few"):
        make_targets(questions(), setting(kl=True), CLOSED, teacher, answers(STUDENT), {7, 8})


def test_the_closed_share_counts_all_clips_also_those_that_teach_nothing():
    assert made().teacher_fraction == made(anti_forgetting=False).teacher_fraction == 3 / 5


def test_kl_needs_logits_only_of_the_clips_where_the_switch_is_closed():
    kinds = {"labels": "none", "kl": True}
    with pytest.raises(TargetError, match="eyes gave no letter logits for q-right; kl needs them"):
        make_targets(questions(), setting(**kinds), CLOSED, answers(TEACHER, with_logits=False), answers(STUDENT))
    shut_on_the_lost = {c: c == "lost" for c in CLIPS}
    found = make_targets(
        questions(), setting(**kinds), shut_on_the_lost, answers(TEACHER, with_logits=False), answers(STUDENT, False)
    )
    assert taught(found) == {"right": (A, False), "wrong": (B, False), "lost": (A, False), "open": (A, False)}


def test_answers_in_another_order_and_of_other_questions_change_nothing():
    turned = dict(reversed(TEACHER.items()))
    found = made(asked=questions(["open", "right"]), teacher=turned)
    assert list(taught(found)) == ["open", "right"]
    assert taught(found) == {"open": (A, False), "right": (B, False)}


def test_a_clip_without_a_route_is_named():
    with pytest.raises(TargetError, match=r"clip open has no route: run `dvc repro route`"):
        made(closed={c: True for c in CLIPS if c != "open"})


@pytest.mark.parametrize("who", ["teacher", "own"])
def test_missing_answers_are_counted_and_the_first_is_named(who):
    some = {c: A for c in CLIPS if c not in ("wrong", "mute")}
    name = {"teacher": "teacher", "own": "student"}[who]
    with pytest.raises(TargetError, match=f"the {name} has not answered 2 finetune questions, q-wrong first"):
        made(**{who: some})


@pytest.mark.parametrize("asked", [questions(), questions([])])
def test_nothing_taught_says_why(asked):
    with pytest.raises(TargetError, match=r"This setting: no clip teaches anything \(switch closed on 0 of"):
        made(asked=asked, closed=dict.fromkeys(CLIPS, False), anti_forgetting=False)
