"""Everything that the report speaks about, read once: a `Study`. What is absent or wrong becomes a sentence in `notes`.

The clips and the questions must be there (TableError otherwise); any other file may be missing, and the report then
says which and goes on with the rest. Accuracies are over answers, in [0, 1].
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from synesthesia import schemas, stats
from synesthesia.config import Config, DistillSetting
from synesthesia.evaluation.csv_import import is_simulated
from synesthesia.questions.sampling import parse_letter

OUT = Path("out")
EMPTY_ANSWERS = pd.DataFrame(columns=["question_id", "choice", "correct", "label", "video_id", "answer"]).astype(
    {"correct": bool}
)
CONDITION_MODALITY = {"audio": "audio", "silent_video": "visual", "sounded_video": "audio-visual"}


@dataclass(frozen=True)
class Respondent:
    """Somebody who answered: `kind` is model, setting (a distilled student), human or file (not here either)."""

    key: str
    title: str
    modality: str  # audio, visual, audio-visual
    kind: str
    setting: DistillSetting | None = None


@dataclass
class Results:
    """The tables of a study as data frames.

    `questions`: one row a question, index question_id: clip_id, video_id, split, label (the true option), answer,
    options. `answers`: by (respondent, split), one row an answer: question_id, choice (nan: unparseable), correct,
    and the question's label, video_id and answer. `letters`: per respondent (answers with logits and text, of which
    the text names another letter, of which it names none). `judgements`: of each respondent who answered elsewhere, as
    tables.JUDGEMENT, with label, video_id, split, answer and correct.
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

    @property
    def has_simulated_responses(self) -> bool:
        """Whether judgements of participants whom a program made up are among those reported."""
        return any(is_simulated(frame["participant"], key) for key, frame in self.responses.items())

    def get_answers(self, respondent: str, split: str) -> pd.DataFrame:
        """The answers of one respondent on one split; empty where there are none."""
        return self.answers.get((respondent, split), EMPTY_ANSWERS)

    def pair_answers(self, split: str, *respondents: str) -> pd.DataFrame | None:
        """Right or wrong of several respondents on the questions all of them answered: [questions, respondents].

        Index question_id, one bool column a respondent and video_id, label; None where no question is shared.
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
        """How a respondent is named on the page; its key where it never answered."""
        return next((r.title for r in self.respondents if r.key == key), key)

    def find_default_setting(self, student: str) -> str | None:
        """The paper's default for this student: the first setting with the teacher's labels and anti-forgetting."""
        return self._setting(student, "teacher", kl=False, anti_forgetting=True)

    def find_upper_bound_setting(self, student: str) -> str | None:
        """The first setting that teaches this student with the ground truth."""
        return self._setting(student, "ground_truth")

    def _setting(self, student: str, labels: str, **criteria: bool) -> str | None:
        for name, setting in self.config.distill.settings.items():
            same = all(getattr(setting, key) == value for key, value in criteria.items())
            if setting.student == student and setting.labels == labels and same:
                return name
        return None


class _Reader:
    """Reads the optional files, collecting a sentence for each that is missing or wrong."""

    def __init__(self, questions: pd.DataFrame):
        self.questions, self.notes = questions, []

    def read_table(self, path: Path, schema: pa.Schema) -> pd.DataFrame | None:
        try:
            return schemas.read(path, schema).to_pandas()
        except schemas.SchemaError as error:
            self.notes.append(f"Left out: {error}.")
            return None

    def read_answers(
        self, path: Path, split: str, respondent: str, condition: str, expect_complete: bool
    ) -> pd.DataFrame | None:
        """Answers of one file; `whole`: somebody of whom an answer to every question of the split is expected."""
        frame = self.read_table(path, schemas.ANSWER)
        if frame is None:
            return None
        strangers = sorted(set(frame["respondent"]) - {respondent})
        if strangers:
            self.notes.append(f"{path}: {len(strangers)} other respondents ({strangers[0]!r}, ...) are left out.")
        frame = frame[(frame["respondent"] == respondent) & (frame["condition"] == condition)]
        asked = self.questions.index[self.questions["split"] == split]
        known = frame["question_id"].isin(asked)
        if not known.all():
            self.notes.append(f"{path}: {int((~known).sum())} answers to questions not in {split} are left out.")
        frame = frame[known]
        if expect_complete and len(frame) < len(asked):
            self.notes.append(f"{path}: only {len(frame)} of {len(asked)} questions of {split} are answered.")
        return self._join_questions(frame)

    def read_responses(self, path: Path) -> pd.DataFrame | None:
        """Judgements of one respondent who answered elsewhere; those about other questions are left out."""
        frame = self.read_table(path, schemas.RESPONSE)
        return None if frame is None else self._join_questions(frame[frame["question_id"].isin(self.questions.index)])

    def _join_questions(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.join(self.questions[["split", "label", "video_id", "answer", "options"]], on="question_id")
        return frame.assign(correct=stats.is_correct(frame["choice"], frame["answer"]))


def _count_letter_agreement(frame: pd.DataFrame, respondent: str) -> dict:
    """How often the generated text names another letter than the likeliest of the letter logits."""
    both = frame[frame["letter_logits"].notna() & frame["text"].notna()]
    other = unreadable = 0
    for logits, text, options in zip(both["letter_logits"], both["text"], both["options"], strict=True):
        said = schemas.LETTERS.find(text) if len(text) == 1 else -1  # the usual answer, at a hundredth of the price
        if not 0 <= said < len(options) or min(map(len, options)) < 2:
            said = parse_letter(text, list(options))
        unreadable += said is None
        other += said is not None and said != int(np.argmax(logits))
    return {"respondent": respondent, "answers": len(both), "another_letter": other, "no_letter": unreadable}


def _list_respondents(config: Config, out_dir: Path) -> list[tuple[Respondent, Path, str | None, tuple[str, ...]]]:
    """Respondents in the order of Table 1 (a model, its students, those from files), each with folder and splits."""
    people = []
    for name, model in config.models.items():
        person = Respondent(name, model.title, model.role, "model")
        people.append((person, out_dir / "answer" / name, model.condition, tuple(model.splits)))
        for key, setting in config.distill.settings.items():
            if setting.student == name:
                teacher = config.get_respondent(setting.teacher).title
                title = f"{model.title} distilled from {teacher}: {setting.title}"
                person = Respondent(key, title, model.role, "setting", setting)
                splits = ("analysis", "test", "unseen") if "unseen" in model.splits else ("analysis", "test")
                people.append((person, out_dir / "examine" / key, model.condition, splits))
    for name, given in config.import_answers.respondents.items():
        person = Respondent(name, given.title, CONDITION_MODALITY[given.condition], "human" if given.human else "file")
        folder = out_dir / "answer" / name
        splits = tuple(split for split in schemas.SPLITS if (folder / f"{split}.parquet").exists())
        people.append((person, folder, given.condition, splits))
    return people


def load_results(config: Config, out_dir: Path = OUT) -> Results:
    """Read a study's outs; TableError where clips or questions cannot be read, notes for all else."""
    clips = schemas.read(out_dir / "curate/clips.parquet", schemas.CLIP).to_pandas().set_index("clip_id")
    questions = schemas.read(out_dir / "ask/questions.parquet", schemas.QUESTION).to_pandas().set_index("question_id")
    unknown = questions.index[~questions["clip_id"].isin(clips.index)]
    if len(unknown):
        raise schemas.SchemaError(
            f"{out_dir}/ask/questions.parquet: no clip for question {unknown[0]}; run `dvc repro`"
        )
    truth = [options[answer] for options, answer in zip(questions["options"], questions["answer"], strict=True)]
    questions["label"] = pd.Series(truth, index=questions.index, dtype=object)
    questions["video_id"] = clips.loc[questions["clip_id"], "video_id"].to_numpy()
    reader = _Reader(questions)
    respondents, answers, letters = [], [], []
    have = set(questions["split"])
    judged = {}
    for person, folder, condition, splits in _list_respondents(config, out_dir):
        whole = person.kind != "human"
        mine = [
            frame
            for split in splits
            if split in have
            and (frame := reader.read_answers(folder / f"{split}.parquet", split, person.key, condition, whole))
            is not None
        ]
        if mine:
            respondents.append(person)
            letters.append(_count_letter_agreement(pd.concat(mine), person.key))
            answers += mine
        if mine and person.kind in ("human", "file"):
            frame = reader.read_responses(out_dir / "collect" / person.key / "judgements.parquet")
            judged |= {} if frame is None else {person.key: frame}
    for split in ("analysis", "test", "unseen"):
        if split not in have:
            reader.notes.append(f"No question belongs to the {split} split, so nothing is said about it.")
    frames: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for frame in answers:
        for key, part in frame.groupby(["respondent", "split"]):
            frames.setdefault(key, []).append(part[EMPTY_ANSWERS.columns].astype({"choice": float}))
    columns = ["respondent", "answers", "another_letter", "no_letter"]
    return Results(
        config=config,
        questions=questions,
        answers={key: pd.concat(parts, ignore_index=True) for key, parts in frames.items()},
        respondents=respondents,
        letter_agreement=pd.DataFrame(letters, columns=columns),
        gap=reader.read_table(out_dir / "gap/gap.parquet", schemas.GAP),
        route=_add_label(reader.read_table(out_dir / "route/route.parquet", schemas.ROUTE), clips, reader),
        switch_predictions=_read_switch_predictions(out_dir / "switch/predictions.parquet", clips, reader),
        switch_history=_read_switch_history(out_dir / "switch/history.csv"),
        rejected=reader.read_table(out_dir / "curate/damaged.parquet", schemas.REJECTED),
        curate_counts=_read_curate_counts(out_dir / "curate/counts.json", reader),
        responses=judged,
        notes=reader.notes,
    )


