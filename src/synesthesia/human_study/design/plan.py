"""Who judges what: every clip and condition as often as asked, nobody a clip twice, labels and conditions balanced.

A *seat* is one participant's share of the plan, `trials` judgements in three blocks, one a condition. The plan is made
once, from a seed, in two steps:

1. Labels are dealt. One cyclic order of the labels is walked through, each seat taking the next stretch; the blocks of
   a seat lie one behind the other in it. So a block holds each label floor or ceil of its share, a seat as well (one
   off more where seats differ in length), and every label and condition comes out exact. Where a stretch ends with the
   cycle, the order is drawn anew, so that labels that meet in one seat do not meet in the next.
2. Clips are dealt, label by label and condition by condition, as a flow from seats to clips (each clip `judgements`
   times, none that the seat has met): a maximum flow finds a dealing wherever there is one that keeps what is dealt
   already, and another order is tried where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import ceil

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from synesthesia.schemas import CONDITIONS

MAX_ATTEMPTS = 40


class PlanError(ValueError):
    """A plan that cannot be made; the message says which label or parameter stands in the way."""


@dataclass(frozen=True)
class Trial:
    """One judgement to be made: its seat, the block (0 to 2) and place within the seat's session (0 to trials - 1)."""

    slot: int
    block: int
    position: int
    condition: str
    label: str
    clip_id: str


def make_plan(
    clips_by_label: Mapping[str, Sequence[str]], *, responses_per_clip: int, trials_per_participant: int, seed: int
) -> list[Trial]:
    """The plan for `clips` (label -> clip ids, equally many each), in order of seats and places; deterministic.

    Every clip is judged `judgements` times in each of the three conditions; a seat has at most `trials` (a multiple of
    three) and its blocks are equally long, as are the seats up to one trial a block. Raises PlanError where clips are
    unequal in number, or too few for a participant who may not meet one twice.
    """
    labels = sorted(clips_by_label)
    if not labels:
        raise PlanError("there is no label to plan with")
    if trials_per_participant < 3 or trials_per_participant % 3 or responses_per_clip < 1:
        raise PlanError(
            f"trials {trials_per_participant} must be a multiple of 3 and judgements {responses_per_clip} at least 1"
        )
    per_label = len(clips_by_label[labels[0]])
    for label in labels:
        if len(set(clips_by_label[label])) != len(clips_by_label[label]):
            raise PlanError(f"label {label!r} has a clip twice")
        if len(clips_by_label[label]) != per_label or not per_label:
            raise PlanError(f"label {label!r} has {len(clips_by_label[label])} clips, label {labels[0]!r} {per_label}")
    sizes = _compute_block_sizes(len(labels) * per_label * responses_per_clip, trials_per_participant // 3)
    most = ceil(trials_per_participant / len(labels))
    if per_label < most:
        raise PlanError(
            f"study.trials: {trials_per_participant} a participant over {len(labels)} labels meet each label up to {most} times, but a "
            f"label has only {per_label} clips and nobody may meet a clip twice: lower study.trials, or add labels"
        )
    random = np.random.default_rng([seed, 0x5EED])
    for _ in range(MAX_ATTEMPTS):
        dealt = _assign_labels(labels, sizes, random)
        chosen = _assign_clips(clips_by_label, dealt, responses_per_clip, random)
        if chosen is not None:
            return _order_trials(dealt, chosen, random)
    raise PlanError(
        f"{len(labels)} labels of {per_label} clips, {responses_per_clip} judgements, {trials_per_participant} trials a participant: no plan "
        f"was found in {MAX_ATTEMPTS} tries in which nobody meets a clip twice: lower study.trials, or take more clips a label"
    )


def _compute_block_sizes(n_trials: int, max_size: int) -> list[int]:
    """Length of each seat's blocks: as few seats as possible, equally long up to one."""
    seats = ceil(n_trials / max_size)
    return [n_trials // seats + (seat < n_trials % seats) for seat in range(seats)]


def _assign_labels(labels: list[str], block_sizes: list[int], rng) -> list[list[list[str]]]:
    """For each seat three lists of labels, one a condition in the order of CONDITIONS."""
    dealt, order, at = [], None, 0
    for size in block_sizes:
        if order is None or at % len(labels) == 0:
            order = rng.permutation(len(labels))
        starts = [at + condition * block_sizes[0] for condition in range(3)]
        dealt.append([[labels[order[(s + i) % len(labels)]] for i in range(size)] for s in starts])
        at += size
    return dealt


def _assign_clips(
    clips_by_label, slot_labels, responses_per_clip: int, rng
) -> dict[tuple[int, int, str], list[str]] | None:
    """Clips of each (seat, condition, label); None where the order drawn leads into a dead end."""
    chosen: dict[tuple[int, int, str], list[str]] = {}
    for label, names in clips_by_label.items():
        met: dict[int, set[int]] = {}
        for condition in rng.permutation(3):
            wanted = {seat: blocks[condition].count(label) for seat, blocks in enumerate(slot_labels)}
            wanted = {seat: n for seat, n in wanted.items() if n}
            pairs = _solve_assignment(wanted, met, len(names), responses_per_clip, rng)
            if pairs is None:
                return None
            for seat, clip in pairs:
                met.setdefault(seat, set()).add(clip)
                chosen.setdefault((seat, int(condition), label), []).append(names[clip])
    return chosen


def _solve_assignment(
    demand: dict[int, int], used_clips: dict[int, set[int]], n_clips: int, responses_per_clip: int, rng
):
    """(seat, clip) pairs: seat s `wanted[s]` different clips that it has not met, each clip `judgements` times."""
    seats = rng.permutation(list(demand))
    names = rng.permutation(n_clips)
    source, sink = len(seats) + n_clips, len(seats) + n_clips + 1
    edges = [(source, i, demand[seat]) for i, seat in enumerate(seats)]
    edges += [(len(seats) + j, sink, responses_per_clip) for j in range(n_clips)]
    for i, seat in enumerate(seats):
        free = [j for j in range(n_clips) if names[j] not in used_clips.get(seat, ())]
        start = int(rng.integers(max(1, len(free))))
        edges += [(i, len(seats) + j, 1) for j in free[start:] + free[:start]]
    rows, columns, capacity = (np.array(x, np.int32) for x in zip(*edges, strict=True))
    graph = csr_array((capacity, (rows, columns)), shape=(sink + 1, sink + 1), dtype=np.int32)
    found = maximum_flow(graph, source, sink)
    if found.flow_value != sum(demand.values()):
        return None
    flow = found.flow.tocoo()
    used = (flow.data > 0) & (flow.row < len(seats)) & (flow.col < source)
    return [(int(seats[i]), int(names[j - len(seats)])) for i, j in zip(flow.row[used], flow.col[used], strict=True)]


def _order_trials(slot_labels, assigned_clips, rng) -> list[Trial]:
    """Blocks in one of the six orders, each as often as the others; trials within a block shuffled."""
    orders, planned = [], []
    for seat, blocks in enumerate(slot_labels):
        if not orders:
            orders = [list(p) for p in rng.permutation(list(permutations(range(3))))]
        place = 0
        for block, condition in enumerate(orders.pop()):
            left = {label: list(assigned_clips[seat, condition, label]) for label in blocks[condition]}
            for index in rng.permutation(len(blocks[condition])):
                label = blocks[condition][index]
                planned.append(Trial(seat, block, place, CONDITIONS[condition], label, left[label].pop()))
                place += 1
    return planned
