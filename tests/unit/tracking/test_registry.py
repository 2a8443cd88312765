"""Registered models: versions, scores, aliases, and downloads."""

import pytest

from synesthesia import tracking
from synesthesia.tracking import Record, RegisteredModel

pytestmark = pytest.mark.slow

NAME = "qwen2-audio-adapter"


@pytest.fixture
def distilled(study):
    """Log a setting's adapter and, given a score, its evaluation."""

    def log_setting(setting, content, score=None, eligible=True, test=0.0):
        folder = f"out/distill/{setting}/adapter"
        study.write(f"{folder}/adapter_model.safetensors", content)
        records = [Record("distill", setting, artifacts=[folder], model=RegisteredModel(NAME, folder, None, eligible))]
        if score is not None:
            model = RegisteredModel(NAME, folder, score, eligible)
            records.append(Record("evaluate_students", setting, metrics={"accuracy.test": test}, model=model))
        tracking.log_records(records)

    return log_setting


def setting_of(study, alias):
    return study.client().get_model_version_by_alias(NAME, alias).tags["setting"]


def versions(study):
    return {v.version: v.tags for v in study.client().search_model_versions(f"name = '{NAME}'")}


def test_best_is_the_highest_accuracy_on_analysis_never_on_test(study, distilled):
    distilled("kl", b"1", score=0.80, test=0.99)
    distilled("labels", b"2", score=0.85, test=0.10)
    assert setting_of(study, "best") == "labels"
    distilled("both", b"3", score=0.82)
    assert setting_of(study, "best") == "labels"


def test_a_setting_that_saw_ground_truth_is_the_upper_bound_and_never_best(study, distilled):
    distilled("labels", b"1", score=0.85)
    distilled("ground-truth", b"2", score=0.95, eligible=False)
    assert setting_of(study, "best") == "labels"
    assert setting_of(study, "upper-bound") == "ground-truth"


def test_an_adapter_without_evaluation_is_registered_but_not_best(study, distilled):
    distilled("labels", b"1")
    with pytest.raises(tracking.TrackingError, match=r"no registered model qwen2-audio-adapter@best.*make log"):
        tracking.fetch_model(NAME)
    assert tracking.fetch_model(NAME, "1").is_dir()


def test_a_later_score_is_added_to_the_same_version(study, distilled):
    distilled("labels", b"1")
    distilled("labels", b"1", score=0.85)
    assert [tags["analysis_accuracy"] for tags in versions(study).values()] == ["0.85"]


def test_an_evaluation_alone_registers_the_adapter_too(study):
    folder = "out/distill/labels/adapter"
    study.write(f"{folder}/adapter_model.safetensors", b"1")
    tracking.log_records([Record("evaluate_students", "labels", model=RegisteredModel(NAME, folder, 0.8))])
    assert (tracking.fetch_model(NAME) / "adapter_model.safetensors").read_bytes() == b"1"


def test_the_same_content_is_one_version_no_matter_how_often_it_is_logged(study, distilled):
    for _ in range(3):
        distilled("labels", b"1", score=0.85)
    assert len(versions(study)) == 1


def test_a_setting_distilled_again_does_not_compete_with_its_old_score(study, distilled):
    distilled("labels", b"old", score=0.90)
    distilled("kl", b"1", score=0.85)
    assert setting_of(study, "best") == "labels"
    distilled("labels", b"new", score=0.80)
    assert setting_of(study, "best") == "kl"
    distilled("labels", b"old", score=0.90)  # back to the old parameters: DVC restores, `make log` confirms
    assert setting_of(study, "best") == "labels"


def test_presets_do_not_compete(study, distilled):
    distilled("labels", b"1", score=0.95)
    study.write("params.yaml", b"preset: paper\n")
    distilled("kl", b"2", score=0.60)
    assert setting_of(study, "best") == "kl"


def test_fetch_model_downloads_the_same_bytes(study, distilled):
    distilled("labels", b"weights" * 1000, score=0.85)
    folder = tracking.fetch_model(NAME, "best")
    assert [file.name for file in folder.iterdir()] == ["adapter_model.safetensors"]
    assert (folder / "adapter_model.safetensors").read_bytes() == b"weights" * 1000
    assert tracking.fetch_model(NAME, "best") == folder


def test_the_switch_is_registered_with_its_score(study):
    study.write("out/train_switch/model/weights.safetensors", b"1")
    tracking.log_records([Record("train_switch", model=RegisteredModel("switch", "out/train_switch/model", 0.9))])
    assert (tracking.fetch_model("switch") / "weights.safetensors").read_bytes() == b"1"
