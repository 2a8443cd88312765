"""Comparison of humans with the models: tables against direct calculation, and the page's sentences."""

import json
import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from synesthesia.analysis import headline, human_tables, loading, sentences, tables
from synesthesia.analysis.figures import style
from synesthesia.distillation.gap import group_labels
from synesthesia.pipeline import report

pytestmark = pytest.mark.slow  # real files and figures: seconds each

AUDIO, VISUAL, AUDIO_VISUAL = "human-ears", "human-eyes", "human-ears-and-eyes"
AUDIO_MODEL, VISUAL_MODEL, AUDIO_VISUAL_MODEL = "qwen2-audio", "qwen2-vl", "qwen2-5-omni"


@pytest.fixture(scope="module")
def responses(writer):
    """The study's CSV file of responses, joined with the questions."""
    frame = pd.read_csv(writer.out.parent / "humans/responses.csv", dtype={"choice": "Int64"})
    frame = frame.merge(writer.questions, on="question_id")
    frame["label"] = [options[t] for options, t in zip(frame["options"], frame["target"], strict=True)]
    return frame


def mean_correct(results, respondent, label):
    answers = results.get_answers(respondent, "analysis")
    return answers[answers["label"] == label]["correct"].mean()


def test_label_table_has_both_gaps_and_their_agreement(results):
    frame = human_tables.build_human_label_table(results).set_index("label")
    assert len(frame) == 9
    for label, row in frame.iterrows():
        reference_gap = mean_correct(results, VISUAL, label) - mean_correct(results, AUDIO, label)
        for column, key in (("models_audio", AUDIO_MODEL), ("models_visual", VISUAL_MODEL)):
            assert row[column] == pytest.approx(mean_correct(results, key, label))
        assert row["reference_gap"] == pytest.approx(reference_gap)
        gap = row["models_visual"] - row["models_audio"]
        assert row["group"] == ("Tie" if abs(gap) <= 0.1 else "Visual better" if gap > 0 else "Audio better")
        product = gap * row["reference_gap"]
        expected = "tie" if abs(product) < 1e-9 else "yes" if product > 0 else "no"
        assert row["agreement"] == ("" if row["group"] == "Tie" else expected)
    test_pair = results.pair_answers("test", AUDIO_MODEL, VISUAL_MODEL)
    test_accuracy = test_pair.groupby("label")[[AUDIO_MODEL, VISUAL_MODEL]].mean()
    expected_gap = test_accuracy[VISUAL_MODEL] - test_accuracy[AUDIO_MODEL]
    assert frame["models_gap_test"].to_dict() == pytest.approx(expected_gap.to_dict())


def test_agreement_counts_exclude_ties_and_include_the_papers_counts(results):
    frame = pd.DataFrame(
        {
            "group": ["Visual better"] * 4 + ["Audio better"] * 2 + ["Tie"],
            "agreement": ["yes", "yes", "no", "tie", "tie", "yes", ""],
            "reference_audio": [0.5, 0.4, 0.2, 0.3, 1, 1, 1],
            "models_audio": [0.3, 0.4, 0.3, 0.1, 1, 1, 1],
        }
    )
    table = human_tables.build_agreement_table(results, frame).set_index("key")
    assert table[["count", "ties", "total"]].to_numpy().tolist() == [[2, 1, 4], [1, 1, 2], [2, 1, 4]]
    assert table["paper_count"].tolist() == [8, 10, 9]
    expected = stats.binomtest(2, 4).proportion_ci(0.95, method="wilson")
    bounds = table.loc["visual_above_audio", ["fraction_low", "fraction_high"]].tolist()
    assert bounds == pytest.approx([expected.low, expected.high])


