"""The page: tables, figures and headlines in one HTML file that needs nothing else, not even a network.

All text goes through jinja2's autoescape; figures are data addresses, so nothing in a label can become markup. No
time, no path, no random id: the same study gives the same bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from synesthesia.analysis import formatting, human_tables
from synesthesia.analysis.headline import Headline
from synesthesia.analysis.results import Study

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Grid:
    """A table as text: `columns` are (heading, numeric), `rows` lists of cells."""

    columns: list[tuple[str, bool]]
    rows: list[list[str]]


Cell = Callable[[dict], str]


def grid(frame: pd.DataFrame, columns: list[tuple[str, Cell, bool]]) -> Grid:
    """Text cells out of a frame's rows; an absent figure is a dash."""
    rows = [[cell(row) for _, cell, _ in columns] for row in frame.to_dict("records")]
    return Grid([(heading, numeric) for heading, _, numeric in columns], rows)


def text(key: str) -> Cell:
    """A cell of text or a count."""
    return lambda row: formatting.number(row.get(key))


def share(key: str, form=formatting.percent) -> Cell:
    """A share with its interval, if the row has `<key>_low` and `<key>_high`: "71.9 [70.1, 73.4]"."""

    def cell(row: dict) -> str:
        bracket = formatting.between(row.get(f"{key}_low"), row.get(f"{key}_high"), form)
        return f"{form(row.get(key))} {bracket}".strip()

    return cell


def p_value(key: str) -> Cell:
    """A p value."""
    return lambda row: formatting.p_value(row.get(key))


def both(split: str) -> list[tuple[str, Cell, bool]]:
    """Our accuracy of a split and the paper's."""
    return [(f"{split.capitalize()} %", share(f"{split}_accuracy"), True),
            ("Paper", share(f"paper_{split}_accuracy"), True)]  # fmt: skip


def grids(tables: dict[str, pd.DataFrame], study: Study) -> dict[str, Grid]:
    """The page's tables out of `tabulate.everything`."""
    split = {"analysis_p_holm": "p, analysis", "test_p_holm": "p, test"}
    against = [
        (f"To default, {s}", share(f"{s}_difference", formatting.points), True) for s in ("analysis", "test")
    ] + [(heading, p_value(key), True) for key, heading in split.items()]
    student = ("Student", lambda row: study.title(row["student"]), False)
    layout = {
        "table1": [("Respondent", text("title"), False), ("Sense", text("sense"), False), ("Role", text("role"), False),
                   *both("analysis"), *both("test"), ("Unseen %", share("unseen_accuracy"), True),
                   ("Answers", _answers, True), ("Unreadable", _unparseable, True)],
        "table2": [student, ("Setting", text("title"), False), *both("analysis"), *both("test"), *against],
        "before_after": [student, ("Setting", text("title"), False), ("Split", text("split"), False),
                         ("Questions", text("questions"), True), ("Before %", share("before"), True),
                         ("After %", share("after"), True), ("Difference", share("difference", formatting.points), True),
                         ("Turned right", text("turned_right"), True), ("Turned wrong", text("turned_wrong"), True),
                         ("p", p_value("p"), True)],
        "labels": [("Label", text("label"), False), ("Clips", text("clips"), True), ("Audio %", share("audio"), True),
                   ("Visual %", share("visual"), True), ("Gap", share("gap", formatting.points), True),
                   ("p", p_value("gap_p_holm"), True), ("Switch closed %", share("switch_closed"), True),
                   ("After %", share("after"), True), ("Gain", share("gain", formatting.points), True),
                   ("p", p_value("gain_p_holm"), True)],
        "switch": [("Clips", text("part"), False), ("Number", text("clips"), True),
                   ("Accuracy %", share("accuracy"), True), ("Paper", share("paper_accuracy"), True),
                   ("Balanced accuracy %", share("balanced_accuracy"), True),
                   ("Always “visual” %", share("always_one_accuracy"), True)],
        "damaged": [("Reason", text("reason"), False), ("Files", text("files"), True),
                    ("For example", text("example"), False), ("What the decoder said", text("detail"), False)],
        "rules": [("VGGSound's clips", text("what"), False), ("Labels", text("labels"), True),
                  ("Train", text("train_clips"), True), ("Test", text("test_clips"), True)],
        "vggsounder": [("Respondent", text("title"), False), ("Test clips", text("slice_title"), False),
                       ("Number", text("clips"), True), ("Accuracy %", share("accuracy"), True)],
        "counts": [("What", text("what"), False), ("Count", text("count"), True)],
        "letters_and_text": [("Respondent", lambda row: study.title(row["respondent"]), False),
                             ("Answers with both", text("answers"), True),
                             ("Text names another letter", text("another_letter"), True),
                             ("Text names none", text("no_letter"), True)],
    }  # fmt: skip
    layout |= human_layout() if "humans" in tables else {}
    made = {name: grid(tables[name], columns) for name, columns in layout.items() if name != "labels"}
    for kind in ("analysis", "unseen"):
        frame = tables["labels"]
        frame = frame[frame["set"] == kind] if len(frame) else frame
        made[f"labels_{kind}"] = grid(frame, layout["labels"])
    return made


