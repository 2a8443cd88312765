"""Typed parameters: `params.yaml` in, frozen objects out.

DVC accepts a mistyped key or an impossible value silently (dvc #5477), so every stage reads its parameters through
`load`, which refuses them with the key's full name and what is allowed. Imports nothing heavy: `make check` and every
stage's first tenth of a second run this.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[float, Field(gt=0)]
Condition = Literal["audio", "silent_video", "sounded_video"]


class Block(BaseModel):
    """A block of parameters: no unknown keys, no silent conversion from text to number, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(Block):
    """Where the raw clips and their lists lie (paper section 3.1)."""

    vggsound_list: str
    vggsound_clips: str
    audioset_list: str | None
    audioset_labels: str | None
    audioset_clips: str | None

    @model_validator(mode="after")
    def _audioset_whole_or_absent(self):
        three = (self.audioset_list, self.audioset_labels, self.audioset_clips)
        if any(three) and not all(three):
            raise ValueError("audioset_list, audioset_labels and audioset_clips belong together: all three or none")
        return self


class Curate(Block):
    """From raw files to clean clips (section 3.1)."""

    seed: Seed
    drop_labels_with_several_names: bool
    display_names: dict[str, str]
    analysis_clips_a_label: Count
    rate: Literal[16000]
    seconds: Positive
    shortest_seconds: Positive
    frames_per_second: Positive
    largest_pixels: Annotated[int, Field(ge=28 * 28)]
    jpeg_quality: Annotated[int, Field(ge=1, le=100)]
    shard_clips: Count
    engine: Literal["processes", "ray"]


class Ask(Block):
    """The ten-option question (section 3.1)."""

    seed: Seed
    options: Annotated[int, Field(ge=2, le=10)]
    distractors: Literal["frequency", "uniform"]


class Model(Block):
    """One LLM that answers."""

    title: str
    family: str
    checkpoint: str
    condition: Condition
    precision: Literal["float32", "bfloat16"] | None = None  # of weights that are loaded here
    remote_code: bool = False  # whether code that comes with the checkpoint, or a package for it, may run
    compile: bool = False
    batch_clips: Count
    role: Literal["audio", "visual", "audio-visual"]
    splits: Annotated[list[Literal["finetune", "analysis", "test", "unseen"]], Field(min_length=1)]


class Answer(Block):
    """How an answer is read."""

    read: Literal["letter_logits", "text"]
    likeliest_tokens: Annotated[int, Field(ge=0, le=1000)]  # how many of the vocabulary's logits are kept; 0: letters'


class Elsewhere(Block):
    """A respondent who answered elsewhere: its CSV (`synesthesia.evaluation.csv_import`) and through which sense it answered."""

    title: str
    file: str
    condition: Condition
    human: bool


class Collect(Block):
    """Answers out of files, and how several judgements of one question become one answer."""

    seed: Seed
    several: Literal["draw", "majority"]
    careless: Literal["leave_out", "keep"]
    respondents: dict[str, Elsewhere]


class Gap(Block):
    """Which two respondents make the gap (section 3.2)."""

    audio: str
    visual: str


class Switch(Block):
    """The PANN-based switch (section 4.2)."""

    seed: Seed
    checkpoint: str
    validation_clips_a_label: Count
    epochs: Count
    batch_clips: Count
    learning_rate: Positive
    warmup: Share
    balance_classes: bool


class Route(Block):
    """Who teaches on which clip (section 4.1); anything but `learned` is a control."""

    mode: Literal["learned", "always", "never", "random", "true_gap"]
    threshold: Share
    seed: Seed


class Lora(Block):
    """LoRA; the paper says only rank 16 (section 4.3), the rest is left open there."""

    rank: Count
    alpha: Positive
    dropout: Share
    target_modules: str


