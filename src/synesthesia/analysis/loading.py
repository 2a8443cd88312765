"""Load the stages' outputs as `Results`, the report's only input.

Clips and questions are required (SchemaError otherwise). Any other file may be missing or invalid: the report then
skips it and says so in `Results.notes`.
"""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from synesthesia import schemas, stats
from synesthesia.analysis.results import EMPTY_ANSWERS, LETTER_AGREEMENT_COLUMNS, Respondent, Results
from synesthesia.config import Config
from synesthesia.questions.parsing import parse_letter

OUT = Path("out")
CONDITION_MODALITY = {"audio": "audio", "silent_video": "visual", "sounded_video": "audio-visual"}


class _Reader:
    """Read optional files and collect a note for each that is missing or invalid."""

    def __init__(self, questions: pd.DataFrame) -> None:
        self.questions, self.notes = questions, []

    def read_table(self, path: Path, schema: pa.Schema) -> pd.DataFrame | None:
        try:
            return schemas.read(path, schema).to_pandas()
        except schemas.SchemaError as error:
            self.notes.append(f"Skipped: {error}.")
            return None

    def read_answers(
        self, path: Path, split: str, respondent: str, condition: str | None, expect_complete: bool
    ) -> pd.DataFrame | None:
        """Read one file of answers; with `expect_complete`, note unanswered questions of the split."""
        frame = self.read_table(path, schemas.ANSWER)
        if frame is None:
            return None
        other_respondents = sorted(set(frame["respondent"]) - {respondent})
        if other_respondents:
            self.notes.append(
                f"{path}: skipped answers of {len(other_respondents)} other respondents "
                f"(first: {other_respondents[0]!r})."
            )
        frame = frame[(frame["respondent"] == respondent) & (frame["condition"] == condition)]
        split_questions = self.questions.index[self.questions["split"] == split]
        in_split = frame["question_id"].isin(split_questions)
        if not in_split.all():
            self.notes.append(f"{path}: skipped {int((~in_split).sum())} answers to questions not in {split}.")
        frame = frame[in_split]
        if expect_complete and len(frame) < len(split_questions):
            self.notes.append(f"{path}: only {len(frame)} of {len(split_questions)} questions of {split} are answered.")
        return self._join_questions(frame)

    def read_responses(self, path: Path) -> pd.DataFrame | None:
        """Read the responses of one respondent from a file; those to unknown questions are skipped."""
        frame = self.read_table(path, schemas.RESPONSE)
        return None if frame is None else self._join_questions(frame[frame["question_id"].isin(self.questions.index)])

    def _join_questions(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.join(self.questions[["split", "label", "video_id", "target", "options"]], on="question_id")
        return frame.assign(correct=stats.is_correct(frame["choice"], frame["target"]))


def count_letter_agreement(frame: pd.DataFrame, respondent: str) -> dict:
    """Count how often the generated text agrees with the letter of the highest logit.

    Args:
        frame: Answers with letter_logits, text and options.
        respondent: Respondent's key.

    Returns:
        One row of `Results.letter_agreement`.
    """
    comparable = frame[frame["letter_logits"].notna() & frame["text"].notna()]
    n_different = n_unparseable = 0
    for logits, text, options in zip(
        comparable["letter_logits"], comparable["text"], comparable["options"], strict=True
    ):
        choice = schemas.LETTERS.find(text) if len(text) == 1 else -1  # the usual answer, 100 times faster than parsing
        if not 0 <= choice < len(options) or min(map(len, options)) < 2:
            choice = parse_letter(text, list(options))
        n_unparseable += choice is None
        n_different += choice is not None and choice != int(np.argmax(logits))
    values = (respondent, len(comparable), n_different, n_unparseable)
    return dict(zip(LETTER_AGREEMENT_COLUMNS, values, strict=True))


def _list_respondents(config: Config, out_dir: Path) -> list[tuple[Respondent, Path, str | None, tuple[str, ...]]]:
    """List respondents in the order of Table 1 (model, its students, files), each with folder, condition and splits."""
    entries = []
    for name, model in config.models.items():
        respondent = Respondent(name, model.title, model.role, "model")
        entries.append((respondent, out_dir / "evaluate" / name, model.condition, tuple(model.splits)))
        for key, setting in config.distill.settings.items():
            if setting.student == name:
                teacher = config.get_respondent(setting.teacher).title
                title = f"{model.title} distilled from {teacher}: {setting.title}"
                respondent = Respondent(key, title, model.role, "setting", setting)
                splits = ("analysis", "test", "unseen") if "unseen" in model.splits else ("analysis", "test")
                entries.append((respondent, out_dir / "evaluate_students" / key, model.condition, splits))
    for name, entry in config.import_answers.respondents.items():
        kind = "human" if entry.human else "file"
        folder = out_dir / "evaluate" / name
        splits = tuple(split for split in schemas.SPLITS if (folder / f"{split}.parquet").exists())
        respondent = Respondent(name, entry.title, CONDITION_MODALITY[entry.condition], kind)
        entries.append((respondent, folder, entry.condition, splits))
    return entries


def load_results(config: Config, out_dir: Path = OUT) -> Results:
    """Load a study's outputs.

    Args:
        config: The study's configuration.
        out_dir: Folder of the stages' outputs.

    Returns:
        The results, with notes on what is missing or skipped.

    Raises:
        SchemaError: Clips or questions are missing or invalid.
    """
    clips = schemas.read(out_dir / "curate/clips.parquet", schemas.CLIP).to_pandas().set_index("clip_id")
    questions_path = out_dir / "make_questions/questions.parquet"
    questions = schemas.read(questions_path, schemas.QUESTION).to_pandas().set_index("question_id")
    unmatched = questions.index[~questions["clip_id"].isin(clips.index)]
    if len(unmatched):
        raise schemas.SchemaError(f"{questions_path}: no clip for question {unmatched[0]}; run `dvc repro`")
    labels = [options[target] for options, target in zip(questions["options"], questions["target"], strict=True)]
    questions["label"] = pd.Series(labels, index=questions.index, dtype=object)
    questions["video_id"] = clips.loc[questions["clip_id"], "video_id"].to_numpy()
    reader = _Reader(questions)
    respondents, answers, letter_agreement, responses = [], [], [], {}
    available_splits = set(questions["split"])
    for respondent, folder, condition, splits in _list_respondents(config, out_dir):
        frames = [
            reader.read_answers(
                folder / f"{split}.parquet",
                split,
                respondent.key,
                condition,
                expect_complete=respondent.kind != "human",
            )
            for split in splits
            if split in available_splits
        ]
        frames = [frame for frame in frames if frame is not None]
        if not frames:
            continue
        respondents.append(respondent)
        letter_agreement.append(count_letter_agreement(pd.concat(frames), respondent.key))
        answers += frames
        if respondent.kind in ("human", "file"):
            frame = reader.read_responses(out_dir / "import_answers" / respondent.key / "responses.parquet")
            responses |= {} if frame is None else {respondent.key: frame}
    for split in ("analysis", "test", "unseen"):
        if split not in available_splits:
            reader.notes.append(f"There are no questions of the {split} split, so it is not reported.")
    frames_by_key: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for frame in answers:
        for key, part in frame.groupby(["respondent", "split"]):
            frames_by_key.setdefault(key, []).append(part[EMPTY_ANSWERS.columns].astype({"choice": float}))
    return Results(
        config=config,
        questions=questions,
        answers={key: pd.concat(parts, ignore_index=True) for key, parts in frames_by_key.items()},
        respondents=respondents,
        letter_agreement=pd.DataFrame(letter_agreement, columns=LETTER_AGREEMENT_COLUMNS),
        gap=reader.read_table(out_dir / "measure_gap/gap.parquet", schemas.GAP),
        route=_add_label(reader.read_table(out_dir / "route/route.parquet", schemas.ROUTE), clips, reader),
        switch_predictions=_read_switch_predictions(out_dir / "train_switch/predictions.parquet", clips, reader),
        switch_history=_read_switch_history(out_dir / "train_switch/history.csv"),
        rejected=reader.read_table(out_dir / "curate/rejected.parquet", schemas.REJECTED),
        curate_counts=_read_curate_counts(out_dir / "curate/counts.json", reader),
        responses=responses,
        notes=reader.notes,
    )


def _add_label(frame: pd.DataFrame | None, clips: pd.DataFrame, reader: _Reader) -> pd.DataFrame | None:
    if frame is None:
        return None
    has_clip = frame["clip_id"].isin(clips.index)
    if not has_clip.all():
        reader.notes.append(f"out/route: skipped {int((~has_clip).sum())} clips that are not in out/curate.")
    known = frame[has_clip]
    return known.assign(label=[labels[0] for labels in clips.loc[known["clip_id"], "labels"]])


def _read_switch_predictions(path: Path, clips: pd.DataFrame, reader: _Reader) -> pd.DataFrame | None:
    required = ["clip_id", "label", "visual_better_probability", "target", "part"]
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError:
        reader.notes.append(f"Skipped: {path} is missing: run `dvc repro` (or the stage that writes it) first.")
        return None
    except (pa.ArrowInvalid, OSError) as error:
        reader.notes.append(f"Skipped: {path} is not a Parquet table: {error}.")
        return None
    missing = [column for column in required if column not in frame.columns]
    if missing or frame[required].isna().any().any():
        reader.notes.append(f"Skipped: {path} lacks {', '.join(missing) or 'some values'}.")
        return None
    frame = frame[frame["clip_id"].isin(clips.index)]
    videos = clips.loc[frame["clip_id"], "video_id"].to_numpy()
    return frame.assign(video_id=videos, target=frame["target"].astype(bool))


def _read_switch_history(path: Path) -> pd.DataFrame | None:
    try:
        frame = pd.read_csv(path)
    except (FileNotFoundError, ValueError):  # empty, not a table, not UTF-8
        return None
    return frame if "epoch" in frame and len(frame) else None


def _read_curate_counts(path: Path, reader: _Reader) -> dict:
    try:
        counts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        reader.notes.append(f"Skipped: {path} is missing.")
        return {}
    except ValueError as error:
        reader.notes.append(f"Skipped: {path} is not JSON: {error}.")
        return {}
    return counts if isinstance(counts, dict) else {}
