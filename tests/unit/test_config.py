"""Parameters: what is wrong stops everything, by the key's full name and with what is allowed."""

from pathlib import Path

import pytest
import yaml

from synesthesia import config

ROOT = Path(__file__).parents[2]
EARS = {"title": "Ears", "file": "x.csv", "condition": "audio", "human": True}
PRESETS = [ROOT / "params/embedded.yaml", ROOT / "params/paper.yaml"]


@pytest.fixture
def values():
    return yaml.safe_load((ROOT / "params/embedded.yaml").read_text())


def put(values, key, value):
    *parents, last = key.split("/")
    for part in parents:
        values = values[part]
    values[last] = value


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_is_valid_and_names_its_own_size(path):
    assert config.load(path).preset == path.stem


def shape(values, free=("models", "respondents", "settings", "display_names", "bounds")):
    """Keys, without the names that a study chooses itself and with the keys below them."""
    if not isinstance(values, dict):
        return None
    return {key: shape(value) if key not in free else _each(value) for key, value in values.items()}


def _each(named):
    shapes = {str(shape(value)) for value in named.values()}
    return sorted(shapes)


def test_presets_have_the_same_structure():
    shapes = [shape(yaml.safe_load(path.read_text())) for path in PRESETS]
    assert shapes[0] == shapes[1]


def test_presets_compare_the_same_settings():
    settings = [set(config.load(path).distill.settings) for path in PRESETS]
    assert settings[0] == settings[1]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_no_name_holds_a_dot_since_dvc_reads_dots_as_levels(path):
    preset = config.load(path)
    assert [name for name in [*preset.models, *preset.distill.settings] if "." in name] == []


def test_the_paper_preset_has_the_papers_values():
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
    ("key", "value", "said"),
    [
        ("ask/optins", 10, "ask.optins: unknown key; did you mean options?"),
        ("distill/training/learning_rte", 1e-4, "distill.training.learning_rte: unknown key; did you mean"),
        ("switch/epochs", "12", "switch.epochs: "),
        ("switch/epochs", 0, "switch.epochs: "),
        ("switch/epochs", 1.5, "switch.epochs: "),
        ("curate/drop_multi_name_labels", "yes", "curate.drop_multi_name_labels: "),
        ("route/threshold", 1.5, "route.threshold: "),
        ("route/mode", "sometimes", "route.mode: "),
        ("ask/options", 11, "make_questions.num_options: "),
        ("distill/training/micro_batch", 3, "micro_batch_size 3 must divide global_batch_size 8"),
        ("gap/audio", "qwen2-adio", "gap.audio: no model 'qwen2-adio' under `models`; did you mean 'qwen2-audio'?"),
        ("distill/settings/visual-to-audio/teacher", "qwen2-5-omni", "distill.settings.visual-to-audio.teacher: "),
        ("distill/settings/visual-to-audio/lables", "x", "distill.settings.visual-to-audio.lables: unknown key"),
        ("models/qwen2-vl/condition", "smell", "models.qwen2-vl.condition: "),
        ("data/audioset_list", None, "audioset_list, audioset_labels and audioset_clips belong together"),
        ("size", "huge", "size: "),
        ("collect/several", "mean", "import_answers.aggregation: "),
        ("collect/respondents/human-ears/fil", "x.csv", "import_answers.respondents.human-ears.fil: unknown key"),
        ("collect/respondents/qwen2-vl", EARS, "'qwen2-vl' is the name of one of models; choose another"),
        ("collect/respondents/a.b", EARS, "import_answers.respondents: 'a.b' is no name"),
        ("report/compare/audio", "human-eers", "report.reference_gap.audio: no model 'human-eers'"),
        ("distill/settings/visual-to-audio/student", "human-ears", "student: no model 'human-ears' under `models`"),
    ],
)
def test_a_wrong_value_is_named_in_full(values, key, value, said):
    put(values, key, value)
    with pytest.raises(config.ConfigError) as error:
        config.parse(values)
    assert said in str(error.value)


def test_somebodys_file_may_be_a_side_of_the_gap_and_a_teacher(values):
    put(values, "collect/respondents/ears", EARS)
    put(values, "gap/audio", "ears")
    values["distill"]["settings"] = {"x": values["distill"]["settings"]["visual-to-audio"] | {"teacher": "ears"}}
    values["distill"]["settings"]["x"]["student"] = "qwen2-vl"
    read = config.parse(values)
    assert read.get_respondent("ears").title == "Ears"
    assert read.get_respondent("qwen2-vl").family == "qwen2_vl"


def test_a_missing_key_is_named(values):
    del values["switch"]["warmup"]
    with pytest.raises(config.ConfigError, match=r"switch\.warmup: missing"):
        config.parse(values)


def test_every_wrong_key_is_named_at_once(values):
    put(values, "switch/epochs", 0)
    put(values, "ask/seed", -1)
    with pytest.raises(config.ConfigError) as error:
        config.parse(values)
    assert {"switch.epochs", "ask.seed"} <= {line.split(":")[0] for line in str(error.value).splitlines()}


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "is not valid YAML"), ("", "must be a mapping of blocks"), ("- 1", "must be a mapping of blocks")],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text, said):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(config.ConfigError, match=said):
        config.load(file)


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(config.ConfigError, match="run from the project's top folder"):
        config.load(tmp_path / "params.yaml")


def test_the_rehearsals_parameters_are_valid_and_its_clips_lie_where_the_world_puts_them(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import rehearsal

    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(rehearsal.parameters(compile=False, small=True)))
    data, out = config.load(file).data, rehearsal.STAGES["world"][2]
    assert rehearsal.STAGES["world"][1] == "--out"
    assert (data.vggsound_clips, data.audioset_clips) == (f"{out}/vggsound", f"{out}/audioset/clips")
