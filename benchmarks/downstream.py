"""The stages after curate on tables of the paper's size: 178,000 clips, questions and answers without any model.

Answers are drawn at random. Measured is what the project itself does with them: reading with all checks, finding
clips' places, prompts and fingerprints before a model answers, targets of a distillation, gap, report. Peak memory is
that of the whole process.

    python benchmarks/downstream.py
    python benchmarks/downstream.py --clips 20000
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synesthesia import config, schemas
from synesthesia.questions import prompt, sampling

ROOT = Path(__file__).resolve().parent.parent
SHARES = {"finetune": 149_460, "analysis": 14_300, "test": 14_202}


@contextmanager
def timed(what: str):
    """Print a row of the table."""
    begin = time.perf_counter()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {what} | {time.perf_counter() - begin:.1f} | {peak:,.0f} |", flush=True)


def make(count: int) -> tuple[pa.Table, dict]:
    """A CLIP table with the paper's splits and labels, and the frequencies of the labels."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from questions import clips

    table, frequencies = clips(count)
    bounds = np.cumsum(list(SHARES.values())) / sum(SHARES.values()) * count
    split = np.array(list(SHARES))[np.searchsorted(bounds[:-1], np.arange(count), side="right")]
    return table.set_column(4, schemas.CLIP.field("split"), pa.array(split)), frequencies


def answers(asked: pa.Table, who: str, condition: str, seed: int) -> pa.Table:
    """Answers that are right in seven of ten cases."""
    rng = np.random.default_rng(seed)
    truth = asked["target"].to_numpy()
    choice = np.where(rng.random(len(truth)) < 0.7, truth, rng.integers(0, 10, len(truth)))
    logits = rng.normal(size=(len(truth), 10)).astype(np.float32)
    logits[np.arange(len(truth)), choice] += 9
    offsets = pa.array(np.arange(len(truth) + 1, dtype=np.int32) * 10)
    columns = {
        "question_id": asked["question_id"],
        "respondent": pa.array([who] * len(truth)),
        "condition": pa.array([condition] * len(truth)),
        "choice": pa.array(choice.astype(np.int8)),
        "letter_logits": pa.ListArray.from_arrays(offsets, pa.array(logits.ravel())),
        "text": pa.array([schemas.LETTERS[c] for c in choice]),
        "seconds": pa.nulls(len(truth), pa.float32()),
    }
    return pa.table(columns).cast(schemas.ANSWER)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=sum(SHARES.values()))
    given = parser.parse_args()
    study = config.load(ROOT / "params/embedded.yaml")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        measure(given.clips, study)


def measure(count: int, study: config.Config) -> None:
    """All steps in the current folder."""
    clips, frequencies = make(count)
    print(f"| {count:,} clips | seconds | peak memory, MiB |\n|---|---|---|")
    with timed("write and read the clips' table"):
        schemas.write(clips, "out/curate/clips.parquet", schemas.CLIP)
        schemas.read("out/curate/clips.parquet", schemas.CLIP)
    with timed("draw, write and read the questions"):
        asked = sampling.draw_questions(clips, 0, 10, "frequency", {"vggsound": frequencies})
        schemas.write(asked, "out/make_questions/questions.parquet", schemas.QUESTION)
        schemas.read("out/make_questions/questions.parquet", schemas.QUESTION)
    splits = {split: asked.filter(pc.equal(asked["split"], split)) for split in SHARES}
    names = {name: model.condition for name, model in study.models.items()}
    with timed("write every model's answers, checked"):
        for seed, (name, condition) in enumerate(names.items()):
            for split, part in splits.items():
                made = answers(part, name, condition, seed)
                schemas.write(made, f"out/evaluate/{name}/{split}.parquet", schemas.ANSWER)
        for seed, (name, setting) in enumerate(study.distill.settings.items(), 100):
            for split in ("analysis", "test"):
                made = answers(splits[split], name, names[setting.student], seed)
                schemas.write(made, f"out/evaluate_students/{name}/{split}.parquet", schemas.ANSWER)
    from synesthesia.data import clip_batches
    from synesthesia.distillation import routing
    from synesthesia.distillation.targets import make_targets
    from synesthesia.evaluation import resume
    from synesthesia.pipeline import measure_gap, report

    finetune = splits["finetune"]
    with timed("before answering: fingerprint of the questions"):
        resume.fingerprint(finetune.to_pylist())
    with timed("before answering: clips' places, prompts"):
        clip_batches.locate_clips(clips, finetune["clip_id"].to_pylist())
        [prompt.format_prompt(options) for options in finetune["options"].to_pylist()]
    with timed("gap"):
        measure_gap.measure_gap(study)
    better = dict.fromkeys(frequencies, True)
    rows = [row for row in clips.to_pylist() if row["split"] == "finetune"]
    with timed("route"):
        routes = routing.route_clips(rows, better, {row["clip_id"]: 0.7 for row in rows}, study.route)
        table = schemas.from_rows(routes, schemas.ROUTE, "route")
        schemas.write(table, "out/route/route.parquet", schemas.ROUTE)
    with timed("distillation's targets"):
        read = [
            schemas.read(f"out/evaluate/{who}/finetune.parquet", schemas.ANSWER) for who in ("qwen2-vl", "qwen2-audio")
        ]
        closed = {row["clip_id"]: row["visual_teaches"] for row in routes}
        make_targets(finetune, study.distill.settings["visual-to-audio-kl"], closed, *read)
    del rows, routes, read
    with timed("report, 2,000 bootstrap samples"):
        report.write_report(study)


if __name__ == "__main__":
    main()
