"""Configuration: errors name the full key and the allowed values."""

import math
from pathlib import Path

import pytest
import yaml

from synesthesia import config

ROOT = Path(__file__).parents[2]
FILE_RESPONDENT = {"title": "Ears", "file": "x.csv", "condition": "audio", "human": True}
PRESETS = [ROOT / "params/embedded.yaml", ROOT / "params/paper.yaml"]


@pytest.fixture
def values():
    return yaml.safe_load((ROOT / "params/embedded.yaml").read_text())


def set_value(values, key, value):
    *parents, last = key.split("/")
    for part in parents:
        values = values[part]
    values[last] = value


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_preset_is_valid_and_has_its_own_name(path):
    assert config.load(path).preset == path.stem


def get_structure(values, free=("models", "respondents", "settings", "display_names", "thresholds")):
    """Return nested keys; for the blocks in `free`, whose names a study chooses, only the structures of the entries."""
    if not isinstance(values, dict):
        return None
    return {key: _get_entry_structures(value) if key in free else get_structure(value) for key, value in values.items()}


def _get_entry_structures(entries):
    return sorted({str(get_structure(value)) for value in entries.values()})


def test_presets_have_the_same_structure():
    structures = [get_structure(yaml.safe_load(path.read_text())) for path in PRESETS]
    assert structures[0] == structures[1]


def test_presets_compare_the_same_settings():
    settings = [set(config.load(path).distill.settings) for path in PRESETS]
    assert settings[0] == settings[1]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_names_contain_no_dot_because_dvc_splits_at_dots(path):
    preset = config.load(path)
    assert [name for name in [*preset.models, *preset.distill.settings] if "." in name] == []


def test_paper_preset_has_the_values_of_the_paper():
    paper = config.load(ROOT / "params/paper.yaml")
    families = [model.family for model in paper.models.values()]
    assert families == [
        "qwen2_audio", "qwen_audio_chat", "kimi_audio", "qwen2_vl", "qwen2_5_vl", "videollama3", "qwen2_5_omni",
    ]  # fmt: skip
    curate, switch, training = paper.curate, paper.train_switch, paper.distill.training
    assert (curate.analysis_clips_per_label, curate.max_pixels, curate.frames_per_second) == (50, 512 * 512, 1.0)
    assert (switch.epochs, switch.validation_clips_per_label, switch.batch_size) == (30, 5, 32)
    assert (switch.learning_rate, switch.warmup_ratio) == (1e-4, 0.1)
    assert (training.learning_rate, training.global_batch_size, training.epochs) == (1e-4, 8, 1.0)
    assert (training.warmup_ratio, training.temperature, paper.distill.lora.rank) == (0.1, 2.0, 16)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("make_questions/num_optins", 10, "make_questions.num_optins: unknown key; did you mean num_options?"),
        ("distill/training/learning_rte", 1e-4, "distill.training.learning_rte: unknown key; did you mean"),
        ("train_switch/epochs", "12", "train_switch.epochs: "),
        ("train_switch/epochs", 0, "train_switch.epochs: "),
        ("train_switch/epochs", 1.5, "train_switch.epochs: "),
        ("curate/drop_multi_name_labels", "yes", "curate.drop_multi_name_labels: "),
        ("route/threshold", 1.5, "route.threshold: "),
        ("route/mode", "sometimes", "route.mode: "),
        ("make_questions/num_options", 11, "make_questions.num_options: "),
        ("distill/training/micro_batch_size", 3, "micro_batch_size 3 must divide global_batch_size 8"),
        (
            "measure_gap/audio",
            "qwen2-adio",
            "measure_gap.audio: no model 'qwen2-adio' in `models`; did you mean 'qwen2-audio'?",
        ),
        ("distill/settings/visual-to-audio/teacher", "qwen2-5-omni", "distill.settings.visual-to-audio.teacher: "),
        ("distill/settings/visual-to-audio/lables", "x", "distill.settings.visual-to-audio.lables: unknown key"),
        ("models/qwen2-vl/condition", "smell", "models.qwen2-vl.condition: "),
        (
            "data/audioset_list",
            None,
            "audioset_list, audioset_labels and audioset_clips belong together: set all three or none",
        ),
        ("preset", "huge", "preset: "),
        ("distill/training/learning_rate", math.inf, "distill.training.learning_rate: "),
        ("distill/training/learning_rate", math.nan, "distill.training.learning_rate: "),
        ("distill/training/learning_rate", 3.0, "distill.training.learning_rate: "),
        ("distill/training/epochs", math.inf, "distill.training.epochs: "),
        ("distill/lora/dropout", 1.0, "distill.lora.dropout: "),
        ("report/thresholds/switch.balanced_accuracy", math.nan, "report.thresholds.switch.balanced_accuracy: "),
        ("curate/clip_seconds", math.inf, "curate.clip_seconds: "),
        ("curate/clip_seconds", 5.0, "curate: min_seconds 8 must not exceed clip_seconds 5"),
        ("curate/min_seconds", 12.0, "curate: min_seconds 12 must not exceed clip_seconds 10"),
        ("curate/clip_seconds", 60.0, "curate.clip_seconds: "),
        ("human_study/slow_median_seconds", 0.5, "human_study: inattention.fast_seconds 1 must be less than"),
        ("curate/frames_per_second", 0.04, "curate: frames_per_second 0.04 gives clips of min_seconds 8 no frame"),
        ("curate/frames_per_second", 1e6, "curate.frames_per_second: "),
        ("curate/max_pixels", 10**12, "curate.max_pixels: "),
        ("models/qwen2-vl/splits", ["finetune", "analysis", "analysis"], "splits: contains a duplicate"),
        ("models/qwen2-vl/title", " qwen2-AUDIO  (tiny)", "title: ' qwen2-AUDIO  (tiny)' is already the title of"),
        ("import_answers/respondents/human-eyes/title", "Human ears", "'Human ears' is already the title of"),
        ("distill/settings/visual-to-audio-kl/title", "Teacher's labels (default)", "is already the title of"),
        ("models/qwen2-vl/title", " ", "models.qwen2-vl.title: is blank"),
        ("import_answers/aggregation", "mean", "import_answers.aggregation: "),
        (
            "import_answers/respondents/human-ears/fil",
            "x.csv",
            "import_answers.respondents.human-ears.fil: unknown key",
        ),
        (
            "import_answers/respondents/qwen2-vl",
            FILE_RESPONDENT,
            "'qwen2-vl' is already a name in models; choose another",
        ),
        ("import_answers/respondents/a.b", FILE_RESPONDENT, "import_answers.respondents: 'a.b' is not a valid name"),
        ("report/reference_gap/audio", "human-eers", "report.reference_gap.audio: no model 'human-eers'"),
        ("distill/settings/visual-to-audio/student", "human-ears", "student: no model 'human-ears' in `models`"),
    ],
)
def test_error_names_the_full_key(values, key, value, message):
    set_value(values, key, value)
    with pytest.raises(config.ConfigError) as error:
        config.parse(values)
    assert message in str(error.value)