class Training(Block):
    """The distillation's optimisation (section 4.3)."""

    seed: Seed
    epochs: Positive
    effective_batch: Count
    micro_batch: Count | None  # None: the largest that fits, on a GPU
    checkpoint_minutes: Positive
    learning_rate: Positive
    warmup: Share
    weight_decay: Annotated[float, Field(ge=0)]
    clip_gradient_norm: Positive
    temperature: Positive
    kl_weight: Positive
    kl_over: Literal["letters", "likeliest_tokens"]

    @model_validator(mode="after")
    def _divides(self):
        if self.micro_batch and self.effective_batch % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} must divide effective_batch {self.effective_batch}")
        return self


class Setting(Block):
    """One row of Table 2 (or its other direction)."""

    title: str
    teacher: str
    student: str
    labels: Literal["teacher", "ground_truth", "none"]
    kl: bool
    anti_forgetting: bool

    @model_validator(mode="after")
    def _teaches_something(self):
        if self.labels == "none" and not self.kl:
            raise ValueError("labels: none needs kl: true, or nothing would be taught")
        if self.labels == "ground_truth" and self.kl:
            raise ValueError("labels: ground_truth is the upper bound and goes without kl")
        return self


class Distill(Block):
    """Cross-modal distillation: shared optimisation and the settings to compare."""

    lora: Lora
    training: Training
    settings: Annotated[dict[str, Setting], Field(min_length=1)]


