"""Changing one parameter makes DVC run exactly the stages that depend on it."""

from pathlib import Path

import pytest

from synesthesia.pipeline import log_runs, presets

pytestmark = pytest.mark.slow  # resolving dvc.yaml takes DVC almost a second

MODELS = ("qwen2-audio", "qwen2-vl", "qwen2-5-omni")
TO_AUDIO = tuple(
    "visual-to-audio" + suffix for suffix in ("", "-kl", "-kl-and-labels", "-ground-truth", "-without-anti-forgetting")
)
TO_VISUAL = ("audio-to-visual", "audio-to-visual-ground-truth")
SETTINGS = TO_AUDIO + TO_VISUAL
HUMANS = ("human-ears", "human-eyes", "human-ears-and-eyes")


def name_items(stage, items):
    return {f"{stage}@{item}" for item in items}


CHANGES = [
    ("data/vggsound_list", "data/other.csv", {"curate"}),
    ("curate/seed", 1, {"curate"}),
    ("curate/max_pixels", 12544, {"curate"}),
    ("curate/analysis_clips_per_label", 10, {"curate"}),
    (
        "acceleration/last_token_only",
        False,
        name_items("evaluate", MODELS) | name_items("distill", SETTINGS) | name_items("evaluate_students", SETTINGS),
    ),
    ("make_questions/seed", 1, {"make_questions"}),
    ("make_questions/distractors", "uniform", {"make_questions"}),
    ("evaluate/mode", "text", name_items("evaluate", MODELS) | name_items("evaluate_students", SETTINGS)),
    ("models/qwen2-5-omni/batch_size", 8, {"evaluate@qwen2-5-omni", "report"}),
    (
        "models/qwen2-audio/dtype",
        "bfloat16",
        {"evaluate@qwen2-audio", "report"}
        | name_items("distill", TO_AUDIO)
        | name_items("evaluate_students", TO_AUDIO),
    ),
    (
        "models/qwen2-vl/dtype",
        "bfloat16",
        {"evaluate@qwen2-vl", "report"} | name_items("distill", TO_VISUAL) | name_items("evaluate_students", TO_VISUAL),
    ),
    ("import_answers/aggregation", "majority", name_items("import_answers", HUMANS) | {"report"}),
    ("import_answers/respondents/human-eyes/condition", "sounded_video", {"import_answers@human-eyes", "report"}),
    ("import_answers/respondents/human-ears/file", "other.csv", {"import_answers@human-ears", "report"}),
    ("report/reference_gap/audio", "qwen2-audio", {"report"}),
    ("measure_gap/audio", "qwen2-5-omni", {"measure_gap", "report"}),
    ("train_switch/epochs", 13, {"train_switch"}),
    ("train_switch/learning_rate", 0.002, {"train_switch"}),
    ("route/mode", "true_gap", {"route", "report"}),
    ("route/threshold", 0.6, {"route", "train_switch", "report"}),
    ("distill/lora/rank", 8, name_items("distill", SETTINGS)),
    ("distill/training/temperature", 1.0, name_items("distill", SETTINGS)),
    ("distill/settings/visual-to-audio-kl/kl", False, {"distill@visual-to-audio-kl", "report"}),
    ("distill/settings/audio-to-visual/anti_forgetting", False, {"distill@audio-to-visual", "report"}),
    ("report/bootstrap_samples", 500, {"report"}),
    ("report/thresholds/switch.balanced_accuracy", 0.5, {"report"}),
    ("preset", "paper", {"report"}),
]


@pytest.mark.parametrize(("key", "value", "expected"), CHANGES, ids=[key for key, _, _ in CHANGES])
def test_parameter_change_affects_exactly_the_stages_that_read_it(scratch, key, value, expected):
    before = scratch.unchanged
    scratch.change(key, value)
    after = scratch.stages()
    assert before.keys() == after.keys()
    assert {name for name in after if after[name] != before[name]} == expected


def test_graph_has_every_model_and_setting(scratch):
    names = set(scratch.unchanged)
    single = {"curate", "make_questions", "measure_gap", "train_switch", "route", "report"}
    evaluated = name_items("evaluate", MODELS) | name_items("import_answers", HUMANS)
    assert names == single | evaluated | name_items("distill", SETTINGS) | name_items("evaluate_students", SETTINGS)


def test_study_without_file_respondents_has_no_import_stage(scratch):
    scratch.change("import_answers/respondents", {})
    scratch.change("report/reference_gap", None)
    presets.main(["check"])
    assert set(scratch.unchanged) - set(scratch.stages()) == name_items("import_answers", HUMANS)


def test_check_reports_a_typo_with_the_full_key(scratch):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("temperature: 2.0", "temprature: 2.0"))
    with pytest.raises(SystemExit, match=r"distill\.training\.temprature: unknown key; did you mean temperature\?"):
        presets.main(["check"])


def test_dvc_reruns_exactly_the_affected_stages(ran):
    assert ran.status() == {}
    assert log_runs.find_outdated() == {}

    text = Path("params.yaml").read_bytes()
    ran.change("distill/lora/rank", 8)
    assert set(ran.status()) == {"distill@visual-to-audio", "distill@audio-to-visual"}
    Path("params.yaml").write_bytes(text)

    Path("humans/responses.csv").write_text("another response")
    assert set(ran.status()) == name_items("import_answers", HUMANS)
    Path("humans/responses.csv").write_text("humans/responses.csv")

    ran.change("route/mode", "true_gap")
    assert ran.repro() == {"route", "report"}, (
        "equal outputs must not rerun later stages; the report reads the mode itself"
    )
    assert ran.status() == {}

    Path("data").unlink()  # missing data makes nothing outdated
    two_settings = ("visual-to-audio", "audio-to-visual")
    evaluations = name_items("evaluate", MODELS) | name_items("evaluate_students", two_settings)
    for code, expected in {
        "questions/sampling.py": {"make_questions"},
        "questions/prompt.py": evaluations | name_items("distill", two_settings),
        "questions/parsing.py": evaluations | name_items("import_answers", HUMANS) | {"report"},
        "evaluation/csv_import.py": name_items("import_answers", HUMANS) | {"report"},
        "distillation/losses.py": name_items("distill", two_settings),
        "distillation/gap.py": {"measure_gap", "report"},
    }.items():
        path = Path("src/synesthesia", code)
        text = path.read_text()
        path.write_text("changed")
        assert log_runs.find_outdated() == dict.fromkeys(expected, f"{path} modified")
        path.write_text(text)


def test_repro_accepts_data_generated_on_another_machine(ran):
    Path("data").unlink()
    Path("data").mkdir()
    Path("data/clip.mp4").write_text("these bytes")
    ran.add("data")
    ran.repro()
    tracked = Path("data.dvc").read_text()

    Path("data/clip.mp4").write_text("those bytes")
    assert "curate" in ran.repro()
    assert Path("data.dvc").read_text() != tracked
    assert ran.status() == {}
