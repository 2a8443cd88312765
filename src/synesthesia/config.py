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

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
PositiveFloat = Annotated[float, Field(gt=0)]
Condition = Literal["audio", "silent_video", "sounded_video"]


class StrictModel(BaseModel):
    """A block of parameters: no unknown keys, no silent conversion from text to number, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataConfig(StrictModel):
    """Where the raw clips and their lists lie (paper section 3.1)."""

    vggsound_list: str
    vggsound_clips: str
    audioset_list: str | None
    audioset_labels: str | None
    audioset_clips: str | None

    @model_validator(mode="after")
    def _check_audioset_paths(self):
        three = (self.audioset_list, self.audioset_labels, self.audioset_clips)
        if any(three) and not all(three):
            raise ValueError("audioset_list, audioset_labels and audioset_clips belong together: all three or none")
        return self


class CurateConfig(StrictModel):
    """From raw files to clean clips (section 3.1)."""

    seed: Seed
    drop_multi_name_labels: bool
    display_names: dict[str, str]
    analysis_clips_per_label: PositiveInt
    sample_rate: Literal[16000]
    clip_seconds: PositiveFloat
    min_seconds: PositiveFloat
    frames_per_second: PositiveFloat
    max_pixels: Annotated[int, Field(ge=28 * 28)]
    jpeg_quality: Annotated[int, Field(ge=1, le=100)]
    clips_per_shard: PositiveInt
    executor: Literal["processes", "ray"]


class QuestionConfig(StrictModel):
    """The ten-option question (section 3.1)."""

    seed: Seed
    num_options: Annotated[int, Field(ge=2, le=10)]
    distractors: Literal["frequency", "uniform"]


class ModelConfig(StrictModel):
    """One LLM that answers."""

    title: str
    family: str
    checkpoint: str
    condition: Condition
    dtype: Literal["float32", "bfloat16"] | None = None  # of weights that are loaded here
    trust_remote_code: bool = False  # whether code that comes with the checkpoint, or a package for it, may run
    compile: bool = False
    batch_size: PositiveInt
    role: Literal["audio", "visual", "audio-visual"]
    splits: Annotated[list[Literal["finetune", "analysis", "test", "unseen"]], Field(min_length=1)]


class EvaluateConfig(StrictModel):
    """How an answer is read."""

    mode: Literal["letter_logits", "text"]
    top_k_logits: Annotated[int, Field(ge=0, le=1000)]  # how many of the vocabulary's logits are kept; 0: letters'


class FileRespondent(StrictModel):
    """A respondent who answered elsewhere: its CSV (`synesthesia.evaluation.csv_import`) and through which sense it answered."""

    title: str
    file: str
    condition: Condition
    human: bool


class ImportAnswersConfig(StrictModel):
    """Answers out of files, and how several judgements of one question become one answer."""

    seed: Seed
    aggregation: Literal["draw", "majority"]
    inattentive: Literal["leave_out", "keep"]
    respondents: dict[str, FileRespondent]


class GapConfig(StrictModel):
    """Which two respondents make the gap (section 3.2)."""

    audio: str
    visual: str


class SwitchConfig(StrictModel):
    """The PANN-based switch (section 4.2)."""

    seed: Seed
    checkpoint: str
    validation_clips_per_label: PositiveInt
    epochs: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    warmup_ratio: Fraction
    class_weighted: bool


class RouteConfig(StrictModel):
    """Who teaches on which clip (section 4.1); anything but `learned` is a control."""

    mode: Literal["learned", "always", "never", "random", "true_gap"]
    threshold: Fraction
    seed: Seed


class LoRAConfig(StrictModel):
    """LoRA; the paper says only rank 16 (section 4.3), the rest is left open there."""

    rank: PositiveInt
    alpha: PositiveFloat
    dropout: Fraction
    target_modules: str


class TrainingConfig(StrictModel):
    """The distillation's optimisation (section 4.3)."""

    seed: Seed
    epochs: PositiveFloat
    global_batch_size: PositiveInt
    micro_batch_size: PositiveInt | None  # None: the largest that fits, on a GPU
    checkpoint_interval_minutes: PositiveFloat
    learning_rate: PositiveFloat
    warmup_ratio: Fraction
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: PositiveFloat
    temperature: PositiveFloat
    kl_weight: PositiveFloat
    kl_support: Literal["letters", "likeliest_tokens"]

    @model_validator(mode="after")
    def _divides(self):
        if self.micro_batch_size and self.global_batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch {self.micro_batch_size} must divide effective_batch {self.global_batch_size}"
            )
        return self


class DistillSetting(StrictModel):
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


class DistillConfig(StrictModel):
    """Cross-modal distillation: shared optimisation and the settings to compare."""

    lora: LoRAConfig
    training: TrainingConfig
    settings: Annotated[dict[str, DistillSetting], Field(min_length=1)]


