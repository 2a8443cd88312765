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
from synesthesia.analysis.results import Results

TEMPLATE_DIR = Path(__file__).parent


@dataclass(frozen=True)
class TableCells:
    """A table as text: `columns` are (heading, numeric), `rows` lists of cells."""

    columns: list[tuple[str, bool]]
    rows: list[list[str]]


CellFormatter = Callable[[dict], str]


def build_table_cells(frame: pd.DataFrame, columns: list[tuple[str, CellFormatter, bool]]) -> TableCells:
    """Text cells out of a frame's rows; an absent figure is a dash."""
    rows = [[cell(row) for _, cell, _ in columns] for row in frame.to_dict("records")]
    return TableCells([(heading, numeric) for heading, _, numeric in columns], rows)


def text_cell(key: str) -> CellFormatter:
    """A cell of text or a count."""
    return lambda row: formatting.format_number(row.get(key))


def interval_cell(key: str, formatter=formatting.format_percent) -> CellFormatter:
    """A share with its interval, if the row has `<key>_low` and `<key>_high`: "71.9 [70.1, 73.4]"."""

    def cell(row: dict) -> str:
        bracket = formatting.format_interval(row.get(f"{key}_low"), row.get(f"{key}_high"), formatter)
        return f"{formatter(row.get(key))} {bracket}".strip()

    return cell


def p_value_cell(key: str) -> CellFormatter:
    """A p value."""
    return lambda row: formatting.format_p_value(row.get(key))


def accuracy_columns(split: str) -> list[tuple[str, CellFormatter, bool]]:
    """Our accuracy of a split and the paper's."""
    return [(f"{split.capitalize()} %", interval_cell(f"{split}_accuracy"), True),
            ("Paper", interval_cell(f"paper_{split}_accuracy"), True)]  # fmt: skip


def build_page_tables(tables: dict[str, pd.DataFrame], results: Results) -> dict[str, TableCells]:
    """The page's tables out of `tabulate.everything`."""
    split = {"analysis_p_holm": "p, analysis", "test_p_holm": "p, test"}
    against = [
        (f"To default, {s}", interval_cell(f"{s}_difference", formatting.format_points), True)
        for s in ("analysis", "test")
    ] + [(heading, p_value_cell(key), True) for key, heading in split.items()]
    student = ("Student", lambda row: results.get_title(row["student"]), False)
    layout = {
        "table1": [("Respondent", text_cell("title"), False), ("Sense", text_cell("sense"), False), ("Role", text_cell("role"), False),
                   *accuracy_columns("analysis"), *accuracy_columns("test"), ("Unseen %", interval_cell("unseen_accuracy"), True),
                   ("Answers", _format_answer_count, True), ("Unreadable", _format_unparseable_count, True)],
        "table2": [student, ("Setting", text_cell("title"), False), *accuracy_columns("analysis"), *accuracy_columns("test"), *against],
        "before_after": [student, ("Setting", text_cell("title"), False), ("Split", text_cell("split"), False),
                         ("Questions", text_cell("questions"), True), ("Before %", interval_cell("before"), True),
                         ("After %", interval_cell("after"), True), ("Difference", interval_cell("difference", formatting.format_points), True),
                         ("Turned right", text_cell("turned_right"), True), ("Turned wrong", text_cell("turned_wrong"), True),
                         ("p", p_value_cell("p"), True)],
        "labels": [("Label", text_cell("label"), False), ("Clips", text_cell("clips"), True), ("Audio %", interval_cell("audio"), True),
                   ("Visual %", interval_cell("visual"), True), ("Gap", interval_cell("gap", formatting.format_points), True),
                   ("p", p_value_cell("gap_p_holm"), True), ("Switch closed %", interval_cell("switch_closed"), True),
                   ("After %", interval_cell("after"), True), ("Gain", interval_cell("gain", formatting.format_points), True),
                   ("p", p_value_cell("gain_p_holm"), True)],
        "switch": [("Clips", text_cell("part"), False), ("Number", text_cell("clips"), True),
                   ("Accuracy %", interval_cell("accuracy"), True), ("Paper", interval_cell("paper_accuracy"), True),
                   ("Balanced accuracy %", interval_cell("balanced_accuracy"), True),
                   ("Always “visual” %", interval_cell("always_one_accuracy"), True)],
        "damaged": [("Reason", text_cell("reason"), False), ("Files", text_cell("files"), True),
                    ("For example", text_cell("example"), False), ("What the decoder said", text_cell("detail"), False)],
        "rules": [("VGGSound's clips", text_cell("what"), False), ("Labels", text_cell("labels"), True),
                  ("Train", text_cell("train_clips"), True), ("Test", text_cell("test_clips"), True)],
        "vggsounder": [("Respondent", text_cell("title"), False), ("Test clips", text_cell("slice_title"), False),
                       ("Number", text_cell("clips"), True), ("Accuracy %", interval_cell("accuracy"), True)],
        "counts": [("What", text_cell("what"), False), ("Count", text_cell("count"), True)],
        "letters_and_text": [("Respondent", lambda row: results.get_title(row["respondent"]), False),
                             ("Answers with both", text_cell("answers"), True),
                             ("Text names another letter", text_cell("another_letter"), True),
                             ("Text names none", text_cell("no_letter"), True)],
    }  # fmt: skip
    layout |= human_table_columns() if "humans" in tables else {}
    made = {name: build_table_cells(tables[name], columns) for name, columns in layout.items() if name != "labels"}
    for kind in ("analysis", "unseen"):
        frame = tables["labels"]
        frame = frame[frame["set"] == kind] if len(frame) else frame
        made[f"labels_{kind}"] = build_table_cells(frame, layout["labels"])
    return made


