"""The report's page: tables, figures and headlines in one self-contained HTML file that needs no network.

All text goes through jinja2's autoescape and figures are data URLs, so nothing in a label can become markup. The page
holds no time, path or random id: the same study gives the same bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from synesthesia.analysis import formatting, sentences
from synesthesia.analysis.formatting import NumberFormatter, format_points, format_seconds, format_signed
from synesthesia.analysis.headline import Headline
from synesthesia.analysis.results import Results

TEMPLATE_DIR = Path(__file__).parent
MAX_WORD_LENGTH = 30  # characters that fit into a card
BREAK_WORDS = (
    "\nli, p, h3, figcaption { overflow-wrap: anywhere; } td { overflow-wrap: break-word; max-width: 24rem; }\n"
)

CellFormatter = Callable[[dict], str]


@dataclass(frozen=True)
class Column:
    """Column of a table on the page.

    Attributes:
        heading: Heading.
        formatter: Maps a row to the cell's text.
        is_numeric: Whether cells are numbers, aligned to the right.
    """

    heading: str
    formatter: CellFormatter
    is_numeric: bool = False


@dataclass(frozen=True)
class TableCells:
    """Table as text.

    Attributes:
        columns: Heading of each column, and whether it is numeric.
        rows: Text of each cell.
    """

    columns: list[tuple[str, bool]]
    rows: list[list[str]]


def build_table_cells(frame: pd.DataFrame, columns: list[Column]) -> TableCells:
    """Format a table.

    Args:
        frame: Table.
        columns: Columns to show.

    Returns:
        Text cells; a missing number is a dash.
    """
    rows = [[column.formatter(row) for column in columns] for row in frame.to_dict("records")]
    return TableCells([(column.heading, column.is_numeric) for column in columns], rows)


def _text(heading: str, key: str) -> Column:
    return Column(heading, lambda row: formatting.format_number(row.get(key)))


def _count(heading: str, key: str) -> Column:
    return Column(heading, lambda row: formatting.format_number(row.get(key)), is_numeric=True)


def _estimate(heading: str, key: str, formatter: NumberFormatter = formatting.format_percent) -> Column:
    """Make a column of estimates, "71.9 [70.1, 73.4]" where the table has `<key>_low` and `<key>_high`."""

    def cell(row: dict) -> str:
        interval = formatting.format_interval(row.get(f"{key}_low"), row.get(f"{key}_high"), formatter)
        return f"{formatter(row.get(key))} {interval}".strip()

    return Column(heading, cell, is_numeric=True)


def _p_value(heading: str, key: str) -> Column:
    return Column(heading, lambda row: formatting.format_p_value(row.get(key)), is_numeric=True)


def _sum_over_splits(heading: str, suffix: str) -> Column:
    def cell(row: dict) -> str:
        return formatting.format_number(sum(row[f"{split}_{suffix}"] for split in ("analysis", "test", "unseen")))

    return Column(heading, cell, is_numeric=True)


def _accuracy(split: str) -> list[Column]:
    return [
        _estimate(f"{split.capitalize()} %", f"{split}_accuracy"),
        _estimate("Paper", f"paper_{split}_accuracy"),
    ]


def build_page_tables(tables: dict[str, pd.DataFrame], results: Results) -> dict[str, TableCells]:
    """Format the tables of the page.

    Args:
        tables: Results of `tables.build_tables` and `human_tables.build_human_tables`.
        results: The study's results, for titles.

    Returns:
        Tables by name; `labels` is split into `labels_analysis` and `labels_unseen`.
    """
    student = Column("Student", lambda row: results.get_title(row["student"]))
    label_columns = [
        _text("Label", "label"),
        _count("Clips", "n_clips"),
        _estimate("Audio %", "audio"),
        _estimate("Visual %", "visual"),
        _estimate("Gap", "gap", format_points),
        _p_value("p", "gap_p_holm"),
        _estimate("Switch closed %", "switch_closed_fraction"),
        _estimate("After %", "after"),
        _estimate("Gain", "gain", format_points),
        _p_value("p", "gain_p_holm"),
    ]
    layout = {
        "table1": [
            _text("Respondent", "title"),
            _text("Modality", "modality"),
            _text("Role", "role"),
            *_accuracy("analysis"),
            *_accuracy("test"),
            _estimate("Unseen %", "unseen_accuracy"),
            _sum_over_splits("Answers", "n_answers"),
            _sum_over_splits("Unparseable", "n_unparseable"),
        ],
        "table2": [
            student,
            _text("Setting", "title"),
            *_accuracy("analysis"),
            *_accuracy("test"),
            _estimate("Δ default, analysis", "analysis_difference", format_points),
            _estimate("Δ default, test", "test_difference", format_points),
            _p_value("p, analysis", "analysis_p_holm"),
            _p_value("p, test", "test_p_holm"),
        ],
        "before_after": [
            student,
            _text("Setting", "title"),
            _text("Split", "split"),
            _count("Questions", "n_questions"),
            _estimate("Before %", "before"),
            _estimate("After %", "after"),
            _estimate("Difference", "difference", format_points),
            _count("Improved", "n_improved"),
            _count("Worsened", "n_worsened"),
            _p_value("p", "p"),
        ],
        "switch": [
            _text("Part", "part"),
            _count("Clips", "n_clips"),
            _estimate("Accuracy %", "accuracy"),
            _estimate("Paper", "paper_accuracy"),
            _estimate("Balanced accuracy %", "balanced_accuracy"),
            _estimate("Always “visual” %", "always_visual_accuracy"),
        ],
        "rejected": [
            _text("Reason", "reason"),
            _count("Files", "n_files"),
            _text("Example", "example"),
            _text("Decoder message", "detail"),
        ],
        "curation_counts": [
            _text("VGGSound's clips", "description"),
            _count("Labels", "labels"),
            _count("Train", "train_clips"),
            _count("Test", "test_clips"),
        ],
        "vggsounder": [
            _text("Respondent", "title"),
            _text("Test clips", "slice_title"),
            _count("Clips", "n_clips"),
            _estimate("Accuracy %", "accuracy"),
        ],
        "counts": [_text("Description", "description"), _count("Count", "count")],
        "letter_agreement": [
            Column("Respondent", lambda row: results.get_title(row["respondent"])),
            _count("Answers with both", "n_answers"),
            _count("Different letter in the text", "n_different_letter"),
            _count("No letter in the text", "n_no_letter"),
        ],
    }
    if "respondents" in tables:
        layout |= _human_columns()
    cells = {name: build_table_cells(tables[name], columns) for name, columns in layout.items()}
    labels = tables["labels"]
    for split in ("analysis", "unseen"):
        frame = labels[labels["split"] == split] if len(labels) else labels
        cells[f"labels_{split}"] = build_table_cells(pd.DataFrame(frame), label_columns)
    return cells


def _human_columns() -> dict[str, list[Column]]:
    """Lay out the tables of `human_tables.build_human_tables`."""
    return {
        "respondents": [
            _text("Respondent", "title"),
            _count("Labels", "n_labels"),
            _count("Answers", "n_answers"),
            _estimate("Accuracy %", "accuracy"),
            _estimate("Paper", "paper_accuracy"),
            _estimate("Δ model, points", "difference", format_points),
            _p_value("p", "p"),
            _text("Model", "reference_model"),
        ],
        "responses": [
            _text("Respondent", "title"),
            _count("Participants", "n_participants"),
            _count("Responses", "n_responses"),
            _count("Inattentive participants", "n_inattentive_participants"),
            _count("No choice", "n_no_choice"),
            _estimate("Median seconds", "seconds", format_seconds),
            Column("Quartiles", _format_quartiles, is_numeric=True),
            _count("Repeated questions", "n_repeated_questions"),
            _estimate("Fleiss' kappa", "kappa", format_signed),
        ],
        "human_agreement": [
            _text("Description", "description"),
            Column("Labels", lambda row: f"{row['count']} of {row['total']}", is_numeric=True),
            _count("Ties", "ties"),
            _estimate("%", "fraction"),
            Column("Paper", lambda row: f"{row['paper_count']:.0f} of {row['paper_total']:.0f}", is_numeric=True),
        ],
        "human_correlations": [
            Column("Models' gap on", lambda row: row["split"] + " clips"),
            Column("Kind", lambda row: row["kind"].capitalize()),
            _count("Labels", "n_labels"),
            _estimate("Correlation", "correlation", format_signed),
        ],
        "human_labels": [
            _text("Label", "label"),
            _text("Group", "group"),
            _estimate("Reference audio %", "reference_audio"),
            _estimate("Reference visual %", "reference_visual"),
            _estimate("Reference gap", "reference_gap", format_points),
            _count("Clips", "n_reference_audio_clips"),
            _estimate("Models' gap", "models_gap", format_points),
            _estimate("Models' gap, test", "models_gap_test", format_points),
            _text("Agreement", "agreement"),
        ],
    }


def _format_quartiles(row: dict) -> str:
    return formatting.format_interval(row["seconds_q1"], row["seconds_q3"], format_seconds) or formatting.MISSING


def build_cards(headlines: list[Headline]) -> list[dict]:
    """Format the headlines for the top of the page.

    Args:
        headlines: Result of `headline.compute_headlines`.

    Returns:
        title, value, interval, description and paper_value of each, as text.
    """
    cards = []
    for headline in headlines:
        value, interval = formatting.MISSING, f"undefined: {headline.missing_reason}"
        if headline.interval:
            value, interval = formatting.format_estimate(headline.interval, headline.kind)
        paper_value = ""
        if headline.paper_value is not None:
            points = f"{headline.paper_value:+.1f} points".replace("-", "−")
            paper_value = points if headline.kind == "points" else f"{headline.paper_value:.0f} %"
        cards.append(
            {
                "title": headline.title,
                "value": value,
                "interval": interval,
                "description": headline.description,
                "paper_value": paper_value,
            }
        )
    return cards


def render_page(
    results: Results, tables: dict[str, pd.DataFrame], headlines: list[Headline], figures: list[dict]
) -> str:
    """Render the page.

    Args:
        results: The study's results.
        tables: Results of `tables.build_tables` and `human_tables.build_human_tables`.
        headlines: Result of `headline.compute_headlines`.
        figures: name, alt_text and svg (bytes) of each figure.

    Returns:
        HTML.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    images = {
        figure["name"]: {
            "alt_text": figure["alt_text"],
            "data": "data:image/svg+xml;base64," + base64.b64encode(figure["svg"]).decode(),
        }
        for figure in figures
    }
    css = (TEMPLATE_DIR / "page.css").read_text(encoding="utf-8")
    titles = [r.title for r in results.respondents] + [r.setting.title for r in results.respondents if r.setting]
    if any(len(word) > MAX_WORD_LENGTH for title in titles for word in title.split()):
        css += BREAK_WORDS
    return environment.get_template("page.html.jinja").render(
        css=css,
        preset=results.config.preset,
        route=results.config.route.mode,
        confidence=f"{100 * results.config.report.confidence:g}",
        samples=formatting.format_number(results.config.report.bootstrap_samples),
        cards=build_cards(headlines),
        notes=results.notes,
        simulated=results.has_simulated_responses,
        human_notes=sentences.describe_humans(results, tables) if "respondents" in tables else None,
        sentences={
            "gap": sentences.describe_gap(results),
            "labels": sentences.describe_label_gains(tables["labels"]),
        },
        tables=build_page_tables(tables, results),
        images=images,
    )
