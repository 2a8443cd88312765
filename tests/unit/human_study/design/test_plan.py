"""The plan: exact counts, nobody a clip twice, balance within and across participants; or a clear refusal."""

from collections import Counter
from math import ceil, floor

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from synesthesia.human_study.design import plan
from synesthesia.schemas import CONDITIONS


def clips(labels, each):
    return {f"label {n}": [f"{n}-{k}" for k in range(each)] for n in range(labels)}


def by_seat(trials):
    seats = {}
    for trial in trials:
        seats.setdefault(trial.seat, []).append(trial)
    return seats


SHAPES = st.tuples(st.integers(3, 31), st.integers(2, 12), st.integers(1, 2), st.integers(1, 9))


@settings(max_examples=20)
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_every_plan_keeps_all_of_its_promises(shape, seed):
    labels, each, judgements, block = shape
    trials = 3 * block
    assume(each >= 2 * ceil(trials / labels))  # well away from plans that nearly cannot be
    planned = plan.make_plan(
        clips(labels, each), responses_per_clip=judgements, trials_per_participant=trials, seed=seed
    )
    judged = Counter((t.clip_id, t.condition) for t in planned)
    assert set(judged.values()) == {judgements}
    assert len(judged) == 3 * labels * each
    sizes = set()
    for seat in by_seat(planned).values():
        met = [t.clip for t in seat]
        assert len(set(met)) == len(met) <= trials
        assert [t.place for t in seat] == list(range(len(seat)))
        assert [t.block for t in seat] == sorted(t.block for t in seat)
        conditions = Counter(t.condition for t in seat)
        assert set(conditions.values()) == {len(seat) // 3}
        for block_number in range(3):
            mine = [t for t in seat if t.block == block_number]
            assert len({t.condition for t in mine}) == 1
            counts = Counter(t.label for t in mine)
            share = len(mine) / labels
            assert all(floor(share) <= counts[f"label {n}"] <= ceil(share) for n in range(labels))
        whole = Counter(t.label for t in seat)
        spread = [whole[f"label {n}"] for n in range(labels)]
        assert max(spread) - min(spread) <= 2
        sizes.add(len(seat))
    assert max(sizes) - min(sizes) <= 3


def test_the_papers_plan_is_balanced_to_the_trial():
    """100 participants, 30 labels of 50 clips, 45 trials each: 4,500."""
    planned = plan.make_plan(clips(30, 50), responses_per_clip=1, trials_per_participant=45, seed=0)
    seats = by_seat(planned)
    assert (len(planned), len(seats)) == (4500, 100)
    for seat in seats.values():
        assert Counter(t.condition for t in seat) == dict.fromkeys(CONDITIONS, 15)
        assert set(Counter(t.label for t in seat).values()) == {1, 2}
    first = Counter(seat[0].condition for seat in seats.values())
    assert max(first.values()) - min(first.values()) <= 2
    orders = Counter(tuple(dict.fromkeys(t.condition for t in seat)) for seat in seats.values())
    assert len(orders) == 6 and max(orders.values()) - min(orders.values()) <= 1
    together = Counter(frozenset(t.label for t in seat if t.block == 0) for seat in seats.values())
    assert max(together.values()) <= 3  # labels do not always meet the same others


def test_the_same_seed_gives_the_same_plan_and_another_one_another():
    plans = [
        plan.make_plan(clips(10, 6), responses_per_clip=1, trials_per_participant=9, seed=seed) for seed in (4, 4, 5)
    ]
    assert plans[0] == plans[1] != plans[2]


@pytest.mark.parametrize(
    ("labels", "each", "trials", "said"),
    [
        (3, 2, 45, "up to 15 times, but a label has only 2 clips"),
        (1, 2, 9, "lower study.trials"),
        (0, 0, 9, "no label"),
        (4, 4, 10, "multiple of 3"),
    ],
)
def test_a_plan_that_cannot_be_balanced_is_refused_with_the_reason(labels, each, trials, said):
    with pytest.raises(plan.PlanError, match=said):
        plan.make_plan(clips(labels, each), responses_per_clip=1, trials_per_participant=trials, seed=0)


def test_labels_with_unequal_clips_are_refused_by_name():
    with pytest.raises(plan.PlanError, match="label 'b' has 1 clips, label 'a' 2"):
        plan.make_plan({"a": ["1", "2"], "b": ["3"]}, responses_per_clip=1, trials_per_participant=3, seed=0)
