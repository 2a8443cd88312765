"""Results of a study: the stages' outputs as data frames, and lookups that tables and figures share.

Accuracies are over answers, in [0, 1].
"""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass, field, replace

import pandas as pd

from synesthesia.config import Config, DistillSetting
from synesthesia.evaluation.csv_import import is_simulated

EMPTY_ANSWERS = pd.DataFrame(columns=["question_id", "choice", "correct", "label", "video_id", "target"]).astype(
    {"correct": bool}
)
LETTER_AGREEMENT_COLUMNS = ["respondent", "n_answers", "n_different_letter", "n_no_letter"]


@dataclass(frozen=True)
class Respondent:
    """A model, distilled student or human group whose answers the report evaluates.

    Attributes:
        key: Name in params.yaml and in the tables.
        title: Name on the page.
        modality: "audio", "visual" or "audio-visual".
        kind: "model", "setting" (a distilled student), "human" or "file" (answers from a file, not human).
        setting: Distillation setting of a student, else None.
    """

    key: str
    title: str
    modality: str
    kind: str
    setting: DistillSetting | None = None


def _make_titles_unique(entries: list[tuple[str, str]]) -> list[str]:
    """Add the key to titles that occur more than once; replace control characters, which no file format prints."""
    titles = ["".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in title) for _, title in entries]
    while len(set(titles)) < len(titles):
        counts = Counter(titles)
        titles = [f"{t} ({key})" if counts[t] > 1 else t for t, (key, _) in zip(titles, entries, strict=True)]
    return titles


@dataclass
class Results:
    """Outputs of a study as data frames; an optional output is None (or empty) where it is missing.

    Attributes:
        config: The study's configuration.
        questions: One row per question, index question_id: clip_id, video_id, split, label (the true option), target,
            options.
        answers: By (respondent, split), one row per answer: question_id, choice (nan: unparseable), correct, and the
            question's label, video_id and target.
        respondents: Respondents with at least one file of answers, in the order of Table 1; no two have one title.
        letter_agreement: One row per respondent: answers with both letter logits and text, and how many of their texts
            name a different letter or none. Columns LETTER_AGREEMENT_COLUMNS.
        gap: Per-label accuracies of both modalities (schemas.GAP).
        route: Routes of the finetune clips (schemas.ROUTE) with their label.
        switch_predictions: The switch's predictions: clip_id, label, video_id, visual_better_probability in [0, 1],
            target (bool), part.
        switch_history: The switch's training history by epoch.
        rejected: Files rejected by curate (schemas.REJECTED).
        curate_counts: Counts of out/curate/counts.json.
        responses: By respondent whose answers come from a file: schemas.RESPONSE with label, video_id, split, target
            and correct.
        notes: Sentences on what is missing or skipped, for the page.
    """

    config: Config
    questions: pd.DataFrame
    answers: dict[tuple[str, str], pd.DataFrame]
    respondents: list[Respondent]
    letter_agreement: pd.DataFrame
    gap: pd.DataFrame | None
    route: pd.DataFrame | None
    switch_predictions: pd.DataFrame | None
    switch_history: pd.DataFrame | None
    rejected: pd.DataFrame | None
    curate_counts: dict
    responses: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Tell respondents of equal titles apart by their keys."""
        titles = _make_titles_unique([(r.key, r.title) for r in self.respondents])
        self.respondents = [
            r if title == r.title else replace(r, title=title)
            for r, title in zip(self.respondents, titles, strict=True)
        ]

    @property
    def has_simulated_responses(self) -> bool:
        """Whether any responses in the report come from simulated participants."""
        return any(is_simulated(frame["participant"], key) for key, frame in self.responses.items())

    def get_answers(self, respondent: str, split: str) -> pd.DataFrame:
        """Get the answers of one respondent on one split.

        Args:
            respondent: Respondent's key.
            split: Split, as in schemas.SPLITS.

        Returns:
            One row per answer; empty where there is none.
        """
        return self.answers.get((respondent, split), EMPTY_ANSWERS)

    def pair_answers(self, split: str, *respondents: str) -> pd.DataFrame | None:
        """Join the correctness of several respondents on the questions that all of them answered.

        Args:
            split: Split, as in schemas.SPLITS.
            *respondents: Respondents' keys.

        Returns:
            Index question_id; one bool column per respondent, and video_id and label. None where no question is shared
            or a respondent answered a question twice.
        """
        parts = [
            self.get_answers(r, split).set_index("question_id")["correct"].rename(r) for r in dict.fromkeys(respondents)
        ]
        if any(part.index.has_duplicates for part in parts):
            return None
        frame = pd.concat(parts, axis=1, join="inner").astype(bool).sort_index()
        if frame.empty:
            return None
        return frame.join(self.questions[["video_id", "label"]])

    def get_title(self, key: str) -> str:
        """Get the name of a respondent on the page.

        Args:
            key: Respondent's key.

        Returns:
            The title; the key itself for a respondent without answers.
        """
        return next((r.title for r in self.respondents if r.key == key), key)

    def get_setting_titles(self) -> dict[str, str]:
        """Get the titles of distillation settings; those of one student differ.

        Returns:
            Titles by the setting's key, of students with answers.
        """
        settings = [(r.key, r.setting) for r in self.respondents if r.setting is not None]
        titles: dict[str, str] = {}
        for student in dict.fromkeys(setting.student for _, setting in settings):
            entries = [(key, setting.title) for key, setting in settings if setting.student == student]
            titles |= {key: t for (key, _), t in zip(entries, _make_titles_unique(entries), strict=True)}
        return titles

    def find_default_setting(self, student: str) -> str | None:
        """Find the paper's default setting of a student: teacher labels with the anti-forgetting loss.

        Args:
            student: Key of the student's model.

        Returns:
            Key of the first such setting, or None.
        """
        return self._find_setting(student, "teacher", kl=False, anti_forgetting=True)

    def find_upper_bound_setting(self, student: str) -> str | None:
        """Find the upper bound of a student: training on ground-truth labels.

        Args:
            student: Key of the student's model.

        Returns:
            Key of the first such setting, or None.
        """
        return self._find_setting(student, "ground_truth")

    def _find_setting(self, student: str, labels: str, **criteria: bool) -> str | None:
        for name, setting in self.config.distill.settings.items():
            matches = all(getattr(setting, key) == value for key, value in criteria.items())
            if setting.student == student and setting.labels == labels and matches:
                return name
        return None