def human_layout() -> dict[str, list[tuple[str, Cell, bool]]]:
    """Columns of the tables of `humans.everything`."""
    return {
        "humans": [("Respondent", text("title"), False), ("Labels", text("labels"), True),
                   ("Answers", text("answers"), True), ("Accuracy %", share("accuracy"), True),
                   ("Paper", share("paper_accuracy"), True),
                   ("To model, points", share("difference", formatting.points), True), ("p", p_value("p"), True),
                   ("Model", text("against"), False)],
        "judgements": [("Respondent", text("title"), False), ("Participants", text("participants"), True),
                       ("Judgements", text("judgements"), True),
                       ("Careless participants", text("careless_participants"), True),
                       ("No choice", text("no_choice"), True),
                       ("Median seconds", share("seconds", formatting.seconds), True),
                       ("Quartiles", _quartiles, True), ("Judged more than once", text("judged_often"), True),
                       ("Fleiss' kappa", share("kappa", formatting.signed), True)],
        "human_counts": [("What", text("what"), False), ("Labels", lambda row: f"{row['count']} of {row['of']}", True),
                         ("Ties", text("ties"), True), ("%", share("share"), True),
                         ("Paper", lambda row: f"{row['paper_count']:.0f} of {row['paper_of']:.0f}", True)],
        "human_correlations": [("The models' gap on", lambda row: row["models_gap_on"] + " clips", False),
                               ("Kind", lambda row: row["kind"].capitalize(), False),
                               ("Labels", text("labels"), True),
                               ("Correlation", share("correlation", formatting.signed), True)],
        "human_labels": [("Label", text("label"), False), ("Models", text("regime"), False),
                         ("Ears %", share("compared_audio"), True),
                         ("Eyes %", share("compared_visual"), True),
                         ("Gap", share("compared_gap", formatting.points), True),
                         ("Clips", text("compared_audio_clips"), True),
                         ("Models' gap", share("models_gap", formatting.points), True),
                         ("On test", share("models_gap_test", formatting.points), True), ("Agrees", text("agrees"), False)],
    }  # fmt: skip


def _quartiles(row: dict) -> str:
    return (
        formatting.between(row["seconds_quarter"], row["seconds_three_quarters"], formatting.seconds)
        or formatting.NOTHING
    )


def _answers(row: dict) -> str:
    return formatting.number(sum(row[f"{split}_answers"] for split in ("analysis", "test", "unseen")))


def _unparseable(row: dict) -> str:
    return formatting.number(sum(row[f"{split}_unparseable"] for split in ("analysis", "test", "unseen")))


def cards(found: list[Headline]) -> list[dict]:
    """The first screen's figures as text."""
    made = []
    for headline in found:
        value, bracket = "–", f"cannot be said: {headline.why_not}"
        if headline.interval:
            value, bracket = formatting.interval(headline.interval, headline.kind)
        published = ""
        if headline.published is not None:
            sign = f"{headline.published:+.1f} points".replace("-", "−")
            published = sign if headline.kind == "points" else f"{headline.published:.0f} %"
        made.append({"title": headline.title, "value": value, "bracket": bracket, "meaning": headline.meaning,
                     "published": published})  # fmt: skip
    return made


def sentences(study: Study, tables: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Counts said in words, for the page's sections; each falls back to what is missing."""
    told = {"gap": "The gap has not been measured.", "labels": ""}
    if study.gap is not None and len(study.gap):
        better, total = int(study.gap["visual_better"].sum()), len(study.gap)
        told["gap"] = (
            f"The eyes know {better} of {total} labels better (the paper: 226 of 286); on the other {total - better} "
            "the ears are at least as good."
        )
    frame = tables["labels"]
    if len(frame):
        tested = frame[(frame["set"] == "analysis") & frame["gain_p_holm"].notna()]
        up = int(((tested["gain_p_holm"] < 0.05) & (tested["gain"] > 0)).sum())
        down = int(((tested["gain_p_holm"] < 0.05) & (tested["gain"] < 0)).sum())
        told["labels"] = (
            f"Taken one by one, {up} of {len(tested)} labels are better after distillation beyond chance and {down} "
            "worse (McNemar's test, corrected by Holm for their number, p < 0.05)."
        )
        both = set(frame.loc[frame["set"] == "unseen", "label"]) & set(frame.loc[frame["set"] == "analysis", "label"])
        if both:
            told["labels"] += f" {len(both)} labels of the unseen split occur in training, so Figure 3 leaves them out."
    return told


def render(study: Study, tables: dict[str, pd.DataFrame], found: list[Headline], pictures: list[dict]) -> str:
    """The whole page. `pictures`: name, says, svg (bytes)."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    images = {
        p["name"]: {"says": p["says"], "data": "data:image/svg+xml;base64," + base64.b64encode(p["svg"]).decode()}
        for p in pictures
    }
    return environment.get_template("page.html.jinja").render(
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        size=study.params.size,
        route=study.params.route.mode,
        confidence=f"{100 * study.params.report.confidence:g}",
        samples=formatting.number(study.params.report.bootstrap_samples),
        cards=cards(found),
        notes=study.notes,
        simulated=study.simulated,
        judged=human_tables.told(study, tables) if "humans" in tables else None,
        told=sentences(study, tables),
        grids=grids(tables, study),
        images=images,
    )
