"""Typed configuration: reads `params.yaml` into frozen objects.

DVC accepts a mistyped key or an impossible value silently (dvc #5477). Every stage therefore reads its parameters
through `load`, which rejects them and names the full key and the allowed values. The module imports nothing heavy,
because every stage and `make check` start with it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from synesthesia.utils import yaml_file

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
PositiveFloat = Annotated[float, Field(gt=0)]
Condition = Literal["audio", "silent_video", "sounded_video"]

# Keys of version 0.1 and their names in 0.2. `*` stands for any name. Blocks come first: keys below them are listed
# under the block's new name.
RENAMED_KEYS = {
    "size": "preset",
    "ask": "make_questions",
    "answer": "evaluate",
    "collect": "import_answers",
    "gap": "measure_gap",
    "switch": "train_switch",
    "study": "human_study",
    "curate.drop_labels_with_several_names": "curate.drop_multi_name_labels",
    "curate.analysis_clips_a_label": "curate.analysis_clips_per_label",
    "curate.rate": "curate.sample_rate",
    "curate.seconds": "curate.clip_seconds",
    "curate.shortest_seconds": "curate.min_seconds",
    "curate.largest_pixels": "curate.max_pixels",
    "curate.shard_clips": "curate.clips_per_shard",
    "curate.engine": "curate.executor",
    "make_questions.options": "make_questions.num_options",
    "models.*.precision": "models.*.dtype",
    "models.*.remote_code": "models.*.trust_remote_code",
    "models.*.batch_clips": "models.*.batch_size",
    "models.*.compile": "acceleration.compile",
    "evaluate.read": "evaluate.mode",
    "evaluate.likeliest_tokens": "evaluate.top_k_logits",
    "import_answers.several": "import_answers.aggregation",
    "import_answers.careless": "import_answers.inattentive",
    "train_switch.validation_clips_a_label": "train_switch.validation_clips_per_label",
    "train_switch.batch_clips": "train_switch.batch_size",
    "train_switch.warmup": "train_switch.warmup_ratio",
    "train_switch.balance_classes": "train_switch.class_weighted",
    "distill.training.effective_batch": "distill.training.global_batch_size",
    "distill.training.micro_batch": "distill.training.micro_batch_size",
    "distill.training.checkpoint_minutes": "distill.training.checkpoint_interval_minutes",
    "distill.training.warmup": "distill.training.warmup_ratio",
    "distill.training.clip_gradient_norm": "distill.training.max_grad_norm",
    "distill.training.kl_over": "distill.training.kl_support",
    "report.labels_a_regime": "report.labels_per_group",
    "report.compare": "report.reference_gap",
    "report.bounds": "report.thresholds",
    "human_study.labels_a_regime": "human_study.labels_per_group",
    "human_study.clips_a_label": "human_study.clips_per_label",
    "human_study.judgements": "human_study.responses_per_clip",
    "human_study.trials": "human_study.trials_per_participant",
    "human_study.practice": "human_study.practice_trials",
    "human_study.replays": "human_study.max_replays",
    "human_study.headphones": "human_study.headphone_check",
    "human_study.sound": "human_study.audio_codec",
    "human_study.late_after_hours": "human_study.session_timeout_hours",
    "human_study.requests_a_minute": "human_study.requests_per_minute",
    "human_study.joins_an_hour": "human_study.joins_per_hour",
    "human_study.careless": "human_study.inattention",
    "human_study.inattention.fast_share": "human_study.inattention.fast_fraction",
    "human_study.inattention.same_letter_in_a_row": "human_study.inattention.max_same_choice_run",
}


class StrictModel(BaseModel):
    """A frozen block of parameters without unknown keys and without conversions between text and numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataConfig(StrictModel):
    """Paths of the raw clips and of the dataset lists (paper section 3.1)."""

    vggsound_list: str
    vggsound_clips: str
    audioset_list: str | None
    audioset_labels: str | None
    audioset_clips: str | None

    @model_validator(mode="after")
    def _check_audioset_paths(self) -> Self:
        paths = (self.audioset_list, self.audioset_labels, self.audioset_clips)
        if any(paths) and not all(paths):
            raise ValueError("audioset_list, audioset_labels and audioset_clips belong together: set all three or none")
        return self


