"""Sentences of the page that depend on the results: counts, significance and how humans are compared."""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import pandas as pd

from synesthesia.analysis import human_tables, published
from synesthesia.analysis.results import Results
from synesthesia.distillation.gap import TIE_TOLERANCE


def describe_gap(results: Results) -> str:
    """Describe on how many labels each modality is better.

    Args:
        results: The study's results.

    Returns:
        One sentence; it says so where the gap is missing.
    """
    if results.gap is None or results.gap.empty:
        return "The gap has not been measured."
    n_visual, n_labels = int(results.gap["visual_better"].sum()), len(results.gap)
    facts = published.load_facts()
    return (
        f"The visual model is better on {n_visual} of {n_labels} labels (the paper: "
        f"{facts['visual_better_labels']:.0f} of {facts['labels']:.0f}); on the other {n_labels - n_visual} the audio "
        "model is at least as good."
    )


def describe_label_gains(label_table: pd.DataFrame) -> str:
    """Describe on how many labels distillation changes the accuracy significantly.

    Args:
        label_table: Result of `tables.build_label_table`.

    Returns:
        One or two sentences; empty where there is no label.
    """
    if label_table.empty:
        return ""
    tested = label_table[(label_table["split"] == "analysis") & label_table["gain_p_holm"].notna()]
    significant = tested["gain_p_holm"] < 0.05
    n_improved = int((significant & (tested["gain"] > 0)).sum())
    n_worsened = int((significant & (tested["gain"] < 0)).sum())
    text = (
        f"Tested one by one, {n_improved} of {len(tested)} labels improve significantly after distillation and "
        f"{n_worsened} worsen (McNemar's test, Holm-corrected over the labels, p < 0.05)."
    )
    unseen = set(label_table.loc[label_table["split"] == "unseen", "label"])
    shared = unseen & set(label_table.loc[label_table["split"] == "analysis", "label"])
    if shared:
        text += f" {len(shared)} labels of the unseen split occur in training, so Figure 3 excludes them."
    return text


def describe_humans(results: Results, tables: dict[str, pd.DataFrame]) -> list[str]:
    """Describe how the humans' labels are selected and which responses count.

    Args:
        results: The study's results.
        tables: Result of `human_tables.build_human_tables`.

    Returns:
        Two paragraphs.
    """
    split, labels = human_tables.get_human_split(results), human_tables.get_human_labels(results)
    import_config, human_study = results.config.import_answers, results.config.human_study
    if human_study.labels:
        selection = (
            f"Humans answered {len(labels)} labels, on {split} clips: those of human_study.labels. If they were "
            "selected by the gap: "
        )
    else:
        selection = (
            f"Humans answered {len(labels)} labels, on {split} clips. The browser study selects labels by the models' "
            "accuracy on the analysis clips alone, independently of humans: up to "
            f"{human_study.labels_per_group} where the two models of the gap tie (at most "
            f"{100 * TIE_TOLERANCE:.0f} points apart), and up to as many each where one of them leads most. "
        )
    warning = (
        "Labels with an extreme gap are in part selected by chance: measured again, the models' gap on them is smaller "
        "(regression to the mean), and the wider range makes a correlation higher than over random labels. The gap on "
        "test clips, which selects nothing, is therefore reported as well."
    )
    aggregation = {
        "random": "A clip with several responses counts once, with one response drawn at random.",
        "majority": "A clip with several responses counts once, with the option chosen most often.",
    }[import_config.aggregation]
    frame = tables["responses"]
    n_responses = int(frame["n_inattentive_responses"].sum()) if len(frame) else 0
    participants = {p for f in results.responses.values() for p in f["participant"][f["inattentive"].astype(bool)]}
    noun = "participant" if len(participants) == 1 else "participants"
    treatment = "excluded" if import_config.inattentive == "drop" else "included (import_answers.inattentive)"
    exclusion = (
        f"{n_responses} responses of {len(participants)} {noun} marked inattentive by the study's rules are "
        f"{treatment}."
    )
    return [selection + warning, f"{aggregation} {exclusion}"]