def test_file_respondent_can_be_a_side_of_the_gap_and_a_teacher(values):
    set_value(values, "import_answers/respondents/ears", FILE_RESPONDENT)
    set_value(values, "measure_gap/audio", "ears")
    values["distill"]["settings"] = {"x": values["distill"]["settings"]["visual-to-audio"] | {"teacher": "ears"}}
    values["distill"]["settings"]["x"]["student"] = "qwen2-vl"
    parsed = config.parse(values)
    assert parsed.get_respondent("ears").title == "Ears"
    assert parsed.get_respondent("qwen2-vl").family == "qwen2_vl"


def test_missing_key_is_named(values):
    del values["train_switch"]["warmup_ratio"]
    with pytest.raises(config.ConfigError, match=r"train_switch\.warmup_ratio: missing"):
        config.parse(values)


def test_all_wrong_keys_are_named_at_once(values):
    set_value(values, "train_switch/epochs", 0)
    set_value(values, "make_questions/seed", -1)
    with pytest.raises(config.ConfigError) as error:
        config.parse(values)
    assert {"train_switch.epochs", "make_questions.seed"} <= {
        line.split(":")[0] for line in str(error.value).splitlines()
    }


@pytest.mark.parametrize(("old", "new"), config.RENAMED_KEYS.items())
def test_renamed_key_is_reported_with_its_new_name(values, old, new):
    old, new = old.replace("*", "qwen2-vl"), new.replace("*", "qwen2-vl")
    set_value(values, old.replace(".", "/"), 1)
    with pytest.raises(config.ConfigError) as error:
        config.parse(values)
    assert str(error.value).splitlines() == [f"{old}: renamed to {new}"]


