"""Humans beside the models: what is counted, against hand calculation, and what the page says about it."""

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from synesthesia.analysis import headline, human_tables, tables
from synesthesia.analysis.figures import paper
from synesthesia.distillation import gap
from synesthesia.pipeline import report

pytestmark = pytest.mark.slow  # real files and figures: seconds each

EARS, EYES, BOTH = "human-ears", "human-eyes", "human-ears-and-eyes"


@pytest.fixture(scope="module")
def judged(maker):
    """The CSV of the made-up study as it was written."""
    frame = pd.read_csv(maker.out.parent / "humans/responses.csv", dtype={"choice": "Int64"})
    frame = frame.merge(maker.questions, on="question_id")
    frame["label"] = [o[a] for o, a in zip(frame["options"], frame["target"], strict=True)]
    return frame


def test_each_label_has_both_gaps_and_says_whether_they_agree(study):
    frame = human_tables.build_human_label_table(study).set_index("label")
    assert len(frame) == 9
    for label, row in frame.iterrows():
        sides = {}
        for name, key in (("compared_audio", EARS), ("compared_visual", EYES)):
            answers = study.of(key, "analysis")
            sides[name] = answers[answers["label"] == label]["correct"].mean()
        for name, key in (("models_audio", "qwen2-audio"), ("models_visual", "qwen2-vl")):
            answers = study.of(key, "analysis")
            assert row[name] == pytest.approx(answers[answers["label"] == label]["correct"].mean())
        assert row["compared_gap"] == pytest.approx(sides["compared_visual"] - sides["compared_audio"])
        lead = row["models_visual"] - row["models_audio"]
        assert row["regime"] == ("Tie" if abs(lead) <= 0.1 else "Visual better" if lead > 0 else "Audio better")
        product = lead * row["compared_gap"]
        expected = "tie" if abs(product) < 1e-9 else "yes" if product > 0 else "no"
        assert row["agrees"] == ("" if row["regime"] == "Tie" else expected)
    test = study.pair("test", "qwen2-audio", "qwen2-vl").groupby("label")[["qwen2-audio", "qwen2-vl"]].mean()
    assert frame["models_gap_test"].to_dict() == pytest.approx((test["qwen2-vl"] - test["qwen2-audio"]).to_dict())


def test_agreement_counts_stand_beside_the_papers_and_a_tie_is_no_agreement(study):
    frame = pd.DataFrame(
        {"regime": ["Visual better"] * 4 + ["Audio better"] * 2 + ["Tie"],
         "agrees": ["yes", "yes", "no", "tie", "tie", "yes", ""],
         "compared_audio": [0.5, 0.4, 0.2, 0.3, 1, 1, 1], "models_audio": [0.3, 0.4, 0.3, 0.1, 1, 1, 1]}
    )  # fmt: skip
    table = human_tables.build_agreement_table(study, frame).set_index("key")
    assert table[["count", "ties", "of"]].to_numpy().tolist() == [[2, 1, 4], [1, 1, 2], [2, 1, 4]]
    assert table["paper_count"].tolist() == [8, 10, 9]
    expected = stats.binomtest(2, 4).proportion_ci(0.95, method="wilson")
    assert table.loc["eyes", ["share_low", "share_high"]].tolist() == pytest.approx([expected.low, expected.high])


def test_correlations_are_over_labels_with_the_gap_that_chose_them_and_with_a_fresh_one(study):
    frame = human_tables.build_human_label_table(study)
    table = human_tables.build_correlation_table(study, frame).set_index(["models_gap_on", "kind"])["correlation"]
    for split, column in (("analysis", "models_gap"), ("test", "models_gap_test")):
        assert table[split, "pearson"] == pytest.approx(stats.pearsonr(frame[column], frame["compared_gap"]).statistic)
        expected = stats.spearmanr(frame[column], frame["compared_gap"]).statistic
        assert table[split, "spearman"] == pytest.approx(expected)
    (card,) = [h for h in headline.compute_headlines(study) if h.key == "human_gap_correlation"]
    assert card.interval.estimate == pytest.approx(table["analysis", "pearson"])


def test_everybody_is_compared_on_the_labels_that_humans_judged(study, monkeypatch):
    heard = study.of(EARS, "analysis")
    kept = sorted(heard["label"].unique())[:5]
    fewer = {key: frame[frame["label"].isin(kept)] if key[0].startswith("human") else frame
             for key, frame in study.answers.items()}  # fmt: skip
    monkeypatch.setattr(study, "answers", fewer)
    table = human_tables.build_respondent_table(study).set_index("respondent")
    assert set(table["labels"]) == {5}
    models = study.of("qwen2-vl", "analysis")
    models = models[models["label"].isin(kept)]
    assert table.loc["qwen2-vl", "accuracy"] == pytest.approx(models["correct"].mean())
    pair = study.pair("analysis", "qwen2-vl", EYES)
    assert table.loc[EYES, "difference"] == pytest.approx(pair[EYES].mean() - pair["qwen2-vl"].mean())
    assert table.loc[[EARS, EYES, BOTH], "against"].tolist() == [study.title(k) for k in (
        "qwen2-audio", "qwen2-vl", "qwen2-5-omni")]  # fmt: skip
    assert table.loc[[EARS, EYES, BOTH, "qwen2-vl"], "paper_accuracy"].tolist() == [0.719, 0.741, 0.842, 0.839]
    rows = gap.group_labels(
        human_tables.build_human_label_table(study).rename(
            columns={"models_audio": "audio", "models_visual": "visual"}
        ),
        9,
    )
    assert {label for row in rows.values() for label in row} == set(kept)