def test_correlations_use_the_gap_on_analysis_and_on_test_clips(results):
    frame = human_tables.build_human_label_table(results)
    table = human_tables.build_correlation_table(results, frame).set_index(["split", "kind"])["correlation"]
    for split, column in (("analysis", "models_gap"), ("test", "models_gap_test")):
        expected = stats.pearsonr(frame[column], frame["reference_gap"]).statistic
        assert table[split, "pearson"] == pytest.approx(expected)
        expected = stats.spearmanr(frame[column], frame["reference_gap"]).statistic
        assert table[split, "spearman"] == pytest.approx(expected)
    (card,) = [h for h in headline.compute_headlines(results) if h.key == "human_gap_correlation"]
    assert card.interval.estimate == pytest.approx(table["analysis", "pearson"])


def test_respondents_are_compared_on_the_labels_that_humans_answered(results, monkeypatch):
    labels = sorted(results.get_answers(AUDIO, "analysis")["label"].unique())[:5]
    answers = {
        key: frame[frame["label"].isin(labels)] if key[0].startswith("human") else frame
        for key, frame in results.answers.items()
    }
    monkeypatch.setattr(results, "answers", answers)
    table = human_tables.build_respondent_table(results).set_index("respondent")
    assert set(table["n_labels"]) == {5}
    model_answers = results.get_answers(VISUAL_MODEL, "analysis")
    model_answers = model_answers[model_answers["label"].isin(labels)]
    assert table.loc[VISUAL_MODEL, "accuracy"] == pytest.approx(model_answers["correct"].mean())
    pair = results.pair_answers("analysis", VISUAL_MODEL, VISUAL)
    assert table.loc[VISUAL, "difference"] == pytest.approx(pair[VISUAL].mean() - pair[VISUAL_MODEL].mean())
    assert table.loc[[AUDIO, VISUAL, AUDIO_VISUAL], "reference_model"].tolist() == [
        results.get_title(key) for key in (AUDIO_MODEL, VISUAL_MODEL, AUDIO_VISUAL_MODEL)
    ]
    paper_accuracy = table.loc[[AUDIO, VISUAL, AUDIO_VISUAL, VISUAL_MODEL], "paper_accuracy"]
    assert paper_accuracy.tolist() == [0.719, 0.741, 0.842, 0.839]
    label_table = human_tables.build_human_label_table(results)
    groups = group_labels(label_table.rename(columns={"models_audio": "audio", "models_visual": "visual"}), 9)
    assert {label for group in groups.values() for label in group} == set(labels)


def test_response_table_excludes_inattentive_participants(results, responses):
    table = human_tables.build_response_table(results).set_index("respondent")
    for key, condition in ((AUDIO, "audio"), (VISUAL, "silent_video"), (AUDIO_VISUAL, "sounded_video")):
        frame, row = responses[responses["condition"] == condition], table.loc[key]
        attentive, inattentive = frame[~frame["inattentive"]], frame[frame["inattentive"]]
        assert row["n_inattentive_participants"] == inattentive["participant"].nunique() == 1
        assert row["n_responses"] == len(attentive)
        assert row["n_participants"] == attentive["participant"].nunique()
        assert row["n_no_choice"] == attentive["choice"].isna().sum() > 0
        median = np.quantile(attentive["seconds"], 0.5, method="inverted_cdf")
        assert row["seconds"] == pytest.approx(median, rel=1e-6)
        with_choice = attentive[attentive["choice"].notna()]
        repeated = with_choice[with_choice["question_id"].map(with_choice["question_id"].value_counts()) == 2]
        pairs = repeated.groupby("question_id")["choice"].agg(list)
        agreement = np.mean([a == b for a, b in pairs])
        chance = (repeated["choice"].value_counts(normalize=True) ** 2).sum()
        assert row["n_repeated_questions"] == len(pairs)
        assert row["kappa"] == pytest.approx((agreement - chance) / (1 - chance))


def test_inattentive_participants_can_be_kept(results, monkeypatch):
    before = human_tables.build_response_table(results).set_index("respondent")
    block = results.config.import_answers.model_copy(update={"inattentive": "keep"})
    monkeypatch.setattr(results, "config", results.config.model_copy(update={"import_answers": block}))
    after = human_tables.build_response_table(results).set_index("respondent")
    assert (after["n_responses"] == before["n_responses"] + before["n_inattentive_responses"]).all()
    text = " ".join(sentences.describe_humans(results, human_tables.build_human_tables(results)))
    assert "are included" in text