@pytest.mark.parametrize(("old", "new"), config.RENAMED_KEYS.items())
def test_renamed_keys_exist_under_the_new_name_only(values, old, new):
    def exists(key):
        node = values
        for part in key.replace("*", "qwen2-vl").split("."):
            if part not in node:
                return False
            node = node[part]
        return True

    assert exists(new) and not exists(old)


def test_keys_below_a_renamed_block_are_reported(values):
    old_blocks = {new: old for old, new in config.RENAMED_KEYS.items() if "." not in old}
    expected = {f"{old}: renamed to {new}" for new, old in old_blocks.items()}
    for old, new in config.RENAMED_KEYS.items():
        block, *keys = old.split(".")
        if block in old_blocks and len(keys) == 1:
            values.setdefault(old_blocks[block], {})[keys[0]] = 1
            expected.add(f"{old_blocks[block]}.{keys[0]}: renamed to {new}")
    values["study"]["careless"] = {"fast_share": 0.25}
    values["gap"] = {}
    expected.add("study.careless.fast_share: renamed to human_study.inattention.fast_fraction")
    with pytest.raises(config.ConfigError) as error:
        config.parse(values)
    assert expected - {"size: renamed to preset"} == set(str(error.value).splitlines())


def test_acceleration_covers_every_switch(values):
    switches = config.AccelerationConfig.model_fields
    assert set(values["acceleration"]) == set(switches)
    assert not any(config.AccelerationConfig.off().model_dump().values())


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "not valid YAML"), ("", "must be a mapping of blocks"), ("- 1", "must be a mapping of blocks")],
)
def test_file_that_is_not_a_mapping_is_rejected(tmp_path, text, message):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(config.ConfigError, match=message):
        config.load(file)


def test_yaml_is_read_as_dvc_reads_it(tmp_path):
    text = (ROOT / "params/embedded.yaml").read_text()
    changes = {"learning_rate: 1.0e-3": "learning_rate: 1e-3", 'headphone_check: "off"': "headphone_check: off",
               "epochs: 8 ": "epochs: 017 ", "title: Qwen2-VL (tiny)": "title: 12:30"}  # fmt: skip
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "params.yaml").write_text(text)
    parsed = config.load(tmp_path / "params.yaml")
    assert parsed.distill.training.learning_rate == parsed.train_switch.learning_rate == 1e-3
    assert (parsed.human_study.headphone_check, parsed.train_switch.epochs) == ("off", 17)
    assert parsed.models["qwen2-vl"].title == "12:30"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  epochs: 8 ",
            "  epochs: 8\n  epochs: 30 ",
            r'line \d+: found duplicate key "epochs".*remove one of the two',
        ),
        ("Teacher's labels", "Mod\xe8les", r"line \d+: byte 0xe8 is not UTF-8: save the file with the encoding UTF-8"),
        ("drop_multi_name_labels: true", "drop_multi_name_labels: yes", "curate.drop_multi_name_labels: "),
        ("learning_rate: 1.0e-3", "learning_rate: .inf", "train_switch.learning_rate: "),
        ("seed: 0", "seed: 2026-01-01", "curate.seed: "),
        ("seed: 0", "seed: 2026-99-99", "not valid YAML: month must be in"),
        ("seed: 0", "\tseed: 0", r"line \d+: not valid YAML"),
        (
            "preset: embedded",
            "preset: !!python/object:os.system {}",
            "not valid YAML: could not determine a constructor",
        ),
        ("preset: embedded", "preset: &a [*a]", "preset: "),
    ],
)
def test_a_faulty_file_is_refused_with_line_or_key(tmp_path, old, new, message):
    text = (ROOT / "params/embedded.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_bytes(text.replace(old, new, 1).encode("latin-1"))
    with pytest.raises(config.ConfigError, match=message):
        config.load(tmp_path / "params.yaml")


def test_missing_file_error_says_where_to_run_the_command(tmp_path):
    with pytest.raises(config.ConfigError, match="run this command in the project's root folder"):
        config.load(tmp_path / "params.yaml")


def test_rehearsal_parameters_are_valid_and_point_to_the_generated_clips(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import rehearsal

    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(rehearsal.make_parameters(compile=False, small=True)))
    data, out = config.load(file).data, rehearsal.STAGES["synthetic"][2]
    assert rehearsal.STAGES["synthetic"][1] == "--out"
    assert (data.vggsound_clips, data.audioset_clips) == (f"{out}/vggsound", f"{out}/audioset/clips")
