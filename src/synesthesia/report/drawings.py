"""Which figures the report shows, drawn from its tables: `Drawing`s in the order of the page."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from synesthesia import figures
from synesthesia.report import diagnostics
from synesthesia.report.study import Study


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name, and `says`, its content in words for those who cannot see it."""

    name: str
    figure: Figure
    says: str


def label_accuracy(study: Study) -> tuple[pd.DataFrame, list[dict]]:
    """Analysis accuracy [labels, titles] of the originals and humans, and who they are, as `figures.figure1` wants."""
    columns, people = {}, []
    for person in study.respondents:
        answers = study.of(person.key, "analysis")
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
    rows = figures.regimes(seen, number) if len(seen) else {}
    told = {"before": f"{study.title(audio)} before", "after": "after distillation", "teacher": study.title(visual)}
    heard, strange = _figure3(labels, seen)
    titles = {p.key: p.setting.title + f" ({study.title(p.setting.student)})" if p.setting else p.title
              for p in study.respondents}  # fmt: skip
    predictions = study.switch if study.switch is not None else pd.DataFrame()
    table1 = tables["table1"]
    originals = table1[table1["role"] == "original"] if len(table1) else table1
    return [
        Drawing("figure1", figures.figure1(accuracy, people, rows),
                "Bars of each respondent's accuracy for labels on a par, better heard and better seen."),
        Drawing("gap", figures.gap(seen, number), "Each label's audio against visual accuracy, and the switch."),
        Drawing("switch", diagnostics.switch(predictions, study.history, confidence),
                "ROC curve, reliability and training history of the switch."),
        Drawing("table2", diagnostics.ablation(tables["table2"], originals, confidence),
                "Accuracy of each distillation setting with its interval, and the paper's figure."),
        Drawing("figure3", figures.figure3(heard, strange, told, number),
                "Bars of the student's accuracy before and after distillation and of its teacher, label by label."),
        Drawing("positions", diagnostics.positions(tables["positions"], titles),
                "How often each letter is chosen, and the accuracy by the true option's position."),
    ]  # fmt: skip


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
