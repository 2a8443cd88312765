"""Accuracies on the test clips whose label can truly be heard, seen, or both, after VGGSounder (Zverev et al. 2025).

VGGSounder annotates VGGSound's test clips anew: several labels a clip, each audible (A), visible (V) or both (AV), and
whether there is background music. Its annotations come with the package `vggsounder` (`pip install -e .[vggsounder]`);
without it, and for clips that it does not have (those of the embedded world), there is no such table.
"""

from __future__ import annotations

import importlib.util
from functools import cache

import pandas as pd

from synesthesia import stats
from synesthesia.analysis.results import Results

SLICE_TITLES = {
    "annotated": "all annotated",
    "heard": "label can be heard",
    "seen": "label can be seen",
    "both": "heard and seen",
    "heard_only": "heard, not seen",
    "seen_only": "seen, not heard",
    "heard_without_music": "heard, no background music",
    "without_music": "no background music",
    "unconfirmed": "label not confirmed",
}


@cache
def annotations() -> pd.DataFrame | None:
    """One row a clip and label: clip_id, label (VGGSound's name), modality (A, V or AV), music; None without it."""
    if importlib.util.find_spec("vggsounder") is None:
        return None
    from vggsounder import VGGSounder

    rows = [
        (video.video_id, label, modality.upper(), video.meta_labels["background_music"])
        for video in VGGSounder(background_music=None)  # its default leaves out every clip with music
        for label, modality in zip(video.labels, video.modalities, strict=True)
    ]
    return pd.DataFrame(rows, columns=["clip_id", "label", "modality", "music"])


def assign_slices(results: Results) -> pd.DataFrame | None:
    """Test questions that VGGSounder annotates: index question_id, one bool column a slice; None without any."""
    annotated = annotations()
    if annotated is None:
        return None
    test = results.questions[results.questions["split"] == "test"]
    music = annotated.groupby("clip_id")["music"].first()
    test = test[test["clip_id"].isin(music.index)]
    if test.empty:
        return None
    names = results.config.curate.display_names
    shown = annotated.assign(label=annotated["label"].map(lambda name: names.get(name, name)))
    modality = shown.drop_duplicates(["clip_id", "label"]).set_index(["clip_id", "label"])["modality"]
    keys = pd.MultiIndex.from_arrays([test["clip_id"], test["label"]])
    found = modality.reindex(keys).fillna("").to_numpy(str)
    quiet = ~music.loc[test["clip_id"]].to_numpy(bool)
    heard, seen = [pd.Series(found).str.contains(sense).to_numpy() for sense in "AV"]
    slices = {
        "annotated": heard | ~heard,
        "heard": heard,
        "seen": seen,
        "both": heard & seen,
        "heard_only": heard & ~seen,
        "seen_only": seen & ~heard,
        "heard_without_music": heard & quiet,
        "without_music": quiet,
        "unconfirmed": found == "",
    }
    return pd.DataFrame(slices, index=test.index)


def build_slice_table(results: Results) -> pd.DataFrame:
    """Each respondent's accuracy on each slice with Wilson's interval; no rows where nothing is annotated.

    Columns: respondent, title, slice, slice_title, clips, accuracy, accuracy_low, accuracy_high.
    """
    columns = ["respondent", "title", "slice", "slice_title", "clips", "accuracy", "accuracy_low", "accuracy_high"]
    belongs = assign_slices(results)
    rows = []
    for person in results.respondents if belongs is not None else ():
        answers = results.get_answers(person.key, "test")
        answers = answers[answers["question_id"].isin(belongs.index)]
        mine = belongs.loc[answers["question_id"]]
        for name, title in SLICE_TITLES.items():
            right = answers["correct"].to_numpy()[mine[name].to_numpy()]
            if len(right):
                share = stats.wilson(int(right.sum()), len(right), results.config.report.confidence)
                rows.append((person.key, person.title, name, title, len(right), *_interval_values(share)))
    return pd.DataFrame(rows, columns=columns)


def _interval_values(interval: stats.Interval) -> tuple[float, float, float]:
    return interval.estimate, interval.low, interval.high
