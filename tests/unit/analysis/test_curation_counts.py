"""What the report says of the data: counts after each rule, and VGGSounder's slices with the real annotations."""

import json

import numpy as np
import pandas as pd
import pytest

from synesthesia.analysis import curation_counts, html_report, tables, vggsounder
from synesthesia.analysis.results import load_results
from tests.helpers.study_outputs import Maker, parameters

pytestmark = pytest.mark.slow  # real files: seconds each


@pytest.fixture(scope="module")
def maker(tmp_path_factory) -> Maker:
    made = Maker(tmp_path_factory.mktemp("study") / "out", parameters())
    made.write()
    return made


def test_the_counts_after_each_rule_stand_above_the_papers(maker):
    counts = {"as_listed": (309, 183730, 15446), "one_name_per_label": (286, 164767, 14296)}
    counted = {rule: dict(zip(("labels", "train_clips", "test_clips"), n, strict=True)) for rule, n in counts.items()}
    (maker.out / "curate/counts.json").write_text(json.dumps({"vggsound": {"rules": counted}}))
    study = load_results(maker.params, maker.out)
    rows = [tuple(row) for row in curation_counts.build_curation_table(study).itertuples(index=False)]
    assert rows == [
        ("as listed", 309, 183730, 15446),
        ("labels that list several names left out", 286, 164767, 14296),
        ("usable: there, and decoded", 12, 144, 72),
        ("the paper", 286, 163760, 14202),
    ]
    assert set(curation_counts.RULE_TITLES) >= set(counted)


def test_without_counts_or_annotations_the_tables_are_empty(maker, monkeypatch):
    (maker.out / "curate/counts.json").write_text("{}")
    study = load_results(maker.params, maker.out)
    assert curation_counts.build_curation_table(study).empty and vggsounder.build_slice_table(study).empty
    text = html_report.render_page(study, made := tables.build_tables(study), [], _blank(made))
    assert "Nothing was counted" in text and "VGGSounder" not in text


def _blank(_) -> list[dict]:
    names = ("figure1", "figure3", "gap", "switch", "table2", "positions")
    return [{"name": name, "says": name, "svg": b"<svg/>"} for name in names]


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """A study whose test clips are VGGSound's own, the first labels of 1,000 clips that VGGSounder annotates."""
    reason = "the package vggsounder is not installed: pip install -e .[vggsounder]"
    pytest.importorskip("vggsounder", reason=reason)
    made = Maker(tmp_path_factory.mktemp("real") / "out", parameters(), labels=12, clips=6)
    real = vggsounder.annotations()
    one = real.drop_duplicates("clip_id").head(72).reset_index(drop=True)
    before = Maker.write_clips

    def write_clips():
        before(made)
        test = made.clips["split"] == "test"
        made.clips.loc[test, "clip_id"] = one["clip_id"].to_numpy()
        made.questions.loc[made.questions["split"] == "test", "clip_id"] = one["clip_id"].to_numpy()
        names = dict(zip(one["clip_id"], one["label"].replace({"police car (siren)": "police car"}), strict=True))
        rows = made.questions.to_dict("records")
        for row in rows:
            if row["clip_id"] in names:
                row["options"] = list(row["options"])
                row["options"][row["target"]] = names[row["clip_id"]]
        for known in made.knows.values():
            known |= dict.fromkeys(names.values(), 0.7)
        made.questions = pd.DataFrame(rows)
        from synesthesia import schemas

        made._parquet(rows, schemas.QUESTION, "make_questions/questions.parquet")
        clips = made.clips.to_dict("records")
        for clip in clips:
            clip["video_id"] = clip["clip_id"][:-7]
        made._parquet(clips, schemas.CLIP, "curate/clips.parquet")

    made.write_clips = write_clips
    made.write()
    return load_results(made.params, made.out), one, real


def test_slices_hold_exactly_the_clips_that_the_annotators_marked(annotated):
    study, one, real = annotated
    belongs = vggsounder.assign_slices(study)
    clips = study.questions.loc[belongs.index, "clip_id"].to_numpy()
    own = one.set_index("clip_id").loc[clips]
    assert len(belongs) == 72 and real["clip_id"].nunique() > 12_000
    assert (belongs["heard"].to_numpy() == own["modality"].isin(["A", "AV"])).all()
    assert (belongs["seen"].to_numpy() == own["modality"].isin(["V", "AV"])).all()
    assert (belongs["both"].to_numpy() == (own["modality"] == "AV")).all()
    assert (belongs["without_music"].to_numpy() == ~own["music"]).all()
    assert not belongs["unconfirmed"].any() and 0 < belongs["without_music"].sum() < 72


def test_accuracies_on_a_slice_are_those_of_its_answers(annotated):
    study, _, _ = annotated
    table = vggsounder.build_slice_table(study).set_index(["respondent", "slice"])
    belongs = vggsounder.assign_slices(study)
    answers = study.of("qwen2-audio", "test").set_index("question_id")["correct"]
    heard = answers[belongs.index[belongs["heard"]]]
    row = table.loc[("qwen2-audio", "heard")]
    assert row["clips"] == len(heard) and np.isclose(row["accuracy"], heard.mean())
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    assert set(table.index.get_level_values(0)) == {person.key for person in study.respondents}
    made = tables.build_tables(study)
    assert "label can be heard" in html_report.render_page(study, made, [], _blank(made))
