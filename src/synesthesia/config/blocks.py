"""The blocks of `params.yaml` as frozen types, with the values that each key allows."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
PositiveFloat = Annotated[float, Field(gt=0, le=1e9)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Condition = Literal["audio", "silent_video", "sounded_video"]


class StrictModel(BaseModel):
    """A frozen block of parameters of finite values, without unknown keys and without conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


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
    clip_seconds: Annotated[float, Field(gt=0, le=30)]  # Whisper's feature extractors cut off what is longer
    min_seconds: Annotated[float, Field(gt=0, le=30)]
    frames_per_second: Annotated[float, Field(gt=0, le=60)]
    max_pixels: Annotated[int, Field(ge=28 * 28, le=2**24)]
    jpeg_quality: Annotated[int, Field(ge=1, le=100)]
    clips_per_shard: PositiveInt
    executor: Literal["local", "ray"]

    @model_validator(mode="after")
    def _check_durations(self) -> Self:
        if self.min_seconds > self.clip_seconds:
            raise ValueError(
                f"min_seconds {self.min_seconds:g} must not exceed clip_seconds {self.clip_seconds:g}: that rejects "
                "every clip"
            )
        if round(self.min_seconds * self.frames_per_second) < 1:
            raise ValueError(
                f"frames_per_second {self.frames_per_second:g} gives clips of min_seconds {self.min_seconds:g} no frame"
            )
        return self


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

    @model_validator(mode="after")
    def _check_splits(self) -> Self:
        if len(set(self.splits)) < len(self.splits):
            raise ValueError("splits: contains a duplicate")
        return self


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
    epochs: Epochs
    batch_size: PositiveInt
    learning_rate: LearningRate
    warmup_ratio: Fraction
    class_weighted: bool


class RouteConfig(StrictModel):
    """Which model teaches on which clip (section 4.1); every mode except `learned` is a control."""

    mode: Literal["learned", "always", "never", "random", "true_gap"]
    threshold: Fraction
    seed: Seed


class LoRAConfig(StrictModel):
    """LoRA hyperparameters (section 4.3); the paper gives only the rank, 16."""

    rank: Annotated[int, Field(ge=1, le=65536)]
    alpha: PositiveFloat
    dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: str


class TrainingConfig(StrictModel):
    """Hyperparameters of the distillation (section 4.3)."""

    seed: Seed
    epochs: Annotated[float, Field(gt=0, le=100_000)]
    global_batch_size: PositiveInt
    micro_batch_size: PositiveInt | None  # None: the largest that fits on the GPU
    checkpoint_interval_minutes: PositiveFloat
    learning_rate: LearningRate
    warmup_ratio: Fraction
    weight_decay: Annotated[float, Field(ge=0, le=10)]
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
    bootstrap_samples: Annotated[int, Field(ge=100, le=10**6)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    labels_per_group: PositiveInt
    reference_gap: GapConfig | None  # compared with `measure_gap`, on the labels that both respondents answered
    thresholds: dict[str, float]


class InattentionConfig(StrictModel):
    """Rules that mark a participant as inattentive; one violated rule suffices. The paper states none."""

    failed_checks: PositiveInt
    fast_seconds: PositiveFloat
    fast_fraction: Fraction
    max_same_choice_run: Annotated[int, Field(ge=2, le=300)]


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
    session_timeout_hours: Annotated[float, Field(gt=0, le=8760)]
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
        if self.inattention.fast_seconds >= self.slow_median_seconds:
            raise ValueError(
                f"inattention.fast_seconds {self.inattention.fast_seconds:g} must be less than slow_median_seconds "
                f"{self.slow_median_seconds:g}: every answer would be fast or slow"
            )
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
        self._check_titles()
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

    def _check_titles(self) -> None:
        """Check that titles tell respondents apart, and the settings of one student: reports show nothing else."""
        titles = [(f"models.{key}", "", entry.title) for key, entry in self.models.items()]
        titles += [
            (f"import_answers.respondents.{key}", "", e.title) for key, e in self.import_answers.respondents.items()
        ]
        titles += [(f"distill.settings.{key}", e.student, e.title) for key, e in self.distill.settings.items()]
        key_by_title: dict[tuple[str, str], str] = {}
        for key, group, title in titles:
            plain = " ".join(unicodedata.normalize("NFKC", title).casefold().split())
            if not plain:
                raise ValueError(f"{key}.title: is blank")
            other = key_by_title.setdefault((group, plain), key)
            if other != key:
                raise ValueError(f"{key}.title: {title!r} is already the title of {other}; choose another")

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


def _check_known(key: str, name: str, names: Iterable[str]) -> None:
    names = list(names)
    if name not in names:
        matches = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {matches[0]!r}?" if matches else ""
        raise ValueError(f"{key}: no model {name!r} in `models`{hint}")
