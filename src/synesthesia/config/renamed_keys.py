"""Keys of earlier versions, so that an old parameter file is refused with the new names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

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


def iter_renamed_keys(
    values: Mapping[str, Any], old_path: tuple[str, ...] = (), new_path: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Yield (old key, new key) for every key of an earlier version, also below a renamed block.

    Args:
        values: Parameters as read from YAML.
        old_path: Where they are, in old names.
        new_path: Where they are, in new names.

    Yields:
        The old key and the new key, each with its path.
    """
    for name, value in values.items():
        old_key, key = (*old_path, str(name)), (*new_path, str(name))
        pattern = ("models", "*", *key[2:]) if key[0] == "models" and len(key) > 1 else key
        new_pattern = RENAMED_KEYS.get(".".join(pattern))
        if new_pattern is not None:
            new_key = tuple(key[i] if part == "*" else part for i, part in enumerate(new_pattern.split(".")))
            yield ".".join(old_key), ".".join(new_key)
            key = new_key
        if isinstance(value, dict):
            yield from iter_renamed_keys(value, old_key, key)
