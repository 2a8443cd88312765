"""A made-up study for tests: all tables the report reads, with chosen accuracies, in a folder, within a second.

Answers are drawn from one seed: each respondent knows each label with a chosen probability, so gaps, gains and the
switch's quality are known in advance up to chance.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from synesthesia import config, schemas, stats
from tests.helpers.preset_files import embedded

ALWAYS, NEVER = 1.0, 0.0


def parameters(**report) -> config.Config:
    """The embedded study's parameters, with fewer bootstrap samples."""
    given = embedded()
    changed = given.report.model_copy(update={"bootstrap_samples": 200} | report)
    return given.model_copy(update={"report": changed})


class Maker:
    """Writes a study below `out`; call `write` once. Attributes may be changed before."""

    def __init__(
        self, out: Path, given: config.Config, labels: int = 12, clips: int = 6, unseen: int = 4, seed: int = 1
    ):
        self.out, self.params, self.clips_a_label = out, given, clips
        self.random = np.random.default_rng(seed)
        self.labels = [f"label {i:02d} playing loudly" for i in range(labels)]
        self.unseen = [f"strange thing {i}" for i in range(unseen)]
        third = max(labels // 3, 1)
        heard_badly, seen_badly = set(self.labels[:third]), set(self.labels[third : third + third // 2])
        self.knows = {
            "audio": {x: 0.3 if x in heard_badly else 0.88 for x in self.labels} | dict.fromkeys(self.unseen, 0.6),
            "visual": {x: 0.55 if x in seen_badly else 0.93 for x in self.labels} | dict.fromkeys(self.unseen, 0.8),
            "audio-visual": dict.fromkeys(self.labels + self.unseen, 0.94),
            "distilled": dict.fromkeys(self.labels, 0.92) | dict.fromkeys(self.unseen, 0.72),
            "ground_truth": dict.fromkeys(self.labels, 0.97) | dict.fromkeys(self.unseen, 0.75),
        }
        self.unparseable = 0.02

    def write(self) -> None:
        """All tables of the study."""
        self.write_clips()
        for name, model in self.params.models.items():
            for split in model.splits:
                self.answers(f"evaluate/{name}", split, name, model.condition, self.knows[model.role])
        for name, setting in self.params.distill.settings.items():
            knows = self.knows["ground_truth" if setting.labels == "ground_truth" else "distilled"]
            for split in ("analysis", "test", "unseen"):
                self.answers(f"evaluate_students/{name}", split, name, self.params.models[setting.student].condition, knows)
        self.write_switch()

    def write_clips(self) -> None:
        """Clips and questions; two clips share a video now and then."""
        clips, questions = [], []
        for split in schemas.SPLITS:
            for number, label in enumerate(self.unseen if split == "unseen" else self.labels):
                for index in range(self.clips_a_label):
                    stem = f"{split}-{number}-{index // 2 if index < 4 else index}"
                    clip = {"clip_id": f"{stem}_{index:06d}", "video_id": stem, "labels": [label], "split": split}
                    clip |= {"dataset": "audioset" if split == "unseen" else "vggsound", "shard": 0, "row": len(clips)}
                    clips.append(clip)
                    answer = int(self.random.integers(10))
                    options = [f"other {i}" for i in range(10)]
                    options[answer] = label
                    questions.append({"question_id": f"q-{clip['clip_id']}", "clip_id": clip["clip_id"], "split": split,
                                      "options": options, "target": answer})  # fmt: skip
        self.clips, self.questions = pd.DataFrame(clips), pd.DataFrame(questions)
        self._parquet(clips, schemas.CLIP, "curate/clips.parquet")
        self._parquet(questions, schemas.QUESTION, "make_questions/questions.parquet")
        damaged = [{"file": f"vggsound/x{i}.mp4", "reason": reason, "detail": "moov atom not found", "bytes": i}
                   for i, reason in enumerate(["truncated", "truncated", "no audio"])]  # fmt: skip
        self._parquet(damaged, schemas.REJECTED, "curate/rejected.parquet")
        (self.out / "curate/counts.json").write_text(json.dumps({"clips": len(clips), "damaged": {"truncated": 2}}))

    def answers(self, folder: str, split: str, respondent: str, condition: str, knows: dict[str, float]) -> None:
        """One respondent's answers to one split: right with the label's probability, now and then unparseable."""
        rows = []
        for question in self.questions[self.questions["split"] == split].to_dict("records"):
            label = question["options"][question["target"]]
            choice = question["target"]
            if self.random.random() >= knows[label]:
                choice = int((choice + self.random.integers(1, 10)) % 10)
            logits = self.random.normal(size=10).astype(np.float32)
            logits[choice] += 9
            lost = self.random.random() < self.unparseable
            text = "I cannot tell" if lost else schemas.LETTERS[choice]
            row = {"question_id": question["question_id"], "respondent": respondent, "condition": condition}
            rows.append(row | {"choice": None if lost else choice, "letter_logits": logits.tolist(), "text": text})
        self._parquet(rows, schemas.ANSWER, f"{folder}/{split}.parquet")

    def write_switch(self, quality: float = 0.9) -> None:
        """Gap, the switch's predictions (true with probability `quality`), its history, and the route."""
        gaps, truth = [], {}
        for label in self.labels:
            right = {s: self._accuracy(getattr(self.params.measure_gap, s), label) for s in ("audio", "visual")}
            truth[label] = right["visual"] > right["audio"]
            gaps.append({"label": label, "n_clips": self.clips_a_label, "audio_accuracy": right["audio"],
                         "visual_accuracy": right["visual"], "visual_better": bool(truth[label])})  # fmt: skip
        self._parquet(gaps, schemas.GAP, "measure_gap/gap.parquet")
        rows, routes = [], []
        for clip in self.clips.to_dict("records"):
            if clip["split"] not in ("finetune", "analysis"):
                continue
            target = bool(truth[clip["labels"][0]])
            believed = target if self.random.random() < quality else not target
            probability = float(np.clip(self.random.normal(0.78 if believed else 0.22, 0.12), 0.001, 0.999))
            part = "finetune" if clip["split"] == "finetune" else ("validation" if clip["row"] % 3 == 0 else "train")
            row = {"clip_id": clip["clip_id"], "split": clip["split"], "label": clip["labels"][0], "part": part}
            rows.append(row | {"visual_better_probability": np.float32(probability), "target": target})
            if part == "finetune":
                routes.append({"clip_id": clip["clip_id"], "visual_better_probability": probability,
                               "visual_teaches": probability >= 0.5, "audio_teaches": probability < 0.5})  # fmt: skip
        self._parquet(routes, schemas.ROUTE, "route/route.parquet")
        (self.out / "train_switch").mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_parquet(self.out / "train_switch/predictions.parquet")
        epochs = np.arange(1, 13)
        history = {"epoch": epochs, "train_loss": 0.7 / epochs, "validation_loss": 0.72 / epochs**0.8,
                   "validation_balanced_accuracy": 1 - 0.4 / epochs}  # fmt: skip
        pd.DataFrame(history).to_csv(self.out / "train_switch/history.csv", index=False)

    def _accuracy(self, model: str, label: str) -> float:
        answers = pd.read_parquet(self.out / f"evaluate/{model}/analysis.parquet").merge(self.questions, on="question_id")
        mine = answers[[o[a] == label for o, a in zip(answers["options"], answers["target"], strict=True)]]
        return float(stats.is_correct(mine["choice"].to_numpy(float), mine["target"].to_numpy()).mean())

    def _parquet(self, rows: list[dict], schema: pa.Schema, name: str) -> None:
        schemas.write(schemas.from_rows(rows, schema, name), self.out / name, schema)
