"""Targets and parts of the switch's clips, and scores of its predictions. Needs no torch."""

import numpy as np
import pytest

from synesthesia.distillation.switch_data import (
    assign_targets,
    compute_scores,
    make_prediction_table,
    summarize_predictions,
)


def make_clips(analysis_clips_per_label):
    """Make per label the analysis clips, three finetune clips, and one test clip; and one AudioSet clip."""
    clips = []
    for label, num_analysis in analysis_clips_per_label.items():
        for split, count in (("analysis", num_analysis), ("finetune", 3), ("test", 1)):
            for i in range(count):
                clip = {"clip_id": f"{label}-{split}{i:02d}_000000", "video_id": f"{label}-{split}{i:02d}"}
                clips.append(clip | {"dataset": "vggsound", "labels": [label], "split": split, "shard": 0, "row": 0})
    unseen = {"clip_id": "x_000000", "video_id": "x", "dataset": "audioset", "labels": ["cat", "y"], "split": "unseen"}
    return [*clips, unseen | {"shard": 0, "row": 0}]


def assign_parts(analysis_clips_per_label, *, validation_clips_per_label=2, seed=0):
    """Return the part of each clip by clip id."""
    visual_better = {label: label < "d" for label, count in analysis_clips_per_label.items() if count}
    rows = assign_targets(
        make_clips(analysis_clips_per_label),
        visual_better,
        validation_clips_per_label=validation_clips_per_label,
        seed=seed,
    )
    assert all(row["target"] == (row["label"] < "d") for row in rows)
    return {row["clip_id"]: row["part"] for row in rows}


def test_validation_clips_per_label_leave_at_least_one_for_training():
    part_by_clip = assign_parts({"cat": 9, "dog": 2, "eel": 1}, validation_clips_per_label=2)
    num_validation = [
        sum(part == "validation" and clip_id.startswith(label) for clip_id, part in part_by_clip.items())
        for label in ("cat", "dog", "eel")
    ]
    assert num_validation == [2, 1, 0]
    assert {c for c, p in part_by_clip.items() if p == "finetune"} == {f"{x}-finetune{i:02d}_000000" for x in
                                                                 ("cat", "dog", "eel") for i in range(3)}  # fmt: skip
    assert not [c for c in part_by_clip if "test" in c or c.startswith("x_")]


def test_clips_of_a_label_without_analysis_clips_are_dropped():
    assert not [clip_id for clip_id in assign_parts({"cat": 4, "owl": 0}) if clip_id.startswith("owl")]


def test_parts_depend_only_on_the_seed():
    counts = {"cat": 9, "dog": 9}
    assert assign_parts(counts) == assign_parts(counts)
    assert assign_parts(counts, seed=0) != assign_parts(counts, seed=1)


def test_removed_validation_clips_are_replaced_by_training_clips_only():
    before = assign_parts({"cat": 9, "dog": 9}, validation_clips_per_label=3)
    after = assign_parts({"cat": 7, "dog": 9}, validation_clips_per_label=3)  # the last two cat clips are removed
    assert {c: p for c, p in before.items() if not c.startswith("cat")} == {
        c: p for c, p in after.items() if not c.startswith("cat")
    }
    num_removed = sum(part == "validation" for clip_id, part in before.items() if clip_id not in after)
    changed = {clip_id for clip_id in after if before[clip_id] != after[clip_id]}
    assert len(changed) == num_removed
    assert all((before[c], after[c]) == ("train", "validation") for c in changed)


def test_scores_match_manually_computed_values():
    predicted, targets = np.array([1, 1, 0, 0, 1], bool), np.array([1, 1, 1, 0, 0], bool)
    scores = compute_scores(predicted, targets)
    expected = {"accuracy": 3 / 5, "balanced_accuracy": (2 / 3 + 1 / 2) / 2}
    assert scores == pytest.approx(expected | {"always_visual_accuracy": 3 / 5, "teacher_fraction": 3 / 5})
    assert compute_scores(np.ones(5, bool), targets)["balanced_accuracy"] == 0.5
    assert compute_scores(predicted[:2], targets[:2])["balanced_accuracy"] == 1
    assert compute_scores(predicted[:0], targets[:0]) == {}


def test_metrics_exclude_training_clips():
    clips = make_clips({"cat": 2, "dog": 2})
    rows = assign_targets(clips, {"cat": True, "dog": False}, validation_clips_per_label=1, seed=0)
    probabilities = np.array([0.9 if row["part"] == "finetune" else 0.1 for row in rows], dtype=np.float32)
    metrics = summarize_predictions(rows, probabilities, threshold=0.5)
    assert {name.split("_", 1)[0] for name in metrics} == {"validation", "finetune"}
    assert (metrics["validation_teacher_fraction"], metrics["finetune_teacher_fraction"]) == (0, 1)
    table = make_prediction_table(rows, probabilities)
    assert table.column_names == ["clip_id", "split", "label", "part", "visual_better_probability", "target"]
    assert table["clip_id"].to_pylist() == [row["clip_id"] for row in rows]