class CurateConfig(StrictModel):
    """Decoding and selection of clips (section 3.1)."""

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
    executor: Literal["local", "ray"]


class QuestionConfig(StrictModel):
    """Multiple-choice questions with ten options (section 3.1)."""

    seed: Seed
    num_options: Annotated[int, Field(ge=2, le=10)]
    distractors: Literal["frequency", "uniform"]


class ModelConfig(StrictModel):
    """One model that answers questions."""

    title: str
    family: str
    checkpoint: str
    condition: Condition
    dtype: Literal["float32", "bfloat16"] | None = None  # None: the model runs elsewhere
    trust_remote_code: bool = False  # allows code that ships with the checkpoint
    batch_size: PositiveInt
    role: Literal["audio", "visual", "audio-visual"]
    splits: Annotated[list[Literal["finetune", "analysis", "test", "unseen"]], Field(min_length=1)]


class AccelerationConfig(StrictModel):
    """Speed-ups, each behind a switch; all off is plain transformers and peft. See `synesthesia.acceleration`."""

    compile: bool = False
    fused_kernels: bool = True
    fused_lora: bool = True
    fused_qkv: bool = True
    varlen_attention: bool = True
    crop_audio_encoder: bool = True
    last_token_only: bool = True
    linear_patch_embed: bool = True
    flat_gradients: bool = True
    cuda_graph: bool = True

    @classmethod
    def off(cls) -> AccelerationConfig:
        """Return the configuration with every switch off."""
        return cls(**dict.fromkeys(cls.model_fields, False))


class EvaluateConfig(StrictModel):
    """How an answer is obtained from a model."""

    mode: Literal["letter_logits", "text"]
    top_k_logits: Annotated[int, Field(ge=0, le=1000)]  # kept per answer; 0: option letters only


class FileRespondent(StrictModel):
    """A respondent whose answers come from a CSV file (format: `synesthesia.evaluation.csv_import`)."""

    title: str
    file: str
    condition: Condition
    human: bool


class ImportAnswersConfig(StrictModel):
    """Answers from files, and how several responses to one question become one answer."""

    seed: Seed
    aggregation: Literal["random", "majority"]
    inattentive: Literal["drop", "keep"]
    respondents: dict[str, FileRespondent]


class GapConfig(StrictModel):
    """The two respondents whose accuracies define the gap (section 3.2)."""

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
    """Which model teaches on which clip (section 4.1); every mode except `learned` is a control."""

    mode: Literal["learned", "always", "never", "random", "true_gap"]
    threshold: Fraction
    seed: Seed


class LoRAConfig(StrictModel):
    """LoRA hyperparameters (section 4.3); the paper gives only the rank, 16."""

    rank: PositiveInt
    alpha: PositiveFloat
    dropout: Fraction
    target_modules: str


class TrainingConfig(StrictModel):
    """Hyperparameters of the distillation (section 4.3)."""

    seed: Seed
    epochs: PositiveFloat
    global_batch_size: PositiveInt
    micro_batch_size: PositiveInt | None  # None: the largest that fits on the GPU
    checkpoint_interval_minutes: PositiveFloat
    learning_rate: PositiveFloat
    warmup_ratio: Fraction
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: PositiveFloat
    temperature: PositiveFloat
    kl_weight: PositiveFloat
    kl_support: Literal["letters", "top_k"]

    @model_validator(mode="after")
    def _check_divisibility(self) -> Self:
        if self.micro_batch_size and self.global_batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size {self.micro_batch_size} must divide global_batch_size {self.global_batch_size}"
            )
        return self


class DistillSetting(StrictModel):
    """One row of Table 2, or of its counterpart in the opposite direction."""

    title: str
    teacher: str
    student: str
    labels: Literal["teacher", "ground_truth", "none"]
    kl: bool
    anti_forgetting: bool

    @model_validator(mode="after")
    def _check_targets(self) -> Self:
        if self.labels == "none" and not self.kl:
            raise ValueError("labels: none needs kl: true, otherwise there is no training target")
        if self.labels == "ground_truth" and self.kl:
            raise ValueError("labels: ground_truth is the upper bound and needs kl: false")
        return self