class Report(Block):
    """Statistics of the report and the bounds that CI guards."""

    seed: Seed
    bootstrap_samples: Annotated[int, Field(ge=100)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    labels_a_regime: Count
    compare: Gap | None  # whose gap stands beside that of `gap`, on the labels that both have answered
    bounds: dict[str, float]


class Careless(Block):
    """When a participant counts as careless: any one of the rules is enough. The paper states none."""

    failed_checks: Count
    fast_seconds: Positive
    fast_share: Share
    same_letter_in_a_row: Annotated[int, Field(ge=2)]


class Study(Block):
    """The browser study for humans (section 3.2; what the paper leaves open is said in params.yaml)."""

    seed: Seed
    split: Literal["analysis", "test"]
    labels: Annotated[list[str], Field(min_length=1)] | None
    labels_a_regime: Count
    clips_a_label: Count | None
    judgements: Count
    trials: Annotated[int, Field(ge=3, le=300)]
    practice: Annotated[int, Field(ge=0, le=12)]
    attention_checks: Annotated[int, Field(ge=0, le=6)]
    replays: Annotated[int, Field(ge=0, le=20)]
    headphones: Literal["off", "ask", "require"]
    sound: Literal["flac", "aac"]
    late_after_hours: Positive
    consent: str
    contact: str
    retention: str
    completion_code: str | None
    completion_link: str | None
    requests_a_minute: Count
    joins_an_hour: Count
    careless: Careless
    slow_median_seconds: Positive

    @model_validator(mode="after")
    def _three_equal_blocks(self):
        if self.trials % 3:
            raise ValueError(f"trials: {self.trials} cannot be three blocks of equal length, one a condition")
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: one of them is named twice")
        if self.completion_link is not None and not self.completion_link.startswith("https://"):
            raise ValueError("completion_link: must begin with https://")
        return self


class Params(Block):
    """All of `params.yaml`."""

    size: Literal["embedded", "paper"]
    data: Data
    curate: Curate
    ask: Ask
    models: Annotated[dict[str, Model], Field(min_length=1)]
    answer: Answer
    collect: Collect
    gap: Gap
    switch: Switch
    route: Route
    distill: Distill
    report: Report
    study: Study

    def respondent(self, name: str) -> Model | Elsewhere:
        """The entry of a respondent who is no distilled student; KeyError where there is none."""
        return self.models[name] if name in self.models else self.collect.respondents[name]

    @model_validator(mode="after")
    def _names_meet(self):
        blocks = {
            "models": self.models,
            "collect.respondents": self.collect.respondents,
            "distill.settings": self.distill.settings,
        }
        taken: dict[str, str] = {}
        for block, names in blocks.items():
            for name in names:
                if name in taken:
                    raise ValueError(f"{block}: {name!r} is the name of one of {taken[name]}; choose another")
                taken[name] = block
                if not re.fullmatch(r"[\w-]+", name, re.ASCII):
                    raise ValueError(f"{block}: {name!r} is no name: use letters, digits, - and _ (DVC splits at dots)")

        everybody = {**self.models, **self.collect.respondents}

        def known(key: str, name: str, names: dict = everybody) -> None:
            if name not in names:
                hint = difflib.get_close_matches(name, names, 1)
                raise ValueError(
                    f"{key}: no model {name!r} under `models`" + (f"; did you mean {hint[0]!r}?" if hint else "")
                )

        if self.report.compare:
            known("report.compare.audio", self.report.compare.audio)
            known("report.compare.visual", self.report.compare.visual)
        for sense in ("audio", "visual"):
            name = getattr(self.gap, sense)
            known(f"gap.{sense}", name)
            for split in ("finetune", "analysis") if name in self.models else ():
                if split not in self.models[name].splits:
                    raise ValueError(f"models.{name}.splits: needs {split}, since gap.{sense} is this model")
        for key, setting in self.distill.settings.items():
            for side in ("teacher", "student"):
                name = getattr(setting, side)
                known(f"distill.settings.{key}.{side}", name, self.models if side == "student" else everybody)
                if name not in (self.gap.audio, self.gap.visual):
                    raise ValueError(
                        f"distill.settings.{key}.{side}: {name!r} must be gap.audio or gap.visual, "
                        "since the switch knows only those two"
                    )
            if setting.kl and self.distill.training.kl_over == "likeliest_tokens" and self.answer.likeliest_tokens < 2:
                raise ValueError(
                    "distill.training.kl_over: likeliest_tokens needs the teachers' answers to hold some: set "
                    "answer.likeliest_tokens (64, say)"
                )
            if setting.teacher == setting.student:
                raise ValueError(f"distill.settings.{key}: teacher and student are both {setting.teacher!r}")
        return self


class ParamsError(ValueError):
    """`params.yaml` cannot be used; the message names every offending key and what is allowed."""


def _allowed_keys(location: tuple) -> list[str]:
    kind: object = Params
    for part in location:
        fields = getattr(kind, "model_fields", None)
        if fields is None or part not in fields:
            arguments = getattr(kind, "__args__", ())
            kind = next((a for a in arguments if isinstance(a, type) and issubclass(a, Block)), None)
        else:
            kind = fields[part].annotation
    return list(getattr(kind, "model_fields", {}))


def _explain(error: dict) -> str:
    location = error["loc"]
    key = ".".join(str(part) for part in location) or "params.yaml"
    value = error.get("input")
    if error["type"] == "extra_forbidden":
        names = _allowed_keys(location[:-1])
        hint = difflib.get_close_matches(str(location[-1]), names, 1)
        return f"{key}: unknown key" + (f"; did you mean {hint[0]}?" if hint else f"; allowed here: {', '.join(names)}")
    if error["type"] == "missing":
        return f"{key}: missing"
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(value, dict) else f" (it is {value!r})"
    return f"{key}: {message}{shown}" if location else message


def parse(values: object) -> Params:
    """Check a mapping as read from YAML; raise ParamsError naming each wrong key by its full name."""
    if not isinstance(values, dict):
        raise ParamsError("params.yaml must be a mapping of blocks, see params/embedded.yaml")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        lines = [_explain(e) for e in error.errors(include_url=False)]
        raise ParamsError("\n".join(lines)) from None


def load(path: str | os.PathLike = "params.yaml") -> Params:
    """Read and check a parameter file; raise ParamsError with a sentence for a person."""
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} is missing: run from the project's top folder") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from None
    try:
        return parse(values)
    except ParamsError as error:
        raise ParamsError(f"{path}:\n{error}") from None
