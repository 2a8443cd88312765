"""Collect the answers of one who answered elsewhere: humans of the browser study, or anybody's CSV.

The CSV's columns are told in synesthesia/judgements.py. From here on a human, a file and a model are all the same:
rows of tables.ANSWER under out/answer. A file without rows (no human has taken part yet) is no error.

examples:
  python -m synesthesia.pipeline.import_answers human-ears
  dvc repro collect@human-eyes
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.compute as pc

from synesthesia import schemas, tracking
from synesthesia.config import Params
from synesthesia.evaluation import csv_import
from synesthesia.pipeline import accuracy_record, stage_cli

OUT, ANSWERS = Path("out/collect"), Path("out/answer")
QUESTIONS = Path("out/ask/questions.parquet")


def run(params: Params, item: str) -> None:
    """Write out/collect/<respondent>/judgements.parquet, and out/answer/<respondent>/<split>.parquet where judged."""
    stage_cli.choose(params.collect.respondents, item, "respondent")
    collect(params, item)
    made = record(params, item)
    if made is not None:
        tracking.log(made)


def collect(params: Params, item: str) -> None:
    """The work itself."""
    block, who = params.collect, params.collect.respondents[item]
    questions = schemas.read(QUESTIONS, schemas.QUESTION)
    judged = csv_import.read(who.file, questions, who.condition)
    given = csv_import.answers(judged, questions, item, seed=block.seed, several=block.several, careless=block.careless)
    for folder in (OUT / item, ANSWERS / item):  # an older file may have judged splits that this one does not
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    schemas.write(judged, OUT / item / "judgements.parquet", schemas.JUDGEMENT)
    for split in schemas.SPLITS:
        asked = questions.filter(pc.equal(questions["split"], split))["question_id"]
        part = given.filter(pc.is_in(given["question_id"], asked.combine_chunks()))
        if part.num_rows:
            schemas.write(part, ANSWERS / item / f"{split}.parquet", schemas.ANSWER)
    print(f"{item}: {judged.num_rows} judgements in {who.file}, answers to {given.num_rows} questions")


def record(params: Params, item: str) -> tracking.Record | None:
    """What this stage item tells MLflow, from its outs alone; None where nobody has judged."""
    files = [ANSWERS / item / f"{split}.parquet" for split in schemas.SPLITS]
    files = [file for file in files if file.exists()]
    if not files:
        return None
    block = params.collect
    told = {"seed": block.seed, "several": block.several, "careless": block.careless}
    return accuracy_record.record("collect", item, files, {**block.respondents[item].model_dump(), **told})


if __name__ == "__main__":
    stage_cli.main(run, __doc__, item="respondent")
