"""The label gap: on which labels does the visual model beat the audio model? (paper section 3.2 and Figure 1)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from synesthesia import schemas, stats

TIE_TOLERANCE = 0.10  # accuracies that differ by at most this much tie in Figure 1; the paper gives no value


def compute_label_gap(
    questions: pd.DataFrame, audio_answers: pd.DataFrame, visual_answers: pd.DataFrame
) -> pd.DataFrame:
    """Compute per-label accuracies of the audio and the visual model.

    The label of a question is its correct option. An unparseable answer is wrong. `visual_better` is strict: a tie
    counts as "audio at least as good", as in the paper (226 of 286 labels).

    Args:
        questions: Questions of one split (schemas.QUESTION).
        audio_answers: The audio model's answers (schemas.ANSWER), one per question.
        visual_answers: The visual model's answers (schemas.ANSWER), one per question.

    Returns:
        One row per label in alphabetical order, columns as in schemas.GAP.

    Raises:
        SchemaError: A question has no answer or two of them; a gap of unequal question sets would be meaningless.
    """
    frame: Any = pd.DataFrame(
        {
            "label": [options[t] for options, t in zip(questions["options"], questions["target"], strict=True)],
            "target": questions["target"].to_numpy(),
        },
        index=pd.Index(questions["question_id"]),
    )
    for modality, answers in (("audio", audio_answers), ("visual", visual_answers)):
        choice = answers.set_index("question_id")["choice"]
        if choice.index.has_duplicates:
            duplicate = choice.index[choice.index.duplicated()][0]
            raise schemas.SchemaError(f"the {modality} model answered question {duplicate} twice")
        missing = frame.index.difference(choice.index)
        if len(missing):
            raise schemas.SchemaError(
                f"the {modality} model answered {len(frame) - len(missing)} of {len(frame)} analysis questions, "
                f"not {missing[0]}: run the stage evaluate for it again"
            )
        frame[modality] = stats.is_correct(choice.loc[frame.index].astype(float), frame["target"])
    by_label: Any = frame.groupby("label", sort=True)
    return pd.DataFrame(
        {
            "n_clips": by_label.size(),
            "audio_accuracy": by_label["audio"].mean(),
            "visual_accuracy": by_label["visual"].mean(),
            "visual_better": by_label["visual"].sum() > by_label["audio"].sum(),
        }
    ).reset_index()


def summarize_gap(gap: pd.DataFrame) -> dict[str, float]:
    """Summarize a label gap as metrics.

    Args:
        gap: One row per label (schemas.GAP).

    Returns:
        Number of labels, number and fraction of labels where the visual model is better, and both models' accuracies
        over all clips, in [0, 1].
    """
    columns: dict[str, Any] = {name: gap[name] for name in gap.columns}
    num_clips = int(columns["n_clips"].sum())
    return {
        "labels": len(gap),
        "visual_better_labels": int(columns["visual_better"].sum()),
        "visual_better_fraction": float(columns["visual_better"].mean()),
        "audio_accuracy": float((columns["audio_accuracy"] * columns["n_clips"]).sum() / num_clips),
        "visual_accuracy": float((columns["visual_accuracy"] * columns["n_clips"]).sum() / num_clips),
    }


def group_labels(accuracy: pd.DataFrame, max_labels: int) -> dict[str, list[str]]:
    """Group labels by gap as in the three rows of Figure 1.

    Args:
        accuracy: Columns label, audio and visual; accuracies in [0, 1].
        max_labels: Maximum number of labels per group.

    Returns:
        Disjoint lists of labels. "Tie" (gap of at most TIE_TOLERANCE): smallest gap first, then highest accuracy.
        "Audio better" and "Visual better": largest gap first.
    """
    frame: Any = accuracy.assign(
        gap=accuracy["visual"] - accuracy["audio"], accuracy_sum=accuracy["visual"] + accuracy["audio"]
    )
    tie = frame[frame["gap"].abs() <= TIE_TOLERANCE + 1e-9]
    audio_better = frame[frame["gap"] < -TIE_TOLERANCE - 1e-9]
    visual_better = frame[frame["gap"] > TIE_TOLERANCE + 1e-9]
    tie = tie.assign(distance=tie["gap"].abs()).sort_values(
        ["distance", "accuracy_sum", "label"], ascending=[True, False, True]
    )
    return {
        "Tie": list(tie["label"][:max_labels]),
        "Audio better": list(audio_better.sort_values(["gap", "label"])["label"][:max_labels]),
        "Visual better": list(
            visual_better.sort_values(["gap", "label"], ascending=[False, True])["label"][:max_labels]
        ),
    }
