"""Tables, metrics and thresholds: values against direct calculation, and the paper's numbers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from synesthesia import stats
from synesthesia.analysis import headline, loading, metrics, published, tables, thresholds
from synesthesia.analysis.results import Results

pytestmark = pytest.mark.slow  # real files and figures: seconds each

AUDIO, VISUAL, DEFAULT, UPPER_BOUND = "qwen2-audio", "qwen2-vl", "visual-to-audio", "visual-to-audio-ground-truth"
HUMANS = ["human-ears", "human-eyes", "human-ears-and-eyes"]
EMBEDDED_PARAMS = Path(__file__).parents[3] / "params/embedded.yaml"


def count_answers(writer, folder, split):
    """Count correct, all and unparseable answers of a file."""
    answers = pd.read_parquet(writer.out / folder / f"{split}.parquet").merge(writer.questions, on="question_id")
    correct = answers["choice"] == answers["target"]
    return correct.sum(), len(answers), answers["choice"].isna().sum()


def test_table1_equals_the_files(results, writer):
    row = tables.build_table1(results).set_index("respondent").loc[AUDIO]
    n_correct, n_answers, n_unparseable = count_answers(writer, f"evaluate/{AUDIO}", "analysis")
    expected = stats.wilson(n_correct, n_answers)
    assert row["analysis_accuracy"] == expected.estimate
    assert (row["analysis_accuracy_low"], row["analysis_accuracy_high"]) == (expected.low, expected.high)
    assert (row["analysis_n_answers"], row["analysis_n_unparseable"]) == (n_answers, n_unparseable)
    assert (row["paper_analysis_accuracy"], row["paper_test_accuracy"]) == (0.719, 0.690)


def test_table1_lists_each_default_student_below_its_original(results):
    table = tables.build_table1(results)
    assert list(table["respondent"]) == [AUDIO, DEFAULT, VISUAL, "audio-to-visual", "qwen2-5-omni", *HUMANS]
    assert list(table["role"]) == ["original", "distilled", "original", "distilled", "original", *["human"] * 3]
    assert table["paper_analysis_accuracy"].tolist()[:5] == [0.719, 0.926, 0.885, 0.914, 0.926]


def test_table2_compares_each_setting_with_its_students_default(results):
    table = tables.build_table2(results).set_index("setting")
    assert list(table.index) == list(results.config.distill.settings)
    assert table.loc[[DEFAULT, "audio-to-visual"], "analysis_difference"].isna().all()
    pair = results.pair_answers("analysis", DEFAULT, UPPER_BOUND)
    expected = pair[UPPER_BOUND].mean() - pair[DEFAULT].mean()
    assert table.loc[UPPER_BOUND, "analysis_difference"] == pytest.approx(expected)
    assert table.loc[UPPER_BOUND, "analysis_p"] == stats.mcnemar(pair[DEFAULT], pair[UPPER_BOUND]).p_value
    assert (table["analysis_p_holm"].dropna() >= table["analysis_p"].dropna()).all()
    audio_settings = [name for name in table.index if table.loc[name, "student"] == AUDIO]
    assert table.loc[audio_settings, "paper_analysis_accuracy"].tolist() == [0.926, 0.921, 0.923, 0.964, 0.925]


def test_before_and_after_are_over_the_same_questions(results):
    table = tables.build_before_after_table(results)
    assert len(table) == 3 * len(results.config.distill.settings)
    assert np.allclose(table["after"] - table["before"], table["difference"])
    assert np.allclose((table["n_improved"] - table["n_worsened"]) / table["n_questions"], table["difference"])


def test_label_table_has_gap_gain_and_switch(results):
    table = tables.build_label_table(results)
    assert list(table.groupby("split").size()) == [9, 3]
    row = table[table["label"].str.startswith("<b>")].iloc[0]
    closed = results.route[results.route["label"] == row["label"]]["visual_teaches"]
    assert (row["switch_closed_fraction"], row["n_finetune_clips"]) == (closed.mean(), 8)
    assert table.loc[table["split"] == "unseen", "switch_closed_fraction"].isna().all()
    assert np.allclose(table["after"] - table["audio"], table["gain"])


def test_letter_fractions_sum_to_one_minus_unparseable(results):
    table = tables.build_position_bias_table(results)
    totals = table.groupby("respondent")[["target_fraction", "chosen_fraction"]].sum()
    assert np.allclose(totals["target_fraction"], 1)
    unparseable = {r: results.get_answers(r, "analysis")["choice"].isna().mean() for r in totals.index}
    assert np.allclose(totals["chosen_fraction"], 1 - pd.Series(unparseable))
    assert not set(HUMANS) & set(totals.index)


def test_rejected_files_are_counted_by_reason(results):
    table = tables.build_rejected_table(results)
    assert table[["reason", "n_files"]].to_numpy().tolist() == [["truncated", 2], ["no audio", 1]]


def test_text_with_a_different_letter_is_counted():
    frame = pd.DataFrame(
        {
            "letter_logits": [[0.0, 9.0], [9.0, 0.0], [9.0, 0.0], None],
            "text": ["A", "A.", "no idea", "B"],
            "options": [["cat", "dog"]] * 4,
        }
    )
    assert loading.count_letter_agreement(frame, "x") == {
        "respondent": "x",
        "n_answers": 3,
        "n_different_letter": 1,
        "n_no_letter": 1,
    }


def test_metrics_equal_direct_calculation(report_folder, results):
    values = json.loads((report_folder / "metrics.json").read_text())
    pairs = {name: results.pair_answers("analysis", AUDIO, name) for name in (DEFAULT, UPPER_BOUND)}
    gains = {name: pair[name].mean() - pair[AUDIO].mean() for name, pair in pairs.items()}
    recovered = gains[DEFAULT] / gains[UPPER_BOUND]
    assert values["recovered_fraction_of_ground_truth"] == pytest.approx(recovered, abs=1e-5)
    assert values["gain"][DEFAULT]["analysis"] == pytest.approx(gains[DEFAULT], abs=1e-5)
    pair = results.pair_answers("test", DEFAULT, VISUAL)
    difference = pair[DEFAULT].mean() - pair[VISUAL].mean()
    assert values["student_minus_teacher"]["test"] == pytest.approx(difference, abs=1e-5)
    assert set(values["unseen"]) == {"before", "after", "gain"}
    assert set(values["switch"]) >= {"accuracy", "balanced_accuracy", "always_visual_accuracy", "validation"}
    assert values["letter_agreement"]["different_letter"] == 0
    assert values["accuracy"]["qwen2-5-omni"].keys() == {"analysis", "test", "unseen"}
    assert all(isinstance(value, float) for value in tables.flatten(values).values())


def test_default_setting_is_identified_by_kind_not_by_name(results):
    settings = results.config.distill.settings
    renamed = {f"run-{i}": setting for i, setting in enumerate(reversed(settings.values()))}
    distill = results.config.distill.model_copy(update={"settings": renamed})
    config = results.config.model_copy(update={"distill": distill})
    renamed_results = Results(**vars(results) | {"config": config})
    assert renamed[renamed_results.find_default_setting(AUDIO)] == settings[DEFAULT]
    assert renamed[renamed_results.find_upper_bound_setting(VISUAL)] == settings["audio-to-visual-ground-truth"]


def test_published_numbers_equal_the_papers_tables():
    assert published.load_facts()["labels"] == 286
    assert published.get_model_accuracies("kimi_audio") == {"analysis": 0.706, "test": 0.667}
    assert published.get_model_accuracies("unknown_family") == {}


def test_headline_ratio_equals_direct_calculation(results):
    headlines = {h.key: h for h in headline.compute_headlines(results)}
    pair = results.pair_answers("analysis", AUDIO, VISUAL, DEFAULT)
    expected = (pair[DEFAULT].mean() - pair[AUDIO].mean()) / (pair[VISUAL].mean() - pair[AUDIO].mean())
    interval = headlines["fraction_of_teacher_lead"].interval
    assert interval.estimate == pytest.approx(expected)
    assert interval.low < interval.estimate < interval.high


@pytest.mark.parametrize(("minimum", "exit_status"), [(0.5, 0), (0.999, 1)])
def test_thresholds_fail_only_below_the_minimum(report_folder, tmp_path, capsys, minimum, exit_status):
    path = tmp_path / "params.yaml"
    values = yaml.safe_load(EMBEDDED_PARAMS.read_text())
    values["report"]["thresholds"] = {"accuracy.qwen2-5-omni.analysis": minimum}
    path.write_text(yaml.safe_dump(values))
    arguments = ["--params", str(path), "--metrics", str(report_folder / "metrics.json")]
    assert thresholds.main(arguments) == exit_status
    assert ("ok  " if exit_status == 0 else "FAIL") in capsys.readouterr().out


@pytest.mark.parametrize("values", [{}, {"a": {"b": "high"}}, {"a": 1.0}])
def test_a_missing_metric_fails_its_threshold(values):
    assert [passes for *_, passes in thresholds.check_thresholds(values, {"a.b": 0.1})] == [False]


def test_thresholds_without_a_report_name_the_command(tmp_path, capsys):
    arguments = ["--params", str(EMBEDDED_PARAMS), "--metrics", str(tmp_path / "none.json")]
    assert thresholds.main(arguments) == 1
    assert "dvc repro report" in capsys.readouterr().err


def test_a_metric_that_is_not_finite_is_rejected():
    with pytest.raises(ValueError, match="not a finite number"):
        metrics._round_values({"a": float("nan")})
