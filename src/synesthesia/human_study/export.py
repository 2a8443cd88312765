"""Export of completed responses as CSV, one row per trial. The columns are a contract with the importer.

    question_id, participant, condition, choice, seconds, replays, focus_lost, load_failures, order, inattentive

`choice` is an option index (0 to 9), `seconds` the response time since the end of loading, `order` the trial's position
in the participant's session (from 0), and `inattentive` whether the participant meets a criterion of
`human_study.inattention`. Practice trials, attention checks, open trials, and withdrawn participants are not exported.
Simulated responses are marked in the file name and in each row: participant ids start with `simulated-`, which
`synesthesia.evaluation.csv_import` checks.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from synesthesia.config import HumanStudyConfig
from synesthesia.evaluation.csv_import import SIMULATED
from synesthesia.human_study import data_quality
from synesthesia.human_study.db.completed import count_failed_checks, load_completed_trials
from synesthesia.human_study.db.connection import Database, DatabaseError
from synesthesia.human_study.db.stored_plan import load_study
from synesthesia.utils.io import write_atomic

CSV_COLUMNS = ("question_id", "participant", "condition", "choice", "seconds", "replays", "focus_lost", "load_failures",
               "order", "inattentive")  # fmt: skip


def iter_rows(database: Database, config: HumanStudyConfig) -> Iterator[dict]:
    """Iterate over the completed trials.

    Args:
        database: The study's database.
        config: Study parameters; `config.inattention` holds the criteria.

    Yields:
        One dict per completed trial with the keys `CSV_COLUMNS`, by participant and position.
    """
    prefix = f"{SIMULATED}-" if load_study(database).is_simulated else ""
    with database.read() as connection:
        completed, n_failed_checks = load_completed_trials(connection), count_failed_checks(connection)
    rows_by_participant = defaultdict(list)
    for row in completed:
        rows_by_participant[row.participant].append(row)
    for participant, rows in rows_by_participant.items():
        choices, seconds = [r.choice for r in rows], [r.seconds for r in rows]
        reasons = data_quality.inattention_reasons(config.inattention, choices, seconds, n_failed_checks[participant])
        for row in rows:
            yield {
                "question_id": row.question_id,
                "participant": prefix + participant,
                "condition": row.condition,
                "choice": row.choice,
                "seconds": f"{row.seconds:.3f}",
                "replays": row.replays,
                "focus_lost": row.focus_lost,
                "load_failures": row.load_failures,
                "order": row.position,
                "inattentive": "true" if reasons else "false",
            }


def csv_name(is_simulated: bool) -> str:
    """Name the CSV file.

    Args:
        is_simulated: Whether the responses come from simulated participants.

    Returns:
        `responses.csv` or `simulated-responses.csv`.
    """
    return f"{SIMULATED}-responses.csv" if is_simulated else "responses.csv"


def to_csv(database: Database, config: HumanStudyConfig) -> tuple[str, int]:
    """Format the completed trials as CSV.

    Args:
        database: The study's database.
        config: Study parameters.

    Returns:
        The file's text and its number of responses.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    n_responses = 0
    for row in iter_rows(database, config):
        writer.writerow(row)
        n_responses += 1
    return buffer.getvalue(), n_responses


def write_csv(
    database: Database, config: HumanStudyConfig, folder: Path, is_simulated: bool = False
) -> tuple[Path, int]:
    """Write the CSV file atomically.

    Args:
        database: The study's database.
        config: Study parameters.
        folder: Destination folder; created if missing.
        is_simulated: Whether to export simulated participants, to `simulated-responses.csv`.

    Returns:
        The file's path and its number of responses.

    Raises:
        DatabaseError: The database holds simulated participants and `is_simulated` is false, or vice versa.
    """
    study = load_study(database)
    if study.is_simulated and not is_simulated:
        raise DatabaseError("these participants are simulated: export them with --simulated, to a file named so")
    if is_simulated and not study.is_simulated:
        raise DatabaseError("this database holds a real study, not simulated participants: omit --simulated")
    content, n_responses = to_csv(database, config)
    path = folder / csv_name(is_simulated)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    return path, n_responses
