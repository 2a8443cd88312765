"""The report's figures: right counts, the paper's beside, metrics and bounds."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from synesthesia import stats
from synesthesia.analysis import headline, metrics, published, tables, thresholds
from synesthesia.analysis import results as studies

pytestmark = pytest.mark.slow  # real files and figures: seconds each

AUDIO, VISUAL, DEFAULT, BOUND = "qwen2-audio", "qwen2-vl", "visual-to-audio", "visual-to-audio-ground-truth"
HUMANS = ["human-ears", "human-eyes", "human-ears-and-eyes"]


def shares(maker, folder, split):
    answers = pd.read_parquet(maker.out / folder / f"{split}.parquet").merge(maker.questions, on="question_id")
    right = answers["choice"] == answers["target"]
    return right.sum(), len(answers), answers["choice"].isna().sum()


def test_table1_counts_what_the_files_say(study, maker):
    row = tables.build_table1(study).set_index("respondent").loc[AUDIO]
    right, total, lost = shares(maker, f"evaluate/{AUDIO}", "analysis")
    expected = stats.wilson(right, total)
    assert row["analysis_accuracy"] == expected.estimate
    assert (row["analysis_accuracy_low"], row["analysis_accuracy_high"]) == (expected.low, expected.high)
    assert (row["analysis_answers"], row["analysis_unparseable"]) == (total, lost)
    assert (row["paper_analysis_accuracy"], row["paper_test_accuracy"]) == (0.719, 0.690)


def test_table1_follows_the_parameters_order_with_each_default_student_below_its_original(study):
    table = tables.build_table1(study)
    assert list(table["respondent"]) == [AUDIO, DEFAULT, VISUAL, "audio-to-visual", "qwen2-5-omni", *HUMANS]
    assert list(table["role"]) == ["original", "distilled", "original", "distilled", "original", *["human"] * 3]
    assert table["paper_analysis_accuracy"].tolist()[:5] == [0.719, 0.926, 0.885, 0.914, 0.926]


def test_table2_compares_each_setting_with_its_students_default(study):
    table = tables.build_table2(study).set_index("setting")
    assert list(table.index) == list(study.params.distill.settings)
    assert table.loc[[DEFAULT, "audio-to-visual"], "analysis_difference"].isna().all()
    pair = study.pair("analysis", DEFAULT, BOUND)
    assert table.loc[BOUND, "analysis_difference"] == pytest.approx(pair[BOUND].mean() - pair[DEFAULT].mean())
    assert table.loc[BOUND, "analysis_p"] == stats.mcnemar(pair[DEFAULT], pair[BOUND]).p_value
    assert (table["analysis_p_holm"].dropna() >= table["analysis_p"].dropna()).all()
    ours = [name for name in table.index if table.loc[name, "student"] == AUDIO]
    assert table.loc[ours, "paper_analysis_accuracy"].tolist() == [0.926, 0.921, 0.923, 0.964, 0.925]


def test_before_and_after_are_of_the_same_questions(study):
    table = tables.build_before_after_table(study)
    assert len(table) == 3 * len(study.params.distill.settings)
    assert np.allclose(table["after"] - table["before"], table["difference"])
    assert np.allclose((table["turned_right"] - table["turned_wrong"]) / table["questions"], table["difference"])


def test_labels_tell_gap_gain_and_switch(study):
    table = tables.build_label_table(study)
    assert list(table.groupby("set").size()) == [9, 3]
    odd = table[table["label"].str.startswith("<b>")].iloc[0]
    closed = study.route[study.route["label"] == odd["label"]]["visual_teaches"]
    assert (odd["switch_closed"], odd["finetune_clips"]) == (closed.mean(), 8)
    assert table.loc[table["set"] == "unseen", "switch_closed"].isna().all()
    assert np.allclose(table["after"] - table["audio"], table["gain"])


def test_letter_shares_add_up_to_one_but_for_the_unparseable(study):
    table = tables.build_position_bias_table(study)
    totals = table.groupby("respondent")[["truth_share", "chosen_share"]].sum()
    assert np.allclose(totals["truth_share"], 1)
    lost = {r: study.of(r, "analysis")["choice"].isna().mean() for r in totals.index}
    assert np.allclose(totals["chosen_share"], 1 - pd.Series(lost))
    assert not set(HUMANS) & set(totals.index)


def test_damaged_files_are_counted_by_reason(study):
    table = tables.build_rejected_table(study)
    assert table[["reason", "files"]].to_numpy().tolist() == [["truncated", 2], ["no audio", 1]]


def test_text_that_names_another_letter_is_counted(maker):
    frame = pd.DataFrame(
        {
            "letter_logits": [[0.0, 9.0], [9.0, 0.0], [9.0, 0.0], None],
            "text": ["A", "A.", "no idea", "B"],
            "options": [["cat", "dog"]] * 4,
        }
    )
    assert studies._count_letter_agreement(frame, "x") == {
        "respondent": "x",
        "answers": 3,
        "another_letter": 1,
        "no_letter": 1,
    }


def test_metrics_hold_what_dvc_compares(reported, study):
    found = json.loads((reported / "metrics.json").read_text())
    gain = {name: study.pair("analysis", AUDIO, name) for name in (DEFAULT, BOUND)}
    gains = {name: pair[name].mean() - pair[AUDIO].mean() for name, pair in gain.items()}
    assert found["recovered_share_of_ground_truth"] == pytest.approx(gains[DEFAULT] / gains[BOUND], abs=1e-5)
    assert found["gain"][DEFAULT]["analysis"] == pytest.approx(gains[DEFAULT], abs=1e-5)
    pair = study.pair("test", DEFAULT, VISUAL)
    assert found["student_minus_teacher"]["test"] == pytest.approx(pair[DEFAULT].mean() - pair[VISUAL].mean(), abs=1e-5)
    assert set(found["unseen"]) == {"before", "after", "gain"}
    assert set(found["switch"]) >= {"accuracy", "balanced_accuracy", "always_one_accuracy", "validation"}
    assert found["letters_against_text"]["disagreement"] == 0
    assert found["accuracy"]["qwen2-5-omni"].keys() == {"analysis", "test", "unseen"}
    assert all(isinstance(value, float) for value in tables.flatten(found).values())


def test_the_default_is_found_by_kind_not_by_name(study):
    settings = study.params.distill.settings
    renamed = {f"run-{i}": setting for i, setting in enumerate(reversed(settings.values()))}
    distill = study.params.distill.model_copy(update={"settings": renamed})
    other = studies.Results(**vars(study) | {"params": study.params.model_copy(update={"distill": distill})})
    assert renamed[other.find_default_setting(AUDIO)] == settings[DEFAULT]
    assert renamed[other.find_upper_bound_setting(VISUAL)] == settings["audio-to-visual-ground-truth"]


def test_the_papers_copies_equal_its_tables():
    assert published.load_facts()["labels"] == 286
    assert published.get_model_accuracies("kimi_audio") == {"analysis": 0.706, "test": 0.667}
    assert published.get_model_accuracies("unheard_of") == {}


def test_the_headline_ratio_equals_hand_calculation(study):
    found = {h.key: h for h in headline.compute_headlines(study)}
    pair = study.pair("analysis", AUDIO, VISUAL, DEFAULT)
    expected = (pair[DEFAULT].mean() - pair[AUDIO].mean()) / (pair[VISUAL].mean() - pair[AUDIO].mean())
    lead = found["share_of_teacher_lead"].interval
    assert lead.estimate == pytest.approx(expected)
    assert lead.low < lead.estimate < lead.high


@pytest.mark.parametrize(("least", "code"), [(0.5, 0), (0.999, 1)])
def test_bounds_fail_only_below(reported, tmp_path, capsys, least, code):
    given = tmp_path / "params.yaml"
    values = yaml.safe_load((studies.Path(__file__).parents[3] / "params/embedded.yaml").read_text())
    values["report"]["bounds"] = {"accuracy.qwen2-5-omni.analysis": least}
    given.write_text(yaml.safe_dump(values))
    arguments = ["--params", str(given), "--metrics", str(reported / "metrics.json")]
    assert thresholds.main(arguments) == code
    assert ("ok  " if code == 0 else "FAIL") in capsys.readouterr().out


@pytest.mark.parametrize("metrics", [{}, {"a": {"b": "high"}}, {"a": 1.0}])
def test_a_missing_metric_breaks_its_bound(metrics):
    assert [holds for *_, holds in thresholds.check_thresholds(metrics, {"a.b": 0.1})] == [False]


def test_bounds_without_a_report_say_what_to_run(tmp_path, capsys):
    root = studies.Path(__file__).parents[3]
    arguments = ["--params", str(root / "params/embedded.yaml"), "--metrics", str(tmp_path / "none.json")]
    assert thresholds.main(arguments) == 1
    assert "dvc repro report" in capsys.readouterr().err


def test_a_metric_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="not a number"):
        metrics._round_values({"a": float("nan")})
