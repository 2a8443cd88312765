"""Label by label: do eyes or ears know better? (paper section 3.2)

Each label's accuracy over its analysis clips, for the audio and the visual model of `gap`. Eyes are better where
they are strictly better; a tie counts as "audio at least as good", as in the paper (226 of 286 labels).
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from synesthesia import schemas, stats, tracking
from synesthesia.config import Config
from synesthesia.pipeline import stage_cli

OUTPUT_DIR = Path("out/gap")


def compute_label_gap(
    questions: pd.DataFrame, audio_answers: pd.DataFrame, visual_answers: pd.DataFrame
) -> pd.DataFrame:
    """One row a label, in alphabetical order, as tables.GAP says; a question's label is its true option.

    `questions` are those of one split (QUESTION), `audio` and `visual` the two models' answers (ANSWER), one each.
    Raises TableError where a question lacks an answer, since a gap of unequal questions would be no gap.
    """
    truth = pd.DataFrame(
        {
            "label": [o[a] for o, a in zip(questions["options"], questions["answer"], strict=True)],
            "answer": questions["answer"].to_numpy(),
        },
        index=questions["question_id"],
    )
    for sense, answers in (("audio", audio_answers), ("visual", visual_answers)):
        choice = answers.set_index("question_id")["choice"]
        if choice.index.has_duplicates:
            twice = choice.index[choice.index.duplicated()][0]
            raise schemas.SchemaError(f"the {sense} model answered question {twice} twice")
        absent = truth.index.difference(choice.index)
        if len(absent):
            raise schemas.SchemaError(
                f"the {sense} model answered {len(truth) - len(absent)} of {len(truth)} analysis questions, "
                f"not {absent[0]}: run the stage answer for it again"
            )
        truth[sense] = stats.is_correct(choice.loc[truth.index].astype(float), truth["answer"])
    groups = truth.groupby("label", sort=True)
    return pd.DataFrame(
        {
            "clips": groups.size(),
            "audio_accuracy": groups["audio"].mean(),
            "visual_accuracy": groups["visual"].mean(),
            "visual_better": groups["visual"].sum() > groups["audio"].sum(),
        }
    ).reset_index()


def run(config: Config) -> None:
    """Write out/gap/gap.parquet and out/gap/metrics.json from the two models' answers on the analysis clips."""
    with tracking.start_run("gap") as session:
        measure_gap(config)
        session.finish(build_record(config, None))


def build_record(config: Config, item: str | None) -> tracking.Record | None:
    """What this stage tells MLflow, from its outs alone."""
    if not (OUTPUT_DIR / "metrics.json").exists() or not (OUTPUT_DIR / "gap.parquet").exists():
        return None
    return tracking.Record(
        stage="gap",
        parameters=tracking.flatten(config.measure_gap),
        metrics=json.loads((OUTPUT_DIR / "metrics.json").read_text(encoding="utf-8")),
        artifacts=[OUTPUT_DIR / "gap.parquet"],
        inputs=[
            f"out/answer/{config.measure_gap.audio}",
            f"out/answer/{config.measure_gap.visual}",
            "out/ask/questions.parquet",
        ],
    )


def measure_gap(config: Config) -> None:
    """The work itself."""
    clips = schemas.read("out/curate/clips.parquet", schemas.CLIP).to_pandas()
    questions = schemas.read("out/ask/questions.parquet", schemas.QUESTION).to_pandas()
    questions = questions[questions["split"] == "analysis"]
    if questions.empty:
        raise schemas.SchemaError("out/ask/questions.parquet has no analysis question, so there is no gap to measure")
    strangers = questions["clip_id"][~questions["clip_id"].isin(clips["clip_id"][clips["split"] == "analysis"])]
    if len(strangers):
        raise schemas.SchemaError(
            f"out/ask/questions.parquet: {strangers.iloc[0]} is no analysis clip; run the stage ask"
        )

    def answers(model: str) -> pd.DataFrame:
        return schemas.read(f"out/answer/{model}/analysis.parquet", schemas.ANSWER).to_pandas()

    gap = compute_label_gap(questions, answers(config.measure_gap.audio), answers(config.measure_gap.visual))
    schemas.write(schemas.from_rows(gap.to_dict("records"), schemas.GAP, "gap"), "out/gap/gap.parquet", schemas.GAP)
    clips_in_all = int(gap["clips"].sum())
    metrics = {
        "labels": len(gap),
        "visual_better_labels": int(gap["visual_better"].sum()),
        "visual_better_share": float(gap["visual_better"].mean()),
        "audio_accuracy": float((gap["audio_accuracy"] * gap["clips"]).sum() / clips_in_all),
        "visual_accuracy": float((gap["visual_accuracy"] * gap["clips"]).sum() / clips_in_all),
    }
    (OUTPUT_DIR / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    stage_cli.main(run, __doc__)