def _add_label(frame: pd.DataFrame | None, clips: pd.DataFrame, reader: _Reader) -> pd.DataFrame | None:
    if frame is None:
        return None
    known = frame["clip_id"].isin(clips.index)
    if not known.all():
        reader.notes.append(f"out/route: {int((~known).sum())} clips that curate does not know are left out.")
    frame = frame[known]
    return frame.assign(label=[labels[0] for labels in clips.loc[frame["clip_id"], "labels"]])


def _read_switch_predictions(path: Path, clips: pd.DataFrame, reader: _Reader) -> pd.DataFrame | None:
    """The switch's predictions: clip_id, label, visual_better_probability [0, 1], target bool, part, video_id."""
    needed = ["clip_id", "label", "visual_better_probability", "target", "part"]
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError:
        reader.notes.append(f"Left out: {path} is missing: run `dvc repro` (or the stage that writes it) first.")
        return None
    except (pa.ArrowInvalid, OSError) as error:
        reader.notes.append(f"Left out: {path} is not a table: {error}.")
        return None
    absent = [column for column in needed if column not in frame.columns]
    if absent or frame[needed].isna().any().any():
        reader.notes.append(f"Left out: {path} lacks {', '.join(absent) or 'some values'}.")
        return None
    frame = frame[frame["clip_id"].isin(clips.index)]
    videos = clips.loc[frame["clip_id"], "video_id"].to_numpy()
    return frame.assign(video_id=videos, target=frame["target"].astype(bool))


def _read_switch_history(path: Path) -> pd.DataFrame | None:
    try:
        frame = pd.read_csv(path)
    except (FileNotFoundError, pd.errors.EmptyDataError, pd.errors.ParserError):
        return None
    return frame if "epoch" in frame and len(frame) else None


def _read_curate_counts(path: Path, reader: _Reader) -> dict:
    try:
        counts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        reader.notes.append(f"Left out: {path} is missing.")
        return {}
    except ValueError as error:
        reader.notes.append(f"Left out: {path} is not JSON: {error}.")
        return {}
    return counts if isinstance(counts, dict) else {}
