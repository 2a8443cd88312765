"""A model is asked in its entry's condition, or refused before anything runs."""

from pathlib import Path

import pytest
import torch

from synesthesia import config, models
from synesthesia.data.clip_batches import QuestionDataset
from synesthesia.pipeline import presets
from tests.helpers.preset_files import embedded
from tests.helpers.tiny_checkpoints import clip_inputs, model_entry, prompts, small_store

pytestmark = pytest.mark.torch
OFF = config.AccelerationConfig.off()


def test_every_family_has_conditions():
    assert set(models.CONDITIONS) == {*models.FAMILIES, *models.TEXT_ONLY_FAMILIES}
    for family in models.FAMILIES:
        assert models.model_class(family).condition in models.CONDITIONS[family]


@pytest.mark.parametrize("condition", models.CONDITIONS["qwen2_5_omni"])
@torch.inference_mode()
def test_omni_perceives_exactly_its_condition_with_and_without_acceleration(condition):
    entry = model_entry("qwen2_5_omni", condition=condition)
    plain, fast = (models.load_model(entry, acceleration=a) for a in (OFF, None))
    batch = plain.collate(clip_inputs(condition), prompts())
    assert ("pixel_values_videos" in batch) == (condition != "audio")
    assert ("input_features" in batch) == (condition != "silent_video")
    logits = plain.answer_logits(dict(batch))
    torch.testing.assert_close(fast.answer_logits(dict(batch)), logits, atol=1e-4, rtol=0)
    alone = [
        plain.answer_logits(plain.collate([c], [p])) for c, p in zip(clip_inputs(condition), prompts(), strict=True)
    ]
    torch.testing.assert_close(torch.cat(alone), logits, atol=1e-4, rtol=0)


def test_clips_are_loaded_in_the_condition_of_the_entry():
    clips, questions, store = small_store()
    model = models.load_model(model_entry("qwen2_5_omni", condition="audio"))
    _, inputs = QuestionDataset(model, questions, clips, store, 2, 1)[0]
    assert "pixel_values_videos" not in inputs and "input_features" in inputs


@torch.inference_mode()
def test_the_rate_of_frames_reaches_the_models_that_see_time():
    for family in ("qwen2_5_omni", "qwen2_5_vl", "qwen3_vl", "videollama3"):
        entry = model_entry(family)
        slow, fast = (models.load_model(entry, acceleration=OFF, frames_per_second=rate) for rate in (1.0, 2.0))
        batches = [m.collate(clip_inputs(entry.condition), prompts()) for m in (slow, fast)]
        assert any(
            batches[0][key].shape != batches[1][key].shape or not torch.equal(batches[0][key], batches[1][key])
            for key in ("input_ids", "position_ids")
            if key in batches[0]
        ), family


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"condition": "sounded_video"},
            r"models\.m\.condition: a model of family qwen2_audio cannot be asked in sounded",
        ),
        ({"family": "qwen9"}, r"models\.m\.family: 'qwen9' is not known; known: qwen2_audio"),
        ({"dtype": None}, r"models\.m\.dtype: missing"),
    ],
)
def test_an_entry_that_cannot_be_asked_is_refused(change, message):
    entry = next(iter(embedded().models.values())).model_copy(update=change)
    with pytest.raises(models.ModelError, match=message):
        models.check_entry(entry, "m")


def test_check_reads_the_file_of_an_endpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("e.yaml").write_text("url: http://x\nmodel: m\ntimeout: 3\n")
    entry = next(iter(embedded().models.values())).model_copy(update={"family": "endpoint", "checkpoint": "e.yaml"})
    with pytest.raises(models.ModelError, match=r"e\.yaml: timeout: "):
        models.check_entry(entry, "m")


def test_check_names_every_entry_that_cannot_be_asked(tmp_path, monkeypatch):
    text = Path("params/embedded.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text.replace("condition: silent_video\n    dtype", "condition: audio\n    dtype"))
    with pytest.raises(SystemExit, match=r"params\.yaml:\nmodels\.qwen2-vl\.condition: .* only in silent_video"):
        presets.main(["check"])