class ReportConfig(StrictModel):
    """Statistics of the report and the bounds that CI guards."""

    seed: Seed
    bootstrap_samples: Annotated[int, Field(ge=100)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    labels_per_group: PositiveInt
    reference_gap: GapConfig | None  # whose gap stands beside that of `gap`, on the labels that both have answered
    thresholds: dict[str, float]


class InattentionConfig(StrictModel):
    """When a participant counts as careless: any one of the rules is enough. The paper states none."""

    failed_checks: PositiveInt
    fast_seconds: PositiveFloat
    fast_fraction: Fraction
    max_same_choice_run: Annotated[int, Field(ge=2)]


class HumanStudyConfig(StrictModel):
    """The browser study for humans (section 3.2; what the paper leaves open is said in params.yaml)."""

    seed: Seed
    split: Literal["analysis", "test"]
    labels: Annotated[list[str], Field(min_length=1)] | None
    labels_per_group: PositiveInt
    clips_per_label: PositiveInt | None
    responses_per_clip: PositiveInt
    trials_per_participant: Annotated[int, Field(ge=3, le=300)]
    practice_trials: Annotated[int, Field(ge=0, le=12)]
    attention_checks: Annotated[int, Field(ge=0, le=6)]
    max_replays: Annotated[int, Field(ge=0, le=20)]
    headphone_check: Literal["off", "ask", "require"]
    audio_codec: Literal["flac", "aac"]
    session_timeout_hours: PositiveFloat
    consent: str
    contact: str
    retention: str
    completion_code: str | None
    completion_link: str | None
    requests_per_minute: PositiveInt
    joins_per_hour: PositiveInt
    inattention: InattentionConfig
    slow_median_seconds: PositiveFloat

    @model_validator(mode="after")
    def _three_equal_blocks(self):
        if self.trials_per_participant % 3:
            raise ValueError(
                f"trials: {self.trials_per_participant} cannot be three blocks of equal length, one a condition"
            )
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: one of them is named twice")
        if self.completion_link is not None and not self.completion_link.startswith("https://"):
            raise ValueError("completion_link: must begin with https://")
        return self


class Config(StrictModel):
    """All of `params.yaml`."""

    preset: Literal["embedded", "paper"]
    data: DataConfig
    curate: CurateConfig
    make_questions: QuestionConfig
    models: Annotated[dict[str, ModelConfig], Field(min_length=1)]
    evaluate: EvaluateConfig
    import_answers: ImportAnswersConfig
    measure_gap: GapConfig
    train_switch: SwitchConfig
    route: RouteConfig
    distill: DistillConfig
    report: ReportConfig
    human_study: HumanStudyConfig

    def get_respondent(self, name: str) -> ModelConfig | FileRespondent:
        """The entry of a respondent who is no distilled student; KeyError where there is none."""
        return self.models[name] if name in self.models else self.import_answers.respondents[name]

    @model_validator(mode="after")
    def _names_meet(self):
        blocks = {
            "models": self.models,
            "collect.respondents": self.import_answers.respondents,
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

        everybody = {**self.models, **self.import_answers.respondents}

        def known(key: str, name: str, names: dict = everybody) -> None:
            if name not in names:
                hint = difflib.get_close_matches(name, names, 1)
                raise ValueError(
                    f"{key}: no model {name!r} under `models`" + (f"; did you mean {hint[0]!r}?" if hint else "")
                )

        if self.report.reference_gap:
            known("report.compare.audio", self.report.reference_gap.audio)
            known("report.compare.visual", self.report.reference_gap.visual)
        for sense in ("audio", "visual"):
            name = getattr(self.measure_gap, sense)
            known(f"gap.{sense}", name)
            for split in ("finetune", "analysis") if name in self.models else ():
                if split not in self.models[name].splits:
                    raise ValueError(f"models.{name}.splits: needs {split}, since gap.{sense} is this model")
        for key, setting in self.distill.settings.items():
            for side in ("teacher", "student"):
                name = getattr(setting, side)
                known(f"distill.settings.{key}.{side}", name, self.models if side == "student" else everybody)
                if name not in (self.measure_gap.audio, self.measure_gap.visual):
                    raise ValueError(
                        f"distill.settings.{key}.{side}: {name!r} must be gap.audio or gap.visual, "
                        "since the switch knows only those two"
                    )
            if setting.kl and self.distill.training.kl_support == "likeliest_tokens" and self.evaluate.top_k_logits < 2:
                raise ValueError(
                    "distill.training.kl_over: likeliest_tokens needs the teachers' answers to hold some: set "
                    "answer.likeliest_tokens (64, say)"
                )
            if setting.teacher == setting.student:
                raise ValueError(f"distill.settings.{key}: teacher and student are both {setting.teacher!r}")
        return self


class ConfigError(ValueError):
    """`params.yaml` cannot be used; the message names every offending key and what is allowed."""


def _list_allowed_keys(location: tuple) -> list[str]:
    kind: object = Config
    for part in location:
        fields = getattr(kind, "model_fields", None)
        if fields is None or part not in fields:
            arguments = getattr(kind, "__args__", ())
            kind = next((a for a in arguments if isinstance(a, type) and issubclass(a, StrictModel)), None)
        else:
            kind = fields[part].annotation
    return list(getattr(kind, "model_fields", {}))


def _format_error(error: dict) -> str:
    location = error["loc"]
    key = ".".join(str(part) for part in location) or "params.yaml"
    value = error.get("input")
    if error["type"] == "extra_forbidden":
        names = _list_allowed_keys(location[:-1])
        hint = difflib.get_close_matches(str(location[-1]), names, 1)
        return f"{key}: unknown key" + (f"; did you mean {hint[0]}?" if hint else f"; allowed here: {', '.join(names)}")
    if error["type"] == "missing":
        return f"{key}: missing"
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(value, dict) else f" (it is {value!r})"
    return f"{key}: {message}{shown}" if location else message


def parse(values: object) -> Config:
    """Check a mapping as read from YAML; raise ParamsError naming each wrong key by its full name."""
    if not isinstance(values, dict):
        raise ConfigError("params.yaml must be a mapping of blocks, see params/embedded.yaml")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines = [_format_error(e) for e in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None


def load(path: str | os.PathLike = "params.yaml") -> Config:
    """Read and check a parameter file; raise ParamsError with a sentence for a person."""
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing: run from the project's top folder") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    try:
        return parse(values)
    except ConfigError as error:
        raise ConfigError(f"{path}:\n{error}") from None