def human_table_columns() -> dict[str, list[tuple[str, CellFormatter, bool]]]:
    """Columns of the tables of `humans.everything`."""
    return {
        "humans": [("Respondent", text_cell("title"), False), ("Labels", text_cell("labels"), True),
                   ("Answers", text_cell("answers"), True), ("Accuracy %", interval_cell("accuracy"), True),
                   ("Paper", interval_cell("paper_accuracy"), True),
                   ("To model, points", interval_cell("difference", formatting.format_points), True), ("p", p_value_cell("p"), True),
                   ("Model", text_cell("against"), False)],
        "judgements": [("Respondent", text_cell("title"), False), ("Participants", text_cell("participants"), True),
                       ("Judgements", text_cell("judgements"), True),
                       ("Careless participants", text_cell("careless_participants"), True),
                       ("No choice", text_cell("no_choice"), True),
                       ("Median seconds", interval_cell("seconds", formatting.format_seconds), True),
                       ("Quartiles", _format_quartiles, True), ("Judged more than once", text_cell("judged_often"), True),
                       ("Fleiss' kappa", interval_cell("kappa", formatting.format_signed), True)],
        "human_counts": [("What", text_cell("what"), False), ("Labels", lambda row: f"{row['count']} of {row['of']}", True),
                         ("Ties", text_cell("ties"), True), ("%", interval_cell("share"), True),
                         ("Paper", lambda row: f"{row['paper_count']:.0f} of {row['paper_of']:.0f}", True)],
        "human_correlations": [("The models' gap on", lambda row: row["models_gap_on"] + " clips", False),
                               ("Kind", lambda row: row["kind"].capitalize(), False),
                               ("Labels", text_cell("labels"), True),
                               ("Correlation", interval_cell("correlation", formatting.format_signed), True)],
        "human_labels": [("Label", text_cell("label"), False), ("Models", text_cell("regime"), False),
                         ("Ears %", interval_cell("compared_audio"), True),
                         ("Eyes %", interval_cell("compared_visual"), True),
                         ("Gap", interval_cell("compared_gap", formatting.format_points), True),
                         ("Clips", text_cell("compared_audio_clips"), True),
                         ("Models' gap", interval_cell("models_gap", formatting.format_points), True),
                         ("On test", interval_cell("models_gap_test", formatting.format_points), True), ("Agrees", text_cell("agrees"), False)],
    }  # fmt: skip


def _format_quartiles(row: dict) -> str:
    return (
        formatting.format_interval(row["seconds_quarter"], row["seconds_three_quarters"], formatting.format_seconds)
        or formatting.MISSING
    )


def _format_answer_count(row: dict) -> str:
    return formatting.format_number(sum(row[f"{split}_answers"] for split in ("analysis", "test", "unseen")))


def _format_unparseable_count(row: dict) -> str:
    return formatting.format_number(sum(row[f"{split}_unparseable"] for split in ("analysis", "test", "unseen")))


def build_cards(headlines: list[Headline]) -> list[dict]:
    """The first screen's figures as text."""
    made = []
    for headline in headlines:
        value, bracket = "–", f"cannot be said: {headline.missing_reason}"
        if headline.interval:
            value, bracket = formatting.format_estimate(headline.interval, headline.kind)
        published = ""
        if headline.paper_value is not None:
            sign = f"{headline.paper_value:+.1f} points".replace("-", "−")
            published = sign if headline.kind == "points" else f"{headline.paper_value:.0f} %"
        made.append({"title": headline.title, "value": value, "bracket": bracket, "meaning": headline.description,
                     "published": published})  # fmt: skip
    return made


def build_sentences(results: Results, tables: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Counts said in words, for the page's sections; each falls back to what is missing."""
    told = {"gap": "The gap has not been measured.", "labels": ""}
    if results.gap is not None and len(results.gap):
        better, total = int(results.gap["visual_better"].sum()), len(results.gap)
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


def render_page(
    results: Results, tables: dict[str, pd.DataFrame], headlines: list[Headline], figures: list[dict]
) -> str:
    """The whole page. `pictures`: name, says, svg (bytes)."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    images = {
        p["name"]: {"says": p["says"], "data": "data:image/svg+xml;base64," + base64.b64encode(p["svg"]).decode()}
        for p in figures
    }
    return environment.get_template("page.html.jinja").render(
        css=(TEMPLATE_DIR / "page.css").read_text(encoding="utf-8"),
        size=results.config.preset,
        route=results.config.route.mode,
        confidence=f"{100 * results.config.report.confidence:g}",
        samples=formatting.format_number(results.config.report.bootstrap_samples),
        cards=build_cards(headlines),
        notes=results.notes,
        simulated=results.has_simulated_responses,
        judged=human_tables.build_human_notes(results, tables) if "humans" in tables else None,
        told=build_sentences(results, tables),
        grids=build_page_tables(tables, results),
        images=images,
    )
