"""Finished judgements as CSV, one line each; the columns are a contract with whoever imports them.

    question_id, participant, condition, choice, seconds, replays, focus_lost, load_failures, order, careless

`choice` is an option's index (0 to 9), `seconds` the response time from the end of loading, `order` the place in the
participant's session (from 0), `careless` whether a stated rule speaks against the participant. Practice, attention
checks, unfinished and withdrawn trials are not in it. Simulated answers say so in the file's name and in each line:
their participants are called `simulated-...`, by which `synesthesia.evaluation.csv_import` knows them.
"""

from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from synesthesia.config import HumanStudyConfig
from synesthesia.evaluation.csv_import import SIMULATED
from synesthesia.human_study import data_quality
from synesthesia.human_study.db.completed import count_failed_checks, load_completed_trials
from synesthesia.human_study.db.connection import Database, DatabaseError
from synesthesia.human_study.db.stored_plan import load_study

CSV_COLUMNS = ("question_id", "participant", "condition", "choice", "seconds", "replays", "focus_lost", "load_failures",
           "order", "careless")  # fmt: skip


def iter_rows(database: Database, config: HumanStudyConfig) -> Iterator[dict]:
    """One mapping a finished trial, by participant and order."""
    mark = f"{SIMULATED}-" if load_study(database).simulated else ""
    with database.read() as connection:
        finished, failed = load_completed_trials(connection), count_failed_checks(connection)
    of = defaultdict(list)
    for row in finished:
        of[row.participant].append(row)
    for participant, mine in of.items():
        choices, seconds = [r.choice for r in mine], [r.seconds for r in mine]
        careless = bool(data_quality.inattention_reasons(config.inattention, choices, seconds, failed[participant]))
        for row in mine:
            yield {
                "question_id": row.question_id,
                "participant": mark + participant,
                "condition": row.condition,
                "choice": row.choice,
                "seconds": f"{row.seconds:.3f}",
                "replays": row.replays,
                "focus_lost": row.focus_lost,
                "load_failures": row.load_failures,
                "order": row.place,
                "careless": "true" if careless else "false",
            }


def to_csv(database: Database, config: HumanStudyConfig) -> tuple[str, int]:
    """The whole file, and how many judgements are in it."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    count = 0
    for row in iter_rows(database, config):
        writer.writerow(row)
        count += 1
    return buffer.getvalue(), count


def write_csv(
    database: Database, config: HumanStudyConfig, folder: Path, is_simulated: bool = False
) -> tuple[Path, int]:
    """Write `judgements.csv` under `folder`, whole or not at all; returns the path and the number of judgements.

    A database of simulated participants is refused unless `simulated`, which writes `simulated-judgements.csv`.
    """
    row = load_study(database)
    if row.simulated and not is_simulated:
        raise DatabaseError("these participants are simulated: --simulated exports them, into a file that says so")
    if is_simulated and not row.simulated:
        raise DatabaseError("this database holds a real study, not simulated participants: leave --simulated out")
    content, count = to_csv(database, config)
    path = folder / ("simulated-judgements.csv" if is_simulated else "judgements.csv")
    folder.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    beside.write_text(content, encoding="utf-8")
    os.replace(beside, path)
    return path, count