class DistillConfig(StrictModel):
    """Cross-modal distillation: shared hyperparameters and the settings to compare."""

    lora: LoRAConfig
    training: TrainingConfig
    settings: Annotated[dict[str, DistillSetting], Field(min_length=1)]


class ReportConfig(StrictModel):
    """Statistics of the report, and the thresholds that CI enforces."""

    seed: Seed
    bootstrap_samples: Annotated[int, Field(ge=100)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    labels_per_group: PositiveInt
    reference_gap: GapConfig | None  # compared with `measure_gap`, on the labels that both respondents answered
    thresholds: dict[str, float]


class InattentionConfig(StrictModel):
    """Rules that mark a participant as inattentive; one violated rule suffices. The paper states none."""

    failed_checks: PositiveInt
    fast_seconds: PositiveFloat
    fast_fraction: Fraction
    max_same_choice_run: Annotated[int, Field(ge=2)]


class HumanStudyConfig(StrictModel):
    """The browser study with humans (section 3.2); params.yaml marks what the paper leaves open."""

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
    def _check_values(self) -> Self:
        if self.trials_per_participant % 3:
            raise ValueError(
                f"trials_per_participant: {self.trials_per_participant} cannot be split into three blocks of equal "
                "length, one per condition"
            )
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: contains a duplicate")
        if self.completion_link is not None and not self.completion_link.startswith("https://"):
            raise ValueError("completion_link: must start with https://")
        return self


class Config(StrictModel):
    """The complete configuration in `params.yaml`; one block per stage."""

    preset: Literal["embedded", "paper"]
    data: DataConfig
    curate: CurateConfig
    make_questions: QuestionConfig
    models: Annotated[dict[str, ModelConfig], Field(min_length=1)]
    acceleration: AccelerationConfig
    evaluate: EvaluateConfig
    import_answers: ImportAnswersConfig
    measure_gap: GapConfig
    train_switch: SwitchConfig
    route: RouteConfig
    distill: DistillConfig
    report: ReportConfig
    human_study: HumanStudyConfig

    def get_respondent(self, name: str) -> ModelConfig | FileRespondent:
        """Return the entry of a respondent that is not a distilled student.

        Args:
            name: A key of `models` or of `import_answers.respondents`.

        Returns:
            The entry.

        Raises:
            KeyError: No respondent has this name.
        """
        return self.models[name] if name in self.models else self.import_answers.respondents[name]

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        self._check_names()
        respondents = {**self.models, **self.import_answers.respondents}
        if self.report.reference_gap:
            _check_known("report.reference_gap.audio", self.report.reference_gap.audio, respondents)
            _check_known("report.reference_gap.visual", self.report.reference_gap.visual, respondents)
        for side in ("audio", "visual"):
            name = getattr(self.measure_gap, side)
            _check_known(f"measure_gap.{side}", name, respondents)
            for split in ("finetune", "analysis") if name in self.models else ():
                if split not in self.models[name].splits:
                    raise ValueError(f"models.{name}.splits: needs {split}, since measure_gap.{side} is this model")
        for key, setting in self.distill.settings.items():
            self._check_setting(key, setting, respondents)
        return self

    def _check_names(self) -> None:
        """Check that names are unique and that DVC can use them as keys."""
        blocks = {
            "models": self.models,
            "import_answers.respondents": self.import_answers.respondents,
            "distill.settings": self.distill.settings,
        }
        block_by_name: dict[str, str] = {}
        for block, names in blocks.items():
            for name in names:
                if name in block_by_name:
                    raise ValueError(f"{block}: {name!r} is already a name in {block_by_name[name]}; choose another")
                block_by_name[name] = block
                if not re.fullmatch(r"[\w-]+", name, re.ASCII):
                    raise ValueError(
                        f"{block}: {name!r} is not a valid name: use letters, digits, - and _ (DVC splits at dots)"
                    )

    def _check_setting(self, key: str, setting: DistillSetting, respondents: Iterable[str]) -> None:
        for side, names in (("teacher", respondents), ("student", self.models)):
            name = getattr(setting, side)
            _check_known(f"distill.settings.{key}.{side}", name, names)
            if name not in (self.measure_gap.audio, self.measure_gap.visual):
                raise ValueError(
                    f"distill.settings.{key}.{side}: {name!r} must be measure_gap.audio or measure_gap.visual, "
                    "since the switch compares only these two"
                )
        if setting.kl and self.distill.training.kl_support == "top_k" and self.evaluate.top_k_logits < 2:
            raise ValueError(
                "distill.training.kl_support: top_k needs logits in the teachers' answers: set "
                "evaluate.top_k_logits, to 64 for example"
            )
        if setting.teacher == setting.student:
            raise ValueError(f"distill.settings.{key}: teacher and student are both {setting.teacher!r}")


class ConfigError(ValueError):
    """Raised if `params.yaml` cannot be used; the message names every offending key and what is allowed."""


def load(path: str | os.PathLike = "params.yaml") -> Config:
    """Read and check a parameter file.

    Args:
        path: A YAML file with the structure of `Config`.

    Returns:
        The configuration.

    Raises:
        ConfigError: The file is missing, is not valid YAML, or has wrong keys or values.
    """
    path = Path(path)
    try:
        values = yaml_file.load(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing: run this command in the project's root folder") from None
    except yaml_file.YamlFileError as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        return parse(values)
    except ConfigError as error:
        raise ConfigError(f"{path}:\n{error}") from None


def parse(values: object) -> Config:
    """Check parameters.

    Args:
        values: A mapping as read from YAML.

    Returns:
        The configuration.

    Raises:
        ConfigError: Keys are unknown, renamed or missing, or values are not allowed. One line per key.
    """
    if not isinstance(values, dict):
        raise ConfigError("params.yaml must be a mapping of blocks, see params/embedded.yaml")
    renamed = dict(_iter_renamed_keys(values))
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines = [f"{old}: renamed to {new}" for old, new in renamed.items()]
        for detail in error.errors(include_url=False):
            key = _join_key(detail["loc"])
            is_listed = key in renamed or (detail["type"] == "missing" and key in renamed.values())
            if not is_listed:
                lines.append(_format_error(dict(detail)))
        raise ConfigError("\n".join(lines)) from None


def _iter_renamed_keys(
    values: Mapping[str, Any], old_path: tuple[str, ...] = (), new_path: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Yield (old key, new key) for every key of an earlier version, also below a renamed block."""
    for name, value in values.items():
        old_key, key = (*old_path, str(name)), (*new_path, str(name))
        pattern = ("models", "*", *key[2:]) if key[0] == "models" and len(key) > 1 else key
        new_pattern = RENAMED_KEYS.get(".".join(pattern))
        if new_pattern is not None:
            new_key = tuple(key[i] if part == "*" else part for i, part in enumerate(new_pattern.split(".")))
            yield ".".join(old_key), ".".join(new_key)
            key = new_key
        if isinstance(value, dict):
            yield from _iter_renamed_keys(value, old_key, key)


def _check_known(key: str, name: str, names: Iterable[str]) -> None:
    names = list(names)
    if name not in names:
        matches = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {matches[0]!r}?" if matches else ""
        raise ValueError(f"{key}: no model {name!r} in `models`{hint}")


def _list_allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    annotation: object = Config
    for part in location:
        fields = getattr(annotation, "model_fields", None)
        if fields is None or part not in fields:
            arguments = getattr(annotation, "__args__", ())
            annotation = next((a for a in arguments if isinstance(a, type) and issubclass(a, StrictModel)), None)
        else:
            annotation = fields[part].annotation
    return list(getattr(annotation, "model_fields", {}))


def _join_key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _format_error(error: dict[str, Any]) -> str:
    """Format a pydantic error (`ErrorDetails`) as one line."""
    location = error["loc"]
    key = _join_key(location) or "params.yaml"
    if error["type"] == "extra_forbidden":
        names = _list_allowed_keys(location[:-1])
        matches = difflib.get_close_matches(str(location[-1]), names, 1)
        return f"{key}: unknown key; " + (f"did you mean {matches[0]}?" if matches else f"allowed: {', '.join(names)}")
    if error["type"] == "missing":
        return f"{key}: missing"
    message = error["msg"].removeprefix("Value error, ")
    value = error.get("input")
    suffix = "" if isinstance(value, dict) else f" (got {value!r})"
    return f"{key}: {message}{suffix}" if location else message
