"""Collect the answers of one who answered elsewhere: humans of the browser study, or anybody's CSV.

The CSV's columns are told in synesthesia/judgements.py. From here on a human, a file and a model are all the same:
rows of tables.ANSWER under out/answer. A file without rows (no human has taken part yet) is no error.

examples:
  python -m synesthesia.stages.collect human-ears
  dvc repro collect@human-eyes
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.compute as pc

from synesthesia import judgements, tables, tracking
from synesthesia.params import Params
from synesthesia.stages import accuracies, entry

OUT, ANSWERS = Path("out/collect"), Path("out/answer")
QUESTIONS = Path("out/ask/questions.parquet")


def run(params: Params, item: str) -> None:
    """Write out/collect/<respondent>/judgements.parquet, and out/answer/<respondent>/<split>.parquet where judged."""
    entry.choose(params.collect.respondents, item, "respondent")
    collect(params, item)
    made = record(params, item)
    if made is not None:
        tracking.log(made)


def collect(params: Params, item: str) -> None:
    """The work itself."""
    block, who = params.collect, params.collect.respondents[item]
    questions = tables.read(QUESTIONS, tables.QUESTION)
    judged = judgements.read(who.file, questions, who.condition)
    given = judgements.answers(judged, questions, item, seed=block.seed, several=block.several, careless=block.careless)
    for folder in (OUT / item, ANSWERS / item):  # an older file may have judged splits that this one does not
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    tables.write(judged, OUT / item / "judgements.parquet", tables.JUDGEMENT)
    for split in tables.SPLITS:
        asked = questions.filter(pc.equal(questions["split"], split))["question_id"]
        part = given.filter(pc.is_in(given["question_id"], asked.combine_chunks()))
        if part.num_rows:
            tables.write(part, ANSWERS / item / f"{split}.parquet", tables.ANSWER)
    print(f"{item}: {judged.num_rows} judgements in {who.file}, answers to {given.num_rows} questions")


def record(params: Params, item: str) -> tracking.Record | None:
    """What this stage item tells MLflow, from its outs alone; None where nobody has judged."""
    files = [ANSWERS / item / f"{split}.parquet" for split in tables.SPLITS]
    files = [file for file in files if file.exists()]
    if not files:
        return None
    block = params.collect
    told = {"seed": block.seed, "several": block.several, "careless": block.careless}
    return accuracies.record("collect", item, files, {**block.respondents[item].model_dump(), **told})


if __name__ == "__main__":
    entry.main(run, __doc__, item="respondent")