def test_judgements_are_counted_timed_and_compared_without_the_careless(study, judged):
    table = human_tables.build_response_table(study).set_index("respondent")
    for key, condition in ((EARS, "audio"), (EYES, "silent_video"), (BOTH, "sounded_video")):
        mine = judged[judged["condition"] == condition]
        careful, row = mine[~mine["inattentive"]], table.loc[key]
        assert row["careless_participants"] == mine[mine["inattentive"]]["participant"].nunique() == 1
        assert row["judgements"] == len(careful)
        assert row["participants"] == careful["participant"].nunique()
        assert row["no_choice"] == careful["choice"].isna().sum() > 0
        assert row["seconds"] == pytest.approx(np.quantile(careful["seconds"], 0.5, method="inverted_cdf"), rel=1e-6)
        chosen = careful[careful["choice"].notna()]
        twice = chosen[chosen["question_id"].map(chosen["question_id"].value_counts()) == 2]
        pairs = twice.groupby("question_id")["choice"].agg(list)
        agreed = np.mean([a == b for a, b in pairs])
        chance = (twice["choice"].value_counts(normalize=True) ** 2).sum()
        assert row["judged_often"] == len(pairs)
        assert row["kappa"] == pytest.approx((agreed - chance) / (1 - chance))


def test_keeping_the_careless_counts_them_in(study, monkeypatch):
    before = human_tables.build_response_table(study).set_index("respondent")
    block = study.params.import_answers.model_copy(update={"inattentive": "keep"})
    monkeypatch.setattr(study, "params", study.params.model_copy(update={"import_answers": block}))
    after = human_tables.build_response_table(study).set_index("respondent")
    assert (after["judgements"] == before["judgements"] + before["careless_judgements"]).all()
    assert "are kept in" in " ".join(human_tables.build_human_notes(study, human_tables.build_human_tables(study)))


def test_any_two_respondents_can_be_compared(study, monkeypatch):
    gap = study.params.gap
    block = study.params.report.model_copy(update={"reference_gap": gap})
    monkeypatch.setattr(study, "params", study.params.model_copy(update={"report": block}))
    frame = human_tables.build_human_label_table(study)
    assert frame["compared_gap"].tolist() == pytest.approx(frame["models_gap"].tolist())
    assert human_tables.build_correlation_table(study, frame).iloc[0]["correlation"] == pytest.approx(1)
    block = block.model_copy(update={"reference_gap": None})
    monkeypatch.setattr(study, "params", study.params.model_copy(update={"report": block}))
    assert human_tables.build_human_label_table(study).empty
    assert not human_tables.build_respondent_table(study).empty, "humans are there all the same"


def test_labels_named_by_the_study_are_not_said_to_be_chosen_by_the_gap(study, monkeypatch):
    made = human_tables.build_human_tables(study)
    assert "takes its labels by the models' performance alone" in human_tables.build_human_notes(study, made)[0]
    given = SimpleNamespace(collect=study.params.collect, report=study.params.report, gap=study.params.gap,
                            study=SimpleNamespace(labels=["dog barking"], labels_a_regime=10))  # fmt: skip
    monkeypatch.setattr(study, "params", given)
    assert "those of study.labels" in human_tables.build_human_notes(study, made)[0]


def test_metrics_and_tables_hold_what_was_found(reported, study):
    found = json.loads((reported / "metrics.json").read_text())["humans"]
    made = human_tables.build_human_tables(study)
    correlations = made["human_correlations"]["correlation"]
    assert found["gap_correlation"]["analysis"]["pearson"] == pytest.approx(correlations[0], abs=1e-6)
    assert found["agreement"]["eyes"]["of"] == (made["human_labels"]["regime"] == "Visual better").sum()
    assert found[EARS].keys() == {"judgements", "median_seconds", "kappa"}
    for name, frame in made.items():
        written = pd.read_csv(reported / f"tables/{name}.csv")
        assert list(written.columns) == list(frame.columns)
        assert len(written) == len(frame)


def test_a_report_of_simulated_judgements_says_so_in_title_page_and_every_figure(reported):
    page = (reported / "index.html").read_text(encoding="utf-8")
    assert "<title>SIMULATED: " in page
    assert "<h1>SIMULATED: " in page
    assert "No human was asked" in re.sub(r"\s+", " ", page)
    pictures = list((reported / "figures").glob("*.svg"))
    assert len(pictures) == 7
    for picture in pictures:
        assert "SIMULATED" in " ".join(ElementTree.fromstring(picture.read_bytes()).itertext()), picture.name


def test_one_label_is_no_correlation_and_the_page_says_so(maker, tmp_path, monkeypatch):
    import shutil

    from synesthesia.analysis import results as studies

    shutil.copytree(maker.out, tmp_path / "out", ignore=shutil.ignore_patterns("report"))
    study = studies.load_results(maker.params, tmp_path / "out")
    only = human_tables.build_human_label_table(study)["label"][0]
    study.answers = {k: f[f["label"] == only] if k[0] == EARS else f for k, f in study.answers.items()}
    monkeypatch.setattr(report.study, "load", lambda params: study)
    monkeypatch.setattr(paper, "save", lambda figure, name, form: name.encode())
    monkeypatch.chdir(tmp_path)
    report.write_report(maker.params)
    page = (tmp_path / "out/report/index.html").read_text(encoding="utf-8")
    assert "too few labels were judged by both senses" in page
    assert not re.search(r"\b(nan|None|inf)\b", page)
    found = json.loads((tmp_path / "out/report/metrics.json").read_text())
    assert "gap_correlation" not in found["humans"]
    assert all(math.isfinite(value) for value in tables.flatten(found).values())
