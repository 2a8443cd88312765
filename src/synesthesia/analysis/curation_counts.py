"""From the list as published to the study: labels and clips left after each rule, the paper's own numbers below."""

from __future__ import annotations

import pandas as pd

from synesthesia.analysis import published as paper
from synesthesia.analysis.results import Results

RULE_TITLES = {
    "as_listed": "as listed",
    "one_row_a_clip": "each clip once, contradictions put aside",
    "one_name_a_label": "labels that list several names left out",
    "no_tested_video_in_train": "train clips of tested videos left out",
}
COLUMNS = ["what", "labels", "train_clips", "test_clips"]


def build_curation_table(results: Results) -> pd.DataFrame:
    """VGGSound's labels, train and test clips after each rule of curate; empty where nothing was counted.

    "usable" are the clips that were there and could be decoded; train is finetune and analysis together.
    """
    counted = results.curate_counts.get("vggsound")
    counted = counted.get("rules") if isinstance(counted, dict) else None
    if not isinstance(counted, dict) or not counted:
        return pd.DataFrame(columns=COLUMNS)
    rows = [{"what": RULE_TITLES.get(rule, rule), **numbers} for rule, numbers in counted.items()]
    trained = results.questions["split"].isin(["finetune", "analysis"])
    tested = results.questions["split"] == "test"
    usable = {"labels": results.questions.loc[trained | tested, "label"].nunique(), "train_clips": int(trained.sum())}
    rows.append({"what": "usable: there, and decoded", **usable, "test_clips": int(tested.sum())})
    published = {name: int(paper.load_facts()[name]) for name in COLUMNS[1:]}
    return pd.DataFrame([*rows, {"what": "the paper", **published}], columns=COLUMNS)
