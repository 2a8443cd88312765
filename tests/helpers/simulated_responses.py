"""Simulated responses for tests; every participant id is marked as simulated."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from synesthesia.evaluation.csv_import import SIMULATED
from synesthesia.schemas import CONDITIONS

COLUMNS = "question_id,participant,condition,choice,seconds,replays,focus_lost,load_failures,order,inattentive"


def write_responses(
    questions: pd.DataFrame,
    path: Path,
    accuracy: dict[str, dict[str, float]],
    responses_per_question: int = 1,
    seed: int = 5,
) -> None:
    """Write the browser study's CSV file with participants assigned in turn.

    Args:
        questions: Table with the columns of `schemas.QUESTION`.
        path: Destination.
        accuracy: Probability of a correct response by condition and label. Participant 0 is inattentive and guesses;
            every 37th response is empty.
        responses_per_question: Number of responses per question and condition.
        seed: Random seed.
    """
    rng, rows = np.random.default_rng(seed), []
    n_participants = max(4, len(questions) * responses_per_question * 3 // 45 + 1, responses_per_question * 3)
    for condition_number, condition in enumerate(CONDITIONS):
        for number, question in enumerate(questions.to_dict("records")):
            for repeat in range(responses_per_question):
                participant = (number * 7 + condition_number * responses_per_question + repeat) % n_participants
                target, n_options = question["target"], len(question["options"])
                p_correct = accuracy[condition][question["options"][target]] if participant else 0.1
                is_correct = rng.random() < p_correct
                wrong = (target + rng.integers(1, n_options)) % n_options
                choice = "" if len(rows) % 37 == 36 else target if is_correct else wrong
                seconds = np.round(rng.lognormal(1.6 + 0.2 * condition_number, 0.5), 3)
                rows.append([question["question_id"], f"{SIMULATED}-{participant:03d}", condition, choice, seconds,
                             rng.integers(3), 0, 0, len(rows) % 45, str(participant == 0).lower()])  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(COLUMNS + "\n")
        csv.writer(file, lineterminator="\n").writerows(rows)
