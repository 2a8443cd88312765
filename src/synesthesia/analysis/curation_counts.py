"""From the published list to the study: labels and clips after each curation step, and the paper's counts."""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false

from __future__ import annotations

import pandas as pd

from synesthesia.analysis import published
from synesthesia.analysis.results import Results

STEP_TITLES = {
    "published": "as published",
    "deduplicated": "one row per clip, contradictory rows excluded",
    "single_name_labels": "without labels that list several names",
    "train_without_test_videos": "without train clips of test videos",
}
COLUMNS = ["description", "labels", "train_clips", "test_clips"]


def build_curation_table(results: Results) -> pd.DataFrame:
    """Count VGGSound's labels, train and test clips after each curation step.

    The row "usable" counts the clips that exist and decode; train is finetune and analysis together.

    Args:
        results: The study's results.

    Returns:
        One row per step in the order of application, then "usable" and the paper's counts; columns COLUMNS. Empty
        where out/curate/counts.json has no steps.
    """
    vggsound_counts = results.curate_counts.get("vggsound")
    steps = vggsound_counts.get("curation_steps") if isinstance(vggsound_counts, dict) else None
    if not isinstance(steps, dict) or not steps:
        return pd.DataFrame(columns=COLUMNS)
    rows = [{"description": STEP_TITLES.get(step, step), **counts} for step, counts in steps.items()]
    is_train = results.questions["split"].isin(["finetune", "analysis"])
    is_test = results.questions["split"] == "test"
    rows.append(
        {
            "description": "usable: exists and decodes",
            "labels": results.questions.loc[is_train | is_test, "label"].nunique(),
            "train_clips": int(is_train.sum()),
            "test_clips": int(is_test.sum()),
        }
    )
    paper_counts = {name: int(published.load_facts()[name]) for name in COLUMNS[1:]}
    return pd.DataFrame([*rows, {"description": "the paper", **paper_counts}], columns=COLUMNS)
