"""Curation counts, and VGGSounder's slices with the real annotations."""

import json

import numpy as np
import pandas as pd
import pytest

from synesthesia import schemas
from synesthesia.analysis import curation_counts, html_report, tables, vggsounder
from synesthesia.analysis.loading import load_results
from tests.helpers.study_outputs import StudyWriter, make_config

pytestmark = pytest.mark.slow  # real files: seconds each


@pytest.fixture(scope="module")
def writer(tmp_path_factory) -> StudyWriter:
    writer = StudyWriter(tmp_path_factory.mktemp("study") / "out", make_config())
    writer.write()
    return writer


def test_curation_table_lists_each_step_and_the_papers_counts(writer):
    counts = {"published": (309, 183730, 15446), "single_name_labels": (286, 164767, 14296)}
    columns = ("labels", "train_clips", "test_clips")
    steps = {step: dict(zip(columns, values, strict=True)) for step, values in counts.items()}
    (writer.out / "curate/counts.json").write_text(json.dumps({"vggsound": {"curation_steps": steps}}))
    results = load_results(writer.config, writer.out)
    rows = [tuple(row) for row in curation_counts.build_curation_table(results).itertuples(index=False)]
    assert rows == [
        ("as published", 309, 183730, 15446),
        ("without labels that list several names", 286, 164767, 14296),
        ("usable: exists and decodes", 12, 144, 72),
        ("the paper", 286, 163760, 14202),
    ]
    assert set(curation_counts.STEP_TITLES) >= set(steps)


def test_without_counts_or_annotations_the_tables_are_empty(writer):
    (writer.out / "curate/counts.json").write_text("{}")
    results = load_results(writer.config, writer.out)
    assert curation_counts.build_curation_table(results).empty and vggsounder.build_slice_table(results).empty
    page = html_report.render_page(results, tables.build_tables(results), [], _empty_figures())
    assert "There are no counts" in page and "VGGSounder" not in page


def _empty_figures() -> list[dict]:
    names = ("figure1", "figure3", "gap", "switch", "table2", "position_bias")
    return [{"name": name, "alt_text": name, "svg": b"<svg/>"} for name in names]


class AnnotatedStudyWriter(StudyWriter):
    """Study whose test clips are real clips of VGGSound with their labels."""

    real_clips: pd.DataFrame  # clip_id and label, one row per test clip

    def write_clips(self) -> None:
        super().write_clips()
        is_test = self.clips["split"] == "test"
        self.clips.loc[is_test, "clip_id"] = self.real_clips["clip_id"].to_numpy()
        self.questions.loc[self.questions["split"] == "test", "clip_id"] = self.real_clips["clip_id"].to_numpy()
        labels = self.real_clips["label"].replace({"police car (siren)": "police car"})
        label_by_clip = dict(zip(self.real_clips["clip_id"], labels, strict=True))
        questions = self.questions.to_dict("records")
        for question in questions:
            if question["clip_id"] in label_by_clip:
                question["options"] = list(question["options"])
                question["options"][question["target"]] = label_by_clip[question["clip_id"]]
        for accuracy in self.accuracy.values():
            accuracy |= dict.fromkeys(label_by_clip.values(), 0.7)
        self.questions = pd.DataFrame(questions)
        self.write_table(questions, schemas.QUESTION, "make_questions/questions.parquet")
        clips = self.clips.to_dict("records")
        for clip in clips:
            clip["video_id"] = clip["clip_id"][:-7]
        self.write_table(clips, schemas.CLIP, "curate/clips.parquet")


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """A study whose test clips are the first 72 clips that VGGSounder annotates; results, clips, annotations."""
    reason = "the package vggsounder is not installed: pip install -e .[vggsounder]"
    pytest.importorskip("vggsounder", reason=reason)
    writer = AnnotatedStudyWriter(tmp_path_factory.mktemp("real") / "out", make_config(), labels=12, clips=6)
    annotations = vggsounder.load_annotations()
    writer.real_clips = annotations.drop_duplicates("clip_id").head(72).reset_index(drop=True)
    writer.write()
    return load_results(writer.config, writer.out), writer.real_clips, annotations


def test_slices_contain_exactly_the_annotated_clips(annotated):
    results, real_clips, annotations = annotated
    slices = vggsounder.assign_slices(results)
    clips = results.questions.loc[slices.index, "clip_id"].to_numpy()
    expected = real_clips.set_index("clip_id").loc[clips]
    assert len(slices) == 72 and annotations["clip_id"].nunique() > 12_000
    assert (slices["audible"].to_numpy() == expected["modality"].isin(["A", "AV"])).all()
    assert (slices["visible"].to_numpy() == expected["modality"].isin(["V", "AV"])).all()
    assert (slices["audible_and_visible"].to_numpy() == (expected["modality"] == "AV")).all()
    assert (slices["without_music"].to_numpy() == ~expected["music"]).all()
    assert not slices["unconfirmed"].any() and 0 < slices["without_music"].sum() < 72


def test_slice_accuracies_are_over_the_answers_of_the_slice(annotated):
    results, _, _ = annotated
    table = vggsounder.build_slice_table(results).set_index(["respondent", "slice"])
    slices = vggsounder.assign_slices(results)
    correct = results.get_answers("qwen2-audio", "test").set_index("question_id")["correct"]
    audible = correct[slices.index[slices["audible"]]]
    row = table.loc[("qwen2-audio", "audible")]
    assert row["n_clips"] == len(audible) and np.isclose(row["accuracy"], audible.mean())
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    assert set(table.index.get_level_values(0)) == {respondent.key for respondent in results.respondents}
    page = html_report.render_page(results, tables.build_tables(results), [], _empty_figures())
    assert "label audible" in page