def test_any_two_respondents_can_be_the_reference(results, monkeypatch):
    config = results.config
    block = config.report.model_copy(update={"reference_gap": config.measure_gap})
    monkeypatch.setattr(results, "config", config.model_copy(update={"report": block}))
    frame = human_tables.build_human_label_table(results)
    assert frame["reference_gap"].tolist() == pytest.approx(frame["models_gap"].tolist())
    assert human_tables.build_correlation_table(results, frame).iloc[0]["correlation"] == pytest.approx(1)
    block = block.model_copy(update={"reference_gap": None})
    monkeypatch.setattr(results, "config", config.model_copy(update={"report": block}))
    assert human_tables.build_human_label_table(results).empty
    assert not human_tables.build_respondent_table(results).empty, "does not depend on the reference"


def test_notes_distinguish_listed_labels_from_labels_selected_by_the_gap(results, monkeypatch):
    report_tables, config = human_tables.build_human_tables(results), results.config
    assert "selects labels by the models' accuracy" in sentences.describe_humans(results, report_tables)[0]
    config = SimpleNamespace(
        import_answers=config.import_answers,
        report=config.report,
        measure_gap=config.measure_gap,
        human_study=SimpleNamespace(labels=["dog barking"], labels_per_group=10),
    )
    monkeypatch.setattr(results, "config", config)
    assert "those of human_study.labels" in sentences.describe_humans(results, report_tables)[0]


def test_metrics_and_csv_files_equal_the_tables(report_folder, results):
    metrics = json.loads((report_folder / "metrics.json").read_text())["humans"]
    report_tables = human_tables.build_human_tables(results)
    correlations = report_tables["human_correlations"]["correlation"]
    assert metrics["gap_correlation"]["analysis"]["pearson"] == pytest.approx(correlations[0], abs=1e-6)
    n_visual_better = (report_tables["human_labels"]["group"] == "Visual better").sum()
    assert metrics["agreement"]["visual_above_audio"]["total"] == n_visual_better
    assert metrics[AUDIO].keys() == {"responses", "median_seconds", "kappa"}
    for name, frame in report_tables.items():
        csv_table = pd.read_csv(report_folder / f"tables/{name}.csv")
        assert list(csv_table.columns) == list(frame.columns)
        assert len(csv_table) == len(frame)


def test_simulated_responses_are_marked_in_title_page_and_every_figure(report_folder):
    page = (report_folder / "index.html").read_text(encoding="utf-8")
    assert "<title>SIMULATED: " in page
    assert "<h1>SIMULATED: " in page
    assert "No humans took part" in re.sub(r"\s+", " ", page)
    figures = list((report_folder / "figures").glob("*.svg"))
    assert len(figures) == 7
    for path in figures:
        assert "SIMULATED" in " ".join(ElementTree.fromstring(path.read_bytes()).itertext()), path.name


def test_a_single_label_has_no_correlation_and_the_page_says_so(writer, tmp_path, monkeypatch):
    shutil.copytree(writer.out, tmp_path / "out", ignore=shutil.ignore_patterns("report"))
    results = loading.load_results(writer.config, tmp_path / "out")
    label = human_tables.build_human_label_table(results)["label"][0]
    results.answers = {
        key: frame[frame["label"] == label] if key[0] == AUDIO else frame for key, frame in results.answers.items()
    }
    monkeypatch.setattr(loading, "load_results", lambda config: results)
    monkeypatch.setattr(style, "encode_figure", lambda figure, name, fmt: name.encode())
    monkeypatch.chdir(tmp_path)
    report.write_report(writer.config)
    page = (tmp_path / "out/report/index.html").read_text(encoding="utf-8")
    assert "humans answered too few labels in both modalities" in page
    assert not re.search(r"\b(nan|None|inf)\b", page)
    metrics = json.loads((tmp_path / "out/report/metrics.json").read_text())
    assert "gap_correlation" not in metrics["humans"]
    assert all(math.isfinite(value) for value in tables.flatten(metrics).values())
