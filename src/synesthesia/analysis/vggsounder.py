"""Accuracy on test clips whose label is audible, visible or both, according to VGGSounder (Zverev et al. 2025).

VGGSounder re-annotates VGGSound's test clips: several labels per clip, each audible (A), visible (V) or both (AV), and
whether there is background music. The annotations come with the package `vggsounder` (`pip install -e .[vggsounder]`);
without it, and for clips that it does not annotate (those of the embedded study), the table is empty.
"""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import importlib.util
from functools import cache

import pandas as pd

from synesthesia import stats
from synesthesia.analysis.results import Results

SLICE_TITLES = {
    "annotated": "all annotated",
    "audible": "label audible",
    "visible": "label visible",
    "audible_and_visible": "label audible and visible",
    "audible_only": "label audible, not visible",
    "visible_only": "label visible, not audible",
    "audible_without_music": "label audible, no background music",
    "without_music": "no background music",
    "unconfirmed": "label not confirmed",
}


@cache
def load_annotations() -> pd.DataFrame | None:
    """Load VGGSounder's annotations.

    Returns:
        One row per clip and label: clip_id, label (VGGSound's name), modality (A, V or AV), music (bool); None where
        the package is not installed.
    """
    if importlib.util.find_spec("vggsounder") is None:
        return None
    from vggsounder import VGGSounder

    rows = [
        (video.video_id, label, modality.upper(), video.meta_labels["background_music"])
        for video in VGGSounder(background_music=None)  # the default excludes every clip with music
        for label, modality in zip(video.labels, video.modalities, strict=True)
    ]
    return pd.DataFrame(rows, columns=["clip_id", "label", "modality", "music"])


def assign_slices(results: Results) -> pd.DataFrame | None:
    """Assign the annotated test questions to slices.

    Args:
        results: The study's results.

    Returns:
        Index question_id, one bool column per slice of SLICE_TITLES; None where no test clip is annotated.
    """
    annotations = load_annotations()
    if annotations is None:
        return None
    questions = results.questions[results.questions["split"] == "test"]
    music = annotations.groupby("clip_id")["music"].first()
    questions = questions[questions["clip_id"].isin(music.index)]
    if questions.empty:
        return None
    display_names = results.config.curate.display_names
    annotations = annotations.assign(label=[display_names.get(name, name) for name in annotations["label"]])
    modality = annotations.drop_duplicates(["clip_id", "label"]).set_index(["clip_id", "label"])["modality"]
    keys = pd.MultiIndex.from_arrays([questions["clip_id"], questions["label"]])
    label_modality = modality.reindex(keys).fillna("").to_numpy(str)
    has_music = music.loc[questions["clip_id"]].to_numpy(bool)
    audible, visible = [pd.Series(label_modality).str.contains(letter).to_numpy() for letter in "AV"]
    slices = {
        "annotated": audible | ~audible,
        "audible": audible,
        "visible": visible,
        "audible_and_visible": audible & visible,
        "audible_only": audible & ~visible,
        "visible_only": visible & ~audible,
        "audible_without_music": audible & ~has_music,
        "without_music": ~has_music,
        "unconfirmed": label_modality == "",
    }
    return pd.DataFrame(slices, index=questions.index)


def build_slice_table(results: Results) -> pd.DataFrame:
    """Build the table of accuracies per respondent and slice.

    Args:
        results: The study's results.

    Returns:
        respondent, title, slice, slice_title, n_clips, accuracy with its Wilson interval (accuracy_low, accuracy_high);
        no rows where no test clip is annotated.
    """
    columns = ["respondent", "title", "slice", "slice_title", "n_clips", "accuracy", "accuracy_low", "accuracy_high"]
    slices = assign_slices(results)
    if slices is None:
        return pd.DataFrame(columns=columns)
    rows = []
    for respondent in results.respondents:
        answers = results.get_answers(respondent.key, "test")
        answers = answers[answers["question_id"].isin(slices.index)]
        in_slice = slices.loc[answers["question_id"]]
        for name, title in SLICE_TITLES.items():
            correct = answers["correct"].to_numpy()[in_slice[name].to_numpy()]
            if len(correct):
                interval = stats.wilson(int(correct.sum()), len(correct), results.config.report.confidence)
                values = (interval.estimate, interval.low, interval.high)
                rows.append((respondent.key, respondent.title, name, title, len(correct), *values))
    return pd.DataFrame(rows, columns=columns)
