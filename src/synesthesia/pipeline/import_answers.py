"""Collect the answers of one who answered elsewhere: humans of the browser study, or anybody's CSV.

The CSV's columns are told in synesthesia/judgements.py. From here on a human, a file and a model are all the same:
rows of tables.ANSWER under out/answer. A file without rows (no human has taken part yet) is no error.

Examples:
  python -m synesthesia.pipeline.import_answers human-ears
  dvc repro collect@human-eyes
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.compute as pc

from synesthesia import schemas, tracking
from synesthesia.config import Config
from synesthesia.evaluation import csv_import
from synesthesia.pipeline import accuracy_record, stage_cli

OUTPUT_DIR, ANSWERS_DIR = Path("out/collect"), Path("out/answer")
QUESTIONS_FILE = Path("out/ask/questions.parquet")


def run(config: Config, item: str) -> None:
    """Write out/collect/<respondent>/judgements.parquet, and out/answer/<respondent>/<split>.parquet where judged."""
    stage_cli.get_item(config.import_answers.respondents, item, "respondent")
    import_answers(config, item)
    made = build_record(config, item)
    if made is not None:
        tracking.log_record(made)


def import_answers(config: Config, item: str) -> None:
    """The work itself."""
    block, who = config.import_answers, config.import_answers.respondents[item]
    questions = schemas.read(QUESTIONS_FILE, schemas.QUESTION)
    judged = csv_import.read_responses(who.file, questions, who.condition)
    given = csv_import.aggregate_responses(
        judged, questions, item, seed=block.seed, aggregation=block.aggregation, inattentive=block.inattentive
    )
    for folder in (
        OUTPUT_DIR / item,
        ANSWERS_DIR / item,
    ):  # an older file may have judged splits that this one does not
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    schemas.write(judged, OUTPUT_DIR / item / "judgements.parquet", schemas.RESPONSE)
    for split in schemas.SPLITS:
        asked = questions.filter(pc.equal(questions["split"], split))["question_id"]
        part = given.filter(pc.is_in(given["question_id"], asked.combine_chunks()))
        if part.num_rows:
            schemas.write(part, ANSWERS_DIR / item / f"{split}.parquet", schemas.ANSWER)
    print(f"{item}: {judged.num_rows} judgements in {who.file}, answers to {given.num_rows} questions")


def build_record(config: Config, item: str) -> tracking.Record | None:
    """What this stage item tells MLflow, from its outs alone; None where nobody has judged."""
    files = [ANSWERS_DIR / item / f"{split}.parquet" for split in schemas.SPLITS]
    files = [file for file in files if file.exists()]
    if not files:
        return None
    block = config.import_answers
    told = {"seed": block.seed, "several": block.aggregation, "careless": block.inattentive}
    return accuracy_record.build_accuracy_record(
        "collect", item, files, {**block.respondents[item].model_dump(), **told}
    )


if __name__ == "__main__":
    stage_cli.main(run, __doc__, item_kind="respondent")
