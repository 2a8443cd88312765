"""Trial plan: every clip and condition equally often, no clip twice per participant, labels and conditions balanced.

A *slot* is one participant's part of the plan: up to `trials_per_participant` trials in three blocks, one per
condition. The plan is made once, from a seed, in two steps:

1. Labels are assigned. Each slot takes the next stretch of one cyclic order of the labels, and the blocks of a slot lie
   one after another in it. So a block holds each label floor or ceil of its share, a slot as well (one more or less
   where slots differ in length), and the counts per label and condition are exact. Where a stretch ends with the
   cycle, the order is drawn again, so that labels that share one slot do not share the next.
2. Clips are assigned, label by label and condition by condition, as a maximum flow from slots to clips (each clip
   `responses_per_clip` times, none that the slot already has). The flow finds an assignment whenever one exists that
   keeps the earlier ones; if none exists, another random order is tried.
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
    """No plan exists for the parameters; the message names the label or parameter to change."""


@dataclass(frozen=True)
class Trial:
    """A planned trial.

    Attributes:
        slot: Slot number, from 0.
        block: Block of the session, 0 to 2.
        position: Position among the trials of the session, from 0.
        condition: One of `CONDITIONS`.
        label: Label of the clip.
        clip_id: Clip id.
    """

    slot: int
    block: int
    position: int
    condition: str
    label: str
    clip_id: str


def make_plan(
    clips_by_label: Mapping[str, Sequence[str]], *, responses_per_clip: int, trials_per_participant: int, seed: int
) -> list[Trial]:
    """Make the plan; deterministic for a seed.

    Args:
        clips_by_label: Clip ids by label, equally many per label.
        responses_per_clip: Number of responses per clip and condition.
        trials_per_participant: Maximum number of trials per slot, a multiple of three. Blocks of a slot are equally
            long; slots differ by at most one trial per block.
        seed: Random seed.

    Returns:
        The trials by slot and position.

    Raises:
        PlanError: Labels have unequal numbers of clips, or too few for participants who see no clip twice.
    """
    labels = sorted(clips_by_label)
    if not labels:
        raise PlanError("there is no label to plan with")
    if trials_per_participant < 3 or trials_per_participant % 3 or responses_per_clip < 1:
        raise PlanError(
            f"trials_per_participant ({trials_per_participant}) must be a multiple of 3, and responses_per_clip "
            f"({responses_per_clip}) at least 1"
        )
    clips_per_label = len(clips_by_label[labels[0]])
    for label in labels:
        n_clips = len(clips_by_label[label])
        if len(set(clips_by_label[label])) != n_clips:
            raise PlanError(f"label {label!r} has a clip twice")
        if n_clips != clips_per_label or not n_clips:
            raise PlanError(f"label {label!r} has {n_clips} clips, label {labels[0]!r} {clips_per_label}")
    block_sizes = _compute_block_sizes(len(labels) * clips_per_label * responses_per_clip, trials_per_participant // 3)
    max_per_label = ceil(trials_per_participant / len(labels))
    if clips_per_label < max_per_label:
        raise PlanError(
            f"human_study.trials_per_participant: {trials_per_participant} trials over {len(labels)} labels contain "
            f"each label up to {max_per_label} times, but a label has only {clips_per_label} clips and nobody may see "
            "a clip twice: lower human_study.trials_per_participant, or add labels"
        )
    rng = np.random.default_rng([seed, 0x5EED])
    for _ in range(MAX_ATTEMPTS):
        slot_labels = _assign_labels(labels, block_sizes, rng)
        assigned_clips = _assign_clips(clips_by_label, slot_labels, responses_per_clip, rng)
        if assigned_clips is not None:
            return _order_trials(slot_labels, assigned_clips, rng)
    raise PlanError(
        f"no plan found in {MAX_ATTEMPTS} attempts for {len(labels)} labels of {clips_per_label} clips, "
        f"{responses_per_clip} responses per clip, and {trials_per_participant} trials per participant without a clip "
        "twice: lower human_study.trials_per_participant, or use more clips per label"
    )


def _compute_block_sizes(n_trials: int, max_size: int) -> list[int]:
    """Compute the block length of each slot: as few slots as possible, lengths equal up to one.

    Args:
        n_trials: Number of trials per condition.
        max_size: Maximum block length.

    Returns:
        Block length per slot.
    """
    n_slots = ceil(n_trials / max_size)
    return [n_trials // n_slots + (slot < n_trials % n_slots) for slot in range(n_slots)]


def _assign_labels(labels: list[str], block_sizes: list[int], rng: np.random.Generator) -> list[list[list[str]]]:
    """Assign labels to slots.

    Returns:
        Per slot, three lists of labels, one per condition in the order of CONDITIONS.
    """
    slot_labels: list[list[list[str]]] = []
    order = rng.permutation(len(labels))
    start = 0
    for size in block_sizes:
        if start and start % len(labels) == 0:
            order = rng.permutation(len(labels))
        block_starts = [start + condition * block_sizes[0] for condition in range(3)]
        slot_labels.append([[labels[order[(s + i) % len(labels)]] for i in range(size)] for s in block_starts])
        start += size
    return slot_labels


def _assign_clips(
    clips_by_label: Mapping[str, Sequence[str]],
    slot_labels: list[list[list[str]]],
    responses_per_clip: int,
    rng: np.random.Generator,
) -> dict[tuple[int, int, str], list[str]] | None:
    """Assign clips to slots.

    Returns:
        Clip ids by (slot, condition index, label), or None if the random order leads to a dead end.
    """
    assigned: dict[tuple[int, int, str], list[str]] = {}
    for label, clip_ids in clips_by_label.items():
        used_clips: dict[int, set[int]] = {}
        for condition in rng.permutation(3):
            demand = {slot: blocks[condition].count(label) for slot, blocks in enumerate(slot_labels)}
            demand = {slot: n for slot, n in demand.items() if n}
            pairs = _solve_assignment(demand, used_clips, len(clip_ids), responses_per_clip, rng)
            if pairs is None:
                return None
            for slot, clip in pairs:
                used_clips.setdefault(slot, set()).add(clip)
                assigned.setdefault((slot, int(condition), label), []).append(clip_ids[clip])
    return assigned


def _solve_assignment(
    demand: dict[int, int],
    used_clips: dict[int, set[int]],
    n_clips: int,
    responses_per_clip: int,
    rng: np.random.Generator,
) -> list[tuple[int, int]] | None:
    """Solve one label and condition as a maximum flow.

    Args:
        demand: Number of clips by slot.
        used_clips: Clip indices that a slot already has.
        n_clips: Number of clips of the label.
        responses_per_clip: Number of slots per clip.
        rng: Random generator.

    Returns:
        (slot, clip index) pairs, or None if no assignment exists.
    """
    slots = rng.permutation(list(demand))
    clips = rng.permutation(n_clips)
    source, sink = len(slots) + n_clips, len(slots) + n_clips + 1
    edges = [(source, i, demand[slot]) for i, slot in enumerate(slots)]
    edges += [(len(slots) + j, sink, responses_per_clip) for j in range(n_clips)]
    for i, slot in enumerate(slots):
        free = [j for j in range(n_clips) if clips[j] not in used_clips.get(slot, ())]
        start = int(rng.integers(max(1, len(free))))
        edges += [(i, len(slots) + j, 1) for j in free[start:] + free[:start]]
    rows, columns, capacities = (np.array(x, np.int32) for x in zip(*edges, strict=True))
    graph = csr_array((capacities, (rows, columns)), shape=(sink + 1, sink + 1), dtype=np.int32)
    result = maximum_flow(graph, source, sink)
    if result.flow_value != sum(demand.values()):
        return None
    flow = result.flow.tocoo()
    is_used = (flow.data > 0) & (flow.row < len(slots)) & (flow.col < source)
    pairs = zip(flow.row[is_used], flow.col[is_used], strict=True)
    return [(int(slots[i]), int(clips[j - len(slots)])) for i, j in pairs]


def _order_trials(
    slot_labels: list[list[list[str]]],
    assigned_clips: dict[tuple[int, int, str], list[str]],
    rng: np.random.Generator,
) -> list[Trial]:
    """Order blocks in one of the six orders, each equally often, and shuffle the trials within a block."""
    orders: list[list[int]] = []
    planned = []
    for slot, blocks in enumerate(slot_labels):
        if not orders:
            orders = [list(p) for p in rng.permutation(list(permutations(range(3))))]
        position = 0
        for block, condition in enumerate(orders.pop()):
            clip_ids = {label: list(assigned_clips[slot, condition, label]) for label in blocks[condition]}
            for index in rng.permutation(len(blocks[condition])):
                label = blocks[condition][index]
                planned.append(Trial(slot, block, position, CONDITIONS[condition], label, clip_ids[label].pop()))
                position += 1
    return planned
