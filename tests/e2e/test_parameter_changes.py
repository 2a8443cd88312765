"""Changing one parameter makes DVC run exactly the stages that depend on it."""

from pathlib import Path

import pytest

from synesthesia.pipeline import log_runs, presets

pytestmark = pytest.mark.slow  # DVC needs most of a second to resolve dvc.yaml

MODELS = ("qwen2-audio", "qwen2-vl", "qwen2-5-omni")
TO_AUDIO = tuple(
    "visual-to-audio" + rest for rest in ("", "-kl", "-kl-and-labels", "-ground-truth", "-without-anti-forgetting")
)
TO_VISUAL = ("audio-to-visual", "audio-to-visual-ground-truth")
SETTINGS = TO_AUDIO + TO_VISUAL
HUMANS = ("human-ears", "human-eyes", "human-ears-and-eyes")


def each(stage, items):
    return {f"{stage}@{item}" for item in items}


CHANGES = [
    ("data/vggsound_list", "data/other.csv", {"curate"}),
    ("curate/seed", 1, {"curate"}),
    ("curate/max_pixels", 12544, {"curate"}),
    ("curate/analysis_clips_per_label", 10, {"curate"}),
    ("ask/seed", 1, {"ask"}),
    ("ask/distractors", "uniform", {"ask"}),
    ("answer/read", "text", each("answer", MODELS) | each("examine", SETTINGS)),
    ("models/qwen2-5-omni/batch_clips", 8, {"evaluate@qwen2-5-omni", "report"}),
    (
        "models/qwen2-audio/precision",
        "bfloat16",
        {"evaluate@qwen2-audio", "report"} | each("distill", TO_AUDIO) | each("examine", TO_AUDIO),
    ),
    (
        "models/qwen2-vl/precision",
        "bfloat16",
        {"evaluate@qwen2-vl", "report"} | each("distill", TO_VISUAL) | each("examine", TO_VISUAL),
    ),
    ("collect/several", "majority", each("collect", HUMANS) | {"report"}),
    ("collect/respondents/human-eyes/condition", "sounded_video", {"import_answers@human-eyes", "report"}),
    ("collect/respondents/human-ears/file", "other.csv", {"import_answers@human-ears", "report"}),
    ("report/compare/audio", "qwen2-audio", {"report"}),
    ("gap/audio", "qwen2-5-omni", {"gap", "report"}),
    ("switch/epochs", 13, {"switch"}),
    ("switch/learning_rate", 0.002, {"switch"}),
    ("route/mode", "true_gap", {"route", "report"}),
    ("route/threshold", 0.6, {"route", "switch", "report"}),
    ("distill/lora/rank", 8, each("distill", SETTINGS)),
    ("distill/training/temperature", 1.0, each("distill", SETTINGS)),
    ("distill/settings/visual-to-audio-kl/kl", False, {"distill@visual-to-audio-kl", "report"}),
    ("distill/settings/audio-to-visual/anti_forgetting", False, {"distill@audio-to-visual", "report"}),
    ("report/bootstrap_samples", 500, {"report"}),
    ("report/bounds/switch.balanced_accuracy", 0.5, {"report"}),
    ("size", "paper", {"report"}),
]


@pytest.mark.parametrize(("key", "value", "expected"), CHANGES, ids=[key for key, _, _ in CHANGES])
def test_a_parameter_marks_exactly_the_stages_that_read_it(scratch, key, value, expected):
    before = scratch.unchanged
    scratch.change(key, value)
    after = scratch.stages()
    assert before.keys() == after.keys()
    assert {name for name in after if after[name] != before[name]} == expected


def test_the_graph_has_every_model_and_setting(scratch):
    names = set(scratch.unchanged)
    single = {"curate", "ask", "gap", "switch", "route", "report"}
    answered = each("answer", MODELS) | each("collect", HUMANS)
    assert names == single | answered | each("distill", SETTINGS) | each("examine", SETTINGS)


def test_a_study_without_answers_from_files_has_no_such_stage(scratch):
    scratch.change("collect/respondents", {})
    scratch.change("report/compare", None)
    presets.main(["check"])
    assert set(scratch.unchanged) - set(scratch.stages()) == each("collect", HUMANS)


def test_a_typo_stops_the_check_with_the_keys_full_name(scratch):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("temperature: 2.0", "temprature: 2.0"))
    with pytest.raises(SystemExit, match=r"distill\.training\.temprature: unknown key; did you mean temperature\?"):
        presets.main(["check"])


def test_dvc_itself_reruns_exactly_the_marked_stages(ran):
    assert ran.status() == {}
    assert log_runs.find_outdated() == {}

    text = Path("params.yaml").read_bytes()
    ran.change("distill/lora/rank", 8)
    assert set(ran.status()) == {"distill@visual-to-audio", "distill@audio-to-visual"}
    Path("params.yaml").write_bytes(text)

    Path("humans/responses.csv").write_text("a human more")
    assert set(ran.status()) == each("collect", HUMANS)
    Path("humans/responses.csv").write_text("humans/responses.csv")

    ran.change("route/mode", "true_gap")
    assert ran.repro() == {"route", "report"}, "equal outs must not run what follows; the report reads the mode itself"
    assert ran.status() == {}

    Path("src/synesthesia/questions/sampling.py").write_text("changed")
    modified = dict.fromkeys(
        ("ask", *each("collect", HUMANS), "report"), "src/synesthesia/questions/sampling.py modified"
    )
    Path("data").unlink()  # absent data make nothing outdated
    assert log_runs.find_outdated() == modified


def test_repro_goes_on_when_another_machine_made_other_data(ran):
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
