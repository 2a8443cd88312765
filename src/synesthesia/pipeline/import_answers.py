"""Import the answers of one respondent from a CSV file: humans of the browser study, or any external model.

`synesthesia.evaluation.csv_import` documents the columns. The result has the same form as a model's answers:
schemas.ANSWER in out/evaluate. A file without rows (no human has participated yet) is not an error.

Examples:
  python -m synesthesia.pipeline.import_answers human-ears
  dvc repro import_answers@human-eyes
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.compute as pc

from synesthesia import schemas, tracking
from synesthesia.config import Config
from synesthesia.evaluation import csv_import
from synesthesia.pipeline import accuracy_record, stage_cli

OUTPUT_DIR, ANSWERS_DIR = Path("out/import_answers"), Path("out/evaluate")
QUESTIONS_FILE = Path("out/make_questions/questions.parquet")


def run(config: Config, item: str) -> None:
    """Import the answers of one respondent and log them.

    Args:
        config: The configuration.
        item: Key of the respondent.
    """
    stage_cli.get_item(config.import_answers.respondents, item, "respondent")
    import_answers(config, item)
    record = build_record(config, item)
    if record is not None:
        tracking.log_record(record)


def import_answers(config: Config, item: str) -> None:
    """Write out/import_answers/<respondent>/responses.parquet and out/evaluate/<respondent>/<split>.parquet.

    Splits without a response get no file.

    Args:
        config: The configuration.
        item: Key of the respondent.

    Raises:
        ResponseError: The CSV file is missing or invalid; nothing is written then.
    """
    import_config, respondent = config.import_answers, config.import_answers.respondents[item]
    questions = schemas.read(QUESTIONS_FILE, schemas.QUESTION)
    responses = csv_import.read_responses(respondent.file, questions, respondent.condition)
    answers = csv_import.aggregate_responses(
        responses,
        questions,
        item,
        seed=import_config.seed,
        aggregation=import_config.aggregation,
        inattentive=import_config.inattentive,
    )
    for folder in (OUTPUT_DIR / item, ANSWERS_DIR / item):  # an earlier file may have covered other splits
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    schemas.write(responses, OUTPUT_DIR / item / "responses.parquet", schemas.RESPONSE)
    for split in schemas.SPLITS:
        question_ids = schemas.select_split(questions, split)["question_id"]
        is_in_split = pc.is_in(  # pyright: ignore[reportAttributeAccessIssue] pyarrow generates it at import
            answers["question_id"], question_ids.combine_chunks()
        )
        split_answers = answers.filter(is_in_split)
        if split_answers.num_rows:
            schemas.write(split_answers, ANSWERS_DIR / item / f"{split}.parquet", schemas.ANSWER)
    print(f"{item}: {responses.num_rows} responses in {respondent.file}, answers to {answers.num_rows} questions")


def build_record(config: Config, item: str) -> tracking.Record | None:
    """Build the MLflow record of a respondent from the outputs.

    Args:
        config: The configuration.
        item: Key of the respondent.

    Returns:
        The record, or None if there are no answers.
    """
    files = [ANSWERS_DIR / item / f"{split}.parquet" for split in schemas.SPLITS]
    files = [file for file in files if file.exists()]
    if not files:
        return None
    parameters = {
        **config.import_answers.respondents[item].model_dump(),
        **config.import_answers.model_dump(include={"seed", "aggregation", "inattentive"}),
    }
    return accuracy_record.build_accuracy_record("import_answers", item, files, parameters)


if __name__ == "__main__":
    stage_cli.main(run, __doc__, item_kind="respondent")
