"""The page: self-contained, escaped, byte-identical on a rerun, complete."""

import html.parser
import re

import pytest

from synesthesia.analysis import formatting, headline, html_report, human_tables, tables
from synesthesia.analysis.figures import render, style
from synesthesia.pipeline import report
from synesthesia.stats import Interval

pytestmark = pytest.mark.slow  # real files and figures: seconds each


@pytest.fixture(scope="module")
def page(report_folder):
    return (report_folder / "index.html").read_text(encoding="utf-8")


class PageParser(html.parser.HTMLParser):
    """Collect URLs, ids, tags and unbalanced elements."""

    def __init__(self):
        super().__init__()
        self.open_tags, self.urls, self.ids, self.tags = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.urls += [value for key, value in attributes if key in ("src", "href", "data", "action")]
        self.ids += [value for key, value in attributes if key == "id"]
        if tag not in ("meta", "img", "br"):
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag


@pytest.fixture(scope="module")
def parsed_page(page):
    parser = PageParser()
    parser.feed(page)
    return parser


def test_page_has_no_external_references(parsed_page, page):
    assert {u.split(",")[0] for u in parsed_page.urls if not u.startswith("#")} == {"data:image/svg+xml;base64"}
    assert not {"script", "link", "iframe"} & set(parsed_page.tags)
    assert "url(" not in page
    assert "@import" not in page


def test_page_is_well_formed_and_its_links_have_targets(parsed_page):
    assert parsed_page.open_tags == []
    assert len(parsed_page.ids) == len(set(parsed_page.ids))
    assert {u[1:] for u in parsed_page.urls if u.startswith("#")} <= set(parsed_page.ids)


def test_labels_are_escaped(page):
    assert "&lt;b&gt;rock &amp; roll&lt;/b&gt; $5" in page
    assert "<b>" not in page


def test_page_has_no_nan_or_none_and_no_time_or_path(page, writer):
    text = re.sub(r'src="[^"]*"', "", page)
    assert not re.search(r"\b(nan|None|inf)\b", text)
    assert str(writer.out.parent) not in page
    assert not re.search(r"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", text)


def test_page_announces_the_embedded_preset_and_a_control_run(results, page):
    assert "Synthetic study" in page
    assert "Control run" not in page
    report_tables = tables.build_tables(results) | human_tables.build_human_tables(results)
    figures = [
        {"name": name, "alt_text": "", "svg": b""}
        for name in ("figure1", "humans", "gap", "switch", "table2", "figure3", "position_bias")
    ]
    route = results.config.route.model_copy(update={"mode": "random"})
    original = results.config
    results.config = original.model_copy(update={"preset": "paper", "route": route})
    try:
        control_page = html_report.render_page(results, report_tables, headline.compute_headlines(results), figures)
    finally:
        results.config = original
    assert "Synthetic study" not in control_page
    assert "replaced by “random”" in control_page


def test_cards_show_all_headlines_with_intervals(page, results):
    headlines = headline.compute_headlines(results)
    assert {h.key for h in headlines} >= {
        "gap",
        "switch",
        "gain",
        "recovered_fraction_of_ground_truth",
        "fraction_of_teacher_lead",
    }
    for card in html_report.build_cards(headlines):
        assert card["value"] in page
        assert card["interval"] in page


def test_every_table_and_figure_is_written(report_folder):
    names = {path.name for path in (report_folder / "tables").iterdir()}
    assert names >= {
        f"{n}.csv" for n in ("table1", "table2", "before_after", "labels", "position_bias", "rejected", "counts")
    }
    stems = {path.stem for path in (report_folder / "figures").glob("*.svg")}
    assert stems == {path.stem for path in (report_folder / "figures").glob("*.png")}
    assert {"figure1", "figure3", "gap", "switch", "table2", "position_bias", "humans"} == stems


def test_second_report_has_the_same_bytes(report_folder, writer, monkeypatch):
    encode_figure = style.encode_figure

    def encode_svg_only(figure, name, fmt):  # bytes of PNG files: tests/unit/analysis/figures/test_paper.py
        path = report_folder / f"figures/{name}.{fmt}"
        return encode_figure(figure, name, fmt) if fmt == "svg" else path.read_bytes()

    def read_files():
        paths = (p for p in report_folder.rglob("*") if p.is_file())
        return {str(p.relative_to(report_folder)): p.read_bytes() for p in paths}

    before = read_files()
    (report_folder / "tables/of_an_earlier_study.csv").write_text("stale")
    monkeypatch.chdir(writer.out.parent)
    monkeypatch.setattr(style, "encode_figure", encode_svg_only)
    report.run(writer.config)
    assert read_files() == before


def test_label_figures_include_humans_and_only_truly_unseen_labels(results):
    accuracy, respondents = render.compute_label_accuracy(results)
    humans = [r["title"] for r in respondents if r["is_human"]]
    assert humans == ["Human ears", "Human eyes", "Human ears and eyes"]
    assert len(accuracy) == 9
    labels = tables.build_label_table(results)
    labels.loc[labels["label"] == "strange thing 1", "label"] = "label 03 playing loudly"
    analysis_labels = labels[labels["split"] == "analysis"]
    trained, unseen = render.select_figure3_labels(labels, analysis_labels)
    assert set(unseen["label"]) == {"strange thing 0", "strange thing 2"}
    assert trained["before"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (Interval(0.207, 0.18, 0.2312), "points", ("+20.7 points", "[+18.0, +23.1]")),
        (Interval(-0.0001, -0.05, 0.05), "points", ("0.0 points", "[−5.0, +5.0]")),
        (Interval(0.845, float("-inf"), float("inf")), "percent", ("84.5 %", "too few data for an interval")),
    ],
)
def test_estimates_are_formatted_with_unit_and_interval(value, kind, expected):
    assert formatting.format_estimate(value, kind) == expected


def test_missing_numbers_are_dashes():
    missing = [
        formatting.format_percent(None),
        formatting.format_points(float("nan")),
        formatting.format_p_value(None),
        formatting.format_number(float("nan")),
    ]
    assert missing == ["–"] * 4
    assert formatting.format_p_value(0.00001) == "< 0.001"
    assert formatting.format_number(149460) == "149\u202f460"
