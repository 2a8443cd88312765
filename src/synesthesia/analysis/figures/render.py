"""Which figures the report shows, drawn from its tables: `Drawing`s in the order of the page."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from synesthesia.analysis import formatting, human_tables
from synesthesia.analysis.figures import diagnostics, humans, paper
from synesthesia.analysis.results import Study


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name, and `says`, its content in words for those who cannot see it."""

    name: str
    figure: Figure
    says: str


def label_accuracy(study: Study) -> tuple[pd.DataFrame, list[dict]]:
    """Accuracy [labels, titles] of all but the distilled, and who they are, as `figures.figure1` wants.

    On the analysis clips, or on the test clips where humans judged only those.
    """
    columns, people, split = {}, [], human_tables.judged_split(study) if human_tables.present(study) else "analysis"
    for person in study.respondents:
        answers = study.of(person.key, split)
        if person.kind == "setting" or answers.empty:
            continue
        columns[person.title] = answers.groupby("label")["correct"].mean()
        people.append({"title": person.title, "sense": person.sense, "human": person.kind == "human"})
    return pd.DataFrame(columns), people


def draw(study: Study, tables: dict[str, pd.DataFrame]) -> list[Drawing]:
    """All figures of the report, from `tabulate.everything` and the study."""
    number = study.params.report.labels_a_regime
    confidence = study.params.report.confidence
    audio, visual = study.params.gap.audio, study.params.gap.visual
    labels = tables["labels"]
    empty = labels.empty
    seen = labels if empty else labels[labels["set"] == "analysis"].reset_index(drop=True)
    accuracy, people = label_accuracy(study)
    judged = human_tables.judged_labels(study) if human_tables.present(study) else None
    shown = seen if judged is None or seen.empty else seen[seen["label"].isin(judged)]
    rows = paper.regimes(shown, number) if len(shown) else {}
    told = {"before": f"{study.title(audio)} before", "after": "after distillation", "teacher": study.title(visual)}
    heard, strange = _figure3(labels, seen)
    titles = {p.key: p.setting.title + f" ({study.title(p.setting.student)})" if p.setting else p.title
              for p in study.respondents}  # fmt: skip
    predictions = study.switch if study.switch is not None else pd.DataFrame()
    table1 = tables["table1"]
    originals = table1[table1["role"] == "original"] if len(table1) else table1
    drawn = [
        Drawing("figure1", paper.figure1(accuracy, people, rows),
                "Bars of each respondent's accuracy for labels on a par, better heard and better seen."),
        *_humans(study, tables),
        Drawing("gap", paper.gap(seen, number), "Each label's audio against visual accuracy, and the switch."),
        Drawing("switch", diagnostics.switch(predictions, study.history, confidence),
                "ROC curve, reliability and training history of the switch."),
        Drawing("table2", diagnostics.ablation(tables["table2"], originals, confidence),
                "Accuracy of each distillation setting with its interval, and the paper's figure."),
        Drawing("figure3", paper.figure3(heard, strange, told, number),
                "Bars of the student's accuracy before and after distillation and of its teacher, label by label."),
        Drawing("positions", diagnostics.positions(tables["positions"], titles),
                "How often each letter is chosen, and the accuracy by the true option's position."),
    ]  # fmt: skip
    if study.simulated:
        for drawing in drawn:
            paper.stamp(drawing.figure, "SIMULATED")
    return drawn


def _humans(study: Study, tables: dict[str, pd.DataFrame]) -> list[Drawing]:
    """The figure of humans beside models; none where nobody has judged."""
    if "human_labels" not in tables:
        return []
    times = []
    for person in study.respondents:
        frame = study.judgements.get(person.key)
        if frame is not None and person.kind == "human":
            seconds = frame["seconds"][~(frame["careless"] & (study.params.collect.careless == "leave_out"))].dropna()
            times += (
                [{"title": person.title, "sense": person.sense, "seconds": seconds.to_numpy()}] if len(seconds) else []
            )
    found = tables["human_correlations"]
    told = "Too few labels for a correlation"
    if len(found) and pd.notna(found.iloc[0]["correlation"]):
        row = found.iloc[0]
        told = f"Pearson {formatting.signed(row['correlation'])} " + formatting.between(
            row["correlation_low"], row["correlation_high"], formatting.signed
        )
    names = "Models", "Humans" if any(p.kind == "human" for p in study.respondents) else "Compared"
    figure = humans.gaps(tables["human_labels"], times, names, told)
    return [Drawing("humans", figure, "The models' gap against the humans' gap, label by label, and response times.")]


def _figure3(labels: pd.DataFrame, seen: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels of Figure 3, the least accurate before first; of the unseen split only those not in training."""
    if labels.empty or labels["after"].isna().all():
        nothing = pd.DataFrame(columns=["label", "before", "after", "teacher"])
        return nothing, nothing
    strange = labels[(labels["set"] == "unseen") & ~labels["label"].isin(seen["label"])]
    return tuple(
        frame.rename(columns={"audio": "before", "visual": "teacher"})
        .dropna(subset=["after"])
        .sort_values(["before", "label"], ignore_index=True)
        for frame in (seen, strange)
    )
