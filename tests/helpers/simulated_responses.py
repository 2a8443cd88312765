"""Simulated judgements for tests, each participant marked as such: no person's answers, never in a real study."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from synesthesia.evaluation.csv_import import SIMULATED
from synesthesia.schemas import CONDITIONS

COLUMNS = "question_id,participant,condition,choice,seconds,replays,focus_lost,load_failures,order,careless"


def judge(
    questions: pd.DataFrame, path: Path, knows: dict[str, dict[str, float]], times: int = 1, seed: int = 5
) -> None:
    """Write the browser study's CSV: each question `times` times in each condition, dealt to participants in turn.

    `questions` as tables.QUESTION; `knows` [condition][label]: probability of a right answer. Participant 0 is
    careless and answers anything; every 37th answer is none.
    """
    random, rows, people = np.random.default_rng(seed), [], max(4, len(questions) * times * 3 // 45 + 1)
    people = max(people, times * 3)
    for condition_number, condition in enumerate(CONDITIONS):
        for number, question in enumerate(questions.to_dict("records")):
            for time in range(times):
                who = (number * 7 + condition_number * times + time) % people
                right = random.random() < (knows[condition][question["options"][question["answer"]]] if who else 0.1)
                wrong = (question["answer"] + random.integers(1, len(question["options"]))) % len(question["options"])
                choice = "" if len(rows) % 37 == 36 else question["answer"] if right else wrong
                seconds = np.round(random.lognormal(1.6 + 0.2 * condition_number, 0.5), 3)
                rows.append([question["question_id"], f"{SIMULATED}-{who:03d}", condition, choice, seconds,
                             random.integers(3), 0, 0, len(rows) % 45, str(who == 0).lower()])  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        file.write(COLUMNS + "\n")
        writer.writerows(rows)
