"""Time the stages after curate on tables of the paper's size: 178,000 clips, questions, and answers, without models.

Answers are random. The benchmark times the project's own work: reading with all checks, locating clips, prompts and
fingerprints before evaluation, distillation targets, gap, and report. Peak memory is that of the whole process.

examples:
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synesthesia import config, schemas
from synesthesia.questions import prompt, sampling

ROOT = Path(__file__).resolve().parent.parent
CLIPS_PER_SPLIT = {"finetune": 149_460, "analysis": 14_300, "test": 14_202}  # the paper's
ACCURACY = 0.7


@contextmanager
def print_time(step: str) -> Iterator[None]:
    """Print one row of the results table.

    Args:
        step: Description of the step.
    """
    start = time.perf_counter()
    yield
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {step} | {time.perf_counter() - start:.1f} | {peak_mib:,.0f} |", flush=True)


def make_clips_with_splits(num_clips: int) -> tuple[pa.Table, dict[str, int]]:
    """Make a table of clips with the paper's splits and labels.

    Args:
        num_clips: Number of clips.

    Returns:
        Table (schemas.CLIP) and the frequency of each label.
    """
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from questions import make_clips

    clips, frequencies = make_clips(num_clips)
    bounds = np.cumsum(list(CLIPS_PER_SPLIT.values())) / sum(CLIPS_PER_SPLIT.values()) * num_clips
    splits = np.array(list(CLIPS_PER_SPLIT))[np.searchsorted(bounds[:-1], np.arange(num_clips), side="right")]
    column = clips.column_names.index("split")
    return clips.set_column(column, schemas.CLIP.field("split"), pa.array(splits)), frequencies


def make_answers(questions: pa.Table, respondent: str, condition: str, seed: int) -> pa.Table:
    """Make random answers that are correct with probability ACCURACY, or by chance.

    Args:
        questions: Questions (schemas.QUESTION).
        respondent: Respondent's key.
        condition: Condition, as in schemas.CONDITIONS.
        seed: Random seed.

    Returns:
        Table (schemas.ANSWER).
    """
    rng, num_questions = np.random.default_rng(seed), len(questions)
    target = questions["target"].to_numpy()
    choice = np.where(rng.random(num_questions) < ACCURACY, target, rng.integers(0, 10, num_questions))
    logits = rng.normal(size=(num_questions, 10)).astype(np.float32)
    logits[np.arange(num_questions), choice] += 9
    offsets = pa.array(np.arange(num_questions + 1, dtype=np.int32) * 10)
    columns = {
        "question_id": questions["question_id"],
        "respondent": pa.array([respondent] * num_questions),
        "condition": pa.array([condition] * num_questions),
        "choice": pa.array(choice.astype(np.int8)),
        "letter_logits": pa.ListArray.from_arrays(offsets, pa.array(logits.ravel())),
        "text": pa.array([schemas.LETTERS[c] for c in choice]),
        "seconds": pa.nulls(num_questions, pa.float32()),
        "token_ids": pa.nulls(num_questions, pa.list_(pa.int32())),
        "token_logits": pa.nulls(num_questions, pa.list_(pa.float32())),
    }
    return pa.table(columns).cast(schemas.ANSWER)


def main() -> None:
    """Run all steps in a temporary folder and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = sum(CLIPS_PER_SPLIT.values())
    parser.add_argument("--clips", type=int, default=default, help=f"number of clips (default: {default})")
    arguments = parser.parse_args()
    study_config = config.load(ROOT / "params/embedded.yaml")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        time_steps(arguments.clips, study_config)


def time_steps(num_clips: int, study_config: config.Config) -> None:
    """Run and time all steps in the working directory.

    Args:
        num_clips: Number of clips.
        study_config: Configuration of the study.
    """
    clips, frequencies = make_clips_with_splits(num_clips)
    print(f"| {num_clips:,} clips | seconds | peak memory, MiB |\n|---|---|---|")
    with print_time("write and read the table of clips"):
        schemas.write(clips, "out/curate/clips.parquet", schemas.CLIP)
        schemas.read("out/curate/clips.parquet", schemas.CLIP)
    with print_time("draw, write and read the questions"):
        questions = sampling.draw_questions(clips, 0, 10, "frequency", {"vggsound": frequencies})
        schemas.write(questions, "out/make_questions/questions.parquet", schemas.QUESTION)
        schemas.read("out/make_questions/questions.parquet", schemas.QUESTION)
    by_split = {split: questions.filter(pc.equal(questions["split"], split)) for split in CLIPS_PER_SPLIT}
    conditions = {name: model.condition for name, model in study_config.models.items()}
    with print_time("check and write the answers of all models"):
        for seed, (name, condition) in enumerate(conditions.items()):
            for split, part in by_split.items():
                answers = make_answers(part, name, condition, seed)
                schemas.write(answers, f"out/evaluate/{name}/{split}.parquet", schemas.ANSWER)
        for seed, (name, setting) in enumerate(study_config.distill.settings.items(), 100):
            for split in ("analysis", "test"):
                answers = make_answers(by_split[split], name, conditions[setting.student], seed)
                schemas.write(answers, f"out/evaluate_students/{name}/{split}.parquet", schemas.ANSWER)
    from synesthesia.data import clip_batches
    from synesthesia.distillation import routing
    from synesthesia.distillation.targets import make_targets
    from synesthesia.evaluation import resume
    from synesthesia.pipeline import measure_gap, report

    finetune = by_split["finetune"]
    with print_time("before evaluation: fingerprint of the questions"):
        resume.fingerprint(finetune.to_pylist())
    with print_time("before evaluation: locate clips, format prompts"):
        clip_batches.locate_clips(clips, finetune["clip_id"].to_pylist())
        [prompt.format_prompt(options) for options in finetune["options"].to_pylist()]
    with print_time("gap"):
        measure_gap.measure_gap(study_config)
    visual_better = dict.fromkeys(frequencies, True)
    finetune_clips = [clip for clip in clips.to_pylist() if clip["split"] == "finetune"]
    with print_time("route"):
        probabilities = {clip["clip_id"]: 0.7 for clip in finetune_clips}
        routes = routing.route_clips(finetune_clips, visual_better, probabilities, study_config.route)
        schemas.write(schemas.from_rows(routes, schemas.ROUTE, "route"), "out/route/route.parquet", schemas.ROUTE)
    with print_time("distillation targets"):
        teacher_answers, student_answers = (
            schemas.read(f"out/evaluate/{name}/finetune.parquet", schemas.ANSWER)
            for name in ("qwen2-vl", "qwen2-audio")
        )
        closed = {route["clip_id"]: route["visual_teaches"] for route in routes}
        setting = study_config.distill.settings["visual-to-audio-kl"]
        make_targets(finetune, setting, closed, teacher_answers, student_answers)
    del finetune_clips, routes, teacher_answers, student_answers
    with print_time("report, 2,000 bootstrap samples"):
        report.write_report(study_config)


if __name__ == "__main__":
    main()
