"""Trial plan: exact counts, no clip twice per slot, balance within and across slots, or a clear refusal."""

from collections import Counter
from math import ceil, floor

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from synesthesia.human_study.design import plan
from synesthesia.schemas import CONDITIONS


def make_clips(n_labels, n_clips):
    return {f"label {n}": [f"{n}-{k}" for k in range(n_clips)] for n in range(n_labels)}


def group_by_slot(trials):
    slots = {}
    for trial in trials:
        slots.setdefault(trial.slot, []).append(trial)
    return slots


SHAPES = st.tuples(st.integers(3, 31), st.integers(2, 12), st.integers(1, 2), st.integers(1, 9))


@settings(max_examples=20)
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_every_plan_is_balanced(shape, seed):
    n_labels, n_clips, responses_per_clip, block_size = shape
    n_trials = 3 * block_size
    assume(n_clips >= 2 * ceil(n_trials / n_labels))  # far from plans that barely exist
    planned = plan.make_plan(
        make_clips(n_labels, n_clips), responses_per_clip=responses_per_clip, trials_per_participant=n_trials, seed=seed
    )
    responses = Counter((t.clip_id, t.condition) for t in planned)
    assert set(responses.values()) == {responses_per_clip}
    assert len(responses) == 3 * n_labels * n_clips
    sizes = set()
    for trials in group_by_slot(planned).values():
        clip_ids = [t.clip_id for t in trials]
        assert len(set(clip_ids)) == len(clip_ids) <= n_trials
        assert [t.position for t in trials] == list(range(len(trials)))
        assert [t.block for t in trials] == sorted(t.block for t in trials)
        conditions = Counter(t.condition for t in trials)
        assert set(conditions.values()) == {len(trials) // 3}
        for block in range(3):
            block_trials = [t for t in trials if t.block == block]
            assert len({t.condition for t in block_trials}) == 1
            counts = Counter(t.label for t in block_trials)
            mean = len(block_trials) / n_labels
            assert all(floor(mean) <= counts[f"label {n}"] <= ceil(mean) for n in range(n_labels))
        counts = Counter(t.label for t in trials)
        per_label = [counts[f"label {n}"] for n in range(n_labels)]
        assert max(per_label) - min(per_label) <= 2
        sizes.add(len(trials))
    assert max(sizes) - min(sizes) <= 3


def test_the_papers_plan_is_balanced_to_the_trial():
    """100 participants, 30 labels of 50 clips, 45 trials each: 4,500."""
    planned = plan.make_plan(make_clips(30, 50), responses_per_clip=1, trials_per_participant=45, seed=0)
    slots = group_by_slot(planned)
    assert (len(planned), len(slots)) == (4500, 100)
    for trials in slots.values():
        assert Counter(t.condition for t in trials) == dict.fromkeys(CONDITIONS, 15)
        assert set(Counter(t.label for t in trials).values()) == {1, 2}
    first_conditions = Counter(trials[0].condition for trials in slots.values())
    assert max(first_conditions.values()) - min(first_conditions.values()) <= 2
    orders = Counter(tuple(dict.fromkeys(t.condition for t in trials)) for trials in slots.values())
    assert len(orders) == 6 and max(orders.values()) - min(orders.values()) <= 1
    label_sets = Counter(frozenset(t.label for t in trials if t.block == 0) for trials in slots.values())
    assert max(label_sets.values()) <= 3  # labels do not always share a block with the same others


def test_the_seed_determines_the_plan():
    plans = [
        plan.make_plan(make_clips(10, 6), responses_per_clip=1, trials_per_participant=9, seed=seed)
        for seed in (4, 4, 5)
    ]
    assert plans[0] == plans[1] != plans[2]


@pytest.mark.parametrize(
    ("n_labels", "n_clips", "n_trials", "message"),
    [
        (3, 2, 45, "up to 15 times, but a label has only 2 clips"),
        (1, 2, 9, "lower human_study.trials_per_participant"),
        (0, 0, 9, "no label"),
        (4, 4, 10, "multiple of 3"),
    ],
)
def test_a_plan_that_cannot_be_balanced_is_refused_with_the_reason(n_labels, n_clips, n_trials, message):
    with pytest.raises(plan.PlanError, match=message):
        plan.make_plan(make_clips(n_labels, n_clips), responses_per_clip=1, trials_per_participant=n_trials, seed=0)


def test_labels_with_unequal_numbers_of_clips_are_refused_by_name():
    with pytest.raises(plan.PlanError, match="label 'b' has 1 clips, label 'a' 2"):
        plan.make_plan({"a": ["1", "2"], "b": ["3"]}, responses_per_clip=1, trials_per_participant=3, seed=0)
