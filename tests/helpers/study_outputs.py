"""Synthetic outputs of a study: all tables that the report reads, with specified accuracies, written within a second.

Answers are drawn from one seed. Each respondent has a specified accuracy per label, so gaps, gains, and the accuracy of
the switch are known in advance up to sampling error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from synesthesia import schemas, stats
from synesthesia.config import Config
from tests.helpers.preset_files import embedded

NUM_OPTIONS = 10


def make_config(**report: Any) -> Config:
    """Return the embedded configuration with fewer bootstrap samples.

    Args:
        **report: Values of the block `report`.
    """
    config = embedded()
    return config.model_copy(update={"report": config.report.model_copy(update={"bootstrap_samples": 200} | report)})


class StudyWriter:
    """Write the outputs of a study; call `write` once. Attributes may be changed before.

    Attributes:
        out: Folder of the outputs.
        config: The study's configuration.
        labels: Labels of the finetune, analysis and test clips.
        unseen_labels: Labels of the unseen clips.
        accuracy: Probability of a correct answer by role (of a model or of a student's training labels) and label.
        unparseable: Probability of an unparseable answer.
        clips: Table of clips, after `write_clips`.
        questions: Table of questions, after `write_clips`.
    """

    clips: pd.DataFrame
    questions: pd.DataFrame

    def __init__(
        self, out: Path, config: Config, labels: int = 12, clips: int = 6, unseen: int = 4, seed: int = 1
    ) -> None:
        """Choose labels and accuracies.

        Args:
            out: Folder of the outputs.
            config: The study's configuration.
            labels: Number of labels.
            clips: Number of clips per label and split.
            unseen: Number of labels of the unseen split.
            seed: Seed of all draws.
        """
        self.out, self.config, self.clips_per_label = out, config, clips
        self.rng = np.random.default_rng(seed)
        self.labels = [f"label {i:02d} playing loudly" for i in range(labels)]
        self.unseen_labels = [f"strange thing {i}" for i in range(unseen)]
        third = max(labels // 3, 1)
        hard_audio, hard_visual = set(self.labels[:third]), set(self.labels[third : third + third // 2])
        audio = {label: 0.3 if label in hard_audio else 0.88 for label in self.labels}
        visual = {label: 0.55 if label in hard_visual else 0.93 for label in self.labels}
        self.accuracy = {
            "audio": audio | dict.fromkeys(self.unseen_labels, 0.6),
            "visual": visual | dict.fromkeys(self.unseen_labels, 0.8),
            "audio-visual": dict.fromkeys(self.labels + self.unseen_labels, 0.94),
            "distilled": dict.fromkeys(self.labels, 0.92) | dict.fromkeys(self.unseen_labels, 0.72),
            "ground_truth": dict.fromkeys(self.labels, 0.97) | dict.fromkeys(self.unseen_labels, 0.75),
        }
        self.unparseable = 0.02

    def write(self) -> None:
        """Write all tables of the study."""
        self.write_clips()
        for name, model in self.config.models.items():
            for split in model.splits:
                self.write_answers(f"evaluate/{name}", split, name, model.condition, self.accuracy[model.role])
        for name, setting in self.config.distill.settings.items():
            accuracy = self.accuracy["ground_truth" if setting.labels == "ground_truth" else "distilled"]
            condition = self.config.models[setting.student].condition
            for split in ("analysis", "test", "unseen"):
                self.write_answers(f"evaluate_students/{name}", split, name, condition, accuracy)
        self.write_switch()

    def write_clips(self) -> None:
        """Write clips and questions; some clips share a video."""
        clips, questions = [], []
        for split in schemas.SPLITS:
            for number, label in enumerate(self.unseen_labels if split == "unseen" else self.labels):
                for index in range(self.clips_per_label):
                    video_id = f"{split}-{number}-{index // 2 if index < 4 else index}"
                    clip = {"clip_id": f"{video_id}_{index:06d}", "video_id": video_id, "labels": [label]}
                    clip |= {"split": split, "dataset": "audioset" if split == "unseen" else "vggsound"}
                    clips.append(clip | {"shard": 0, "row": len(clips)})
                    target = int(self.rng.integers(NUM_OPTIONS))
                    options = [f"other {i}" for i in range(NUM_OPTIONS)]
                    options[target] = label
                    question = {"question_id": f"q-{clip['clip_id']}", "clip_id": clip["clip_id"], "split": split}
                    questions.append(question | {"options": options, "target": target})
        self.clips, self.questions = pd.DataFrame(clips), pd.DataFrame(questions)
        self.write_table(clips, schemas.CLIP, "curate/clips.parquet")
        self.write_table(questions, schemas.QUESTION, "make_questions/questions.parquet")
        rejected = [
            {"file": f"vggsound/x{i}.mp4", "reason": reason, "detail": "moov atom not found", "bytes": i}
            for i, reason in enumerate(["truncated", "truncated", "no audio"])
        ]
        self.write_table(rejected, schemas.REJECTED, "curate/rejected.parquet")
        counts = {"clips": len(clips), "rejected": {"truncated": 2}}
        (self.out / "curate/counts.json").write_text(json.dumps(counts))

    def write_answers(
        self, folder: str, split: str, respondent: str, condition: str, accuracy: dict[str, float]
    ) -> None:
        """Write one respondent's answers to one split.

        Args:
            folder: Folder below `out`.
            split: Split, as in schemas.SPLITS.
            respondent: Respondent's key.
            condition: Condition, as in schemas.CONDITIONS.
            accuracy: Probability of a correct answer by label.
        """
        rows = []
        for question in self.questions[self.questions["split"] == split].to_dict("records"):
            choice = question["target"]
            if self.rng.random() >= accuracy[question["options"][choice]]:
                choice = int((choice + self.rng.integers(1, NUM_OPTIONS)) % NUM_OPTIONS)
            logits = self.rng.normal(size=NUM_OPTIONS).astype(np.float32)
            logits[choice] += 9
            is_unparseable = self.rng.random() < self.unparseable
            text = "I cannot tell" if is_unparseable else schemas.LETTERS[choice]
            row = {"question_id": question["question_id"], "respondent": respondent, "condition": condition}
            row |= {"choice": None if is_unparseable else choice, "letter_logits": logits.tolist(), "text": text}
            rows.append(row)
        self.write_table(rows, schemas.ANSWER, f"{folder}/{split}.parquet")

    def write_switch(self, accuracy: float = 0.9) -> None:
        """Write the gap, the switch's predictions and history, and the routes.

        Args:
            accuracy: Probability that the switch's prediction is correct.
        """
        gaps, targets = [], {}
        for label in self.labels:
            audio = self._measure_accuracy(self.config.measure_gap.audio, label)
            visual = self._measure_accuracy(self.config.measure_gap.visual, label)
            targets[label] = bool(visual > audio)
            gap = {"label": label, "n_clips": self.clips_per_label, "audio_accuracy": audio, "visual_accuracy": visual}
            gaps.append(gap | {"visual_better": targets[label]})
        self.write_table(gaps, schemas.GAP, "measure_gap/gap.parquet")
        predictions, routes = [], []
        for clip in self.clips.to_dict("records"):
            if clip["split"] not in ("finetune", "analysis"):
                continue
            target = targets[clip["labels"][0]]
            predicted = target if self.rng.random() < accuracy else not target
            probability = float(np.clip(self.rng.normal(0.78 if predicted else 0.22, 0.12), 0.001, 0.999))
            part = "finetune" if clip["split"] == "finetune" else ("validation" if clip["row"] % 3 == 0 else "train")
            row = {"clip_id": clip["clip_id"], "split": clip["split"], "label": clip["labels"][0], "part": part}
            row |= {"visual_better_probability": np.float32(probability), "target": target}
            predictions.append(row)
            if part == "finetune":
                route = {"clip_id": clip["clip_id"], "visual_better_probability": probability}
                routes.append(route | {"visual_teaches": probability >= 0.5, "audio_teaches": probability < 0.5})
        self.write_table(routes, schemas.ROUTE, "route/route.parquet")
        (self.out / "train_switch").mkdir(parents=True, exist_ok=True)
        pd.DataFrame(predictions).to_parquet(self.out / "train_switch/predictions.parquet")
        epochs = np.arange(1, 13)
        history = {"epoch": epochs, "train_loss": 0.7 / epochs, "validation_loss": 0.72 / epochs**0.8}
        history |= {"validation_balanced_accuracy": 1 - 0.4 / epochs}
        pd.DataFrame(history).to_csv(self.out / "train_switch/history.csv", index=False)

    def write_table(self, rows: list[dict], schema: pa.Schema, name: str) -> None:
        """Write rows as a checked Parquet table.

        Args:
            rows: Rows.
            schema: Schema of the table.
            name: Path below `out`.
        """
        schemas.write(schemas.from_rows(rows, schema, name), self.out / name, schema)

    def _measure_accuracy(self, model: str, label: str) -> float:
        path = self.out / f"evaluate/{model}/analysis.parquet"
        answers = pd.read_parquet(path).merge(self.questions, on="question_id")
        has_label = [options[t] == label for options, t in zip(answers["options"], answers["target"], strict=True)]
        answers = answers[has_label]
        return float(stats.is_correct(answers["choice"].to_numpy(float), answers["target"].to_numpy()).mean())
