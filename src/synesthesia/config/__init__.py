"""Typed configuration: reads `params.yaml` into frozen objects.

DVC accepts a mistyped key or an impossible value silently (dvc #5477). Every stage therefore reads its parameters
through `load`, which rejects them and names the full key and the allowed values. The package imports nothing heavy,
because every stage and `make check` start with it.
"""

from synesthesia.config.blocks import (
    AccelerationConfig,
    Condition,
    Config,
    CurateConfig,
    DataConfig,
    DistillConfig,
    DistillSetting,
    EvaluateConfig,
    FileRespondent,
    Fraction,
    GapConfig,
    HumanStudyConfig,
    ImportAnswersConfig,
    InattentionConfig,
    LoRAConfig,
    ModelConfig,
    PositiveFloat,
    PositiveInt,
    QuestionConfig,
    ReportConfig,
    RouteConfig,
    Seed,
    StrictModel,
    SwitchConfig,
    TrainingConfig,
)
from synesthesia.config.loading import ConfigError, load, parse
from synesthesia.config.renamed_keys import RENAMED_KEYS

__all__ = [
    "RENAMED_KEYS",
    "AccelerationConfig",
    "Condition",
    "Config",
    "ConfigError",
    "CurateConfig",
    "DataConfig",
    "DistillConfig",
    "DistillSetting",
    "EvaluateConfig",
    "FileRespondent",
    "Fraction",
    "GapConfig",
    "HumanStudyConfig",
    "ImportAnswersConfig",
    "InattentionConfig",
    "LoRAConfig",
    "ModelConfig",
    "PositiveFloat",
    "PositiveInt",
    "QuestionConfig",
    "ReportConfig",
    "RouteConfig",
    "Seed",
    "StrictModel",
    "SwitchConfig",
    "TrainingConfig",
    "load",
    "parse",
]
