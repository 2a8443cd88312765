"""The page as a whole: stands alone, escapes, repeats byte for byte, says what it must."""

import html.parser
import re

import pytest

from synesthesia.analysis import formatting, headline, html_report, human_tables
from synesthesia.analysis import tables as tabulate
from synesthesia.analysis.figures import paper, render
from synesthesia.stats import Interval

pytestmark = pytest.mark.slow  # real files and figures: seconds each


@pytest.fixture(scope="module")
def text(reported):
    return (reported / "index.html").read_text(encoding="utf-8")


class Checker(html.parser.HTMLParser):
    """Collects addresses, ids and unbalanced elements."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.ids, self.tags = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for key, value in attributes if key in ("src", "href", "data", "action")]
        self.ids += [value for key, value in attributes if key == "id"]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def checked(text):
    checker = Checker()
    checker.feed(text)
    return checker


def test_the_page_needs_nothing_else(checked, text):
    assert {a.split(",")[0] for a in checked.addresses if not a.startswith("#")} == {"data:image/svg+xml;base64"}
    assert not {"script", "link", "iframe"} & set(checked.tags)
    assert "url(" not in text
    assert "@import" not in text


def test_the_page_is_well_formed_and_its_links_lead_somewhere(checked):
    assert checked.open == []
    assert len(checked.ids) == len(set(checked.ids))
    assert {a[1:] for a in checked.addresses if a.startswith("#")} <= set(checked.ids)


def test_labels_cannot_become_markup(text):
    assert "&lt;b&gt;rock &amp; roll&lt;/b&gt; $5" in text
    assert "<b>" not in text


def test_nothing_reads_nan_or_none_and_no_time_or_path_stands_in_it(text, maker):
    plain = re.sub(r'src="[^"]*"', "", text)
    assert not re.search(r"\b(nan|None|inf)\b", plain)
    assert str(maker.out.parent) not in text
    assert not re.search(r"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", plain)


def test_the_synthetic_size_and_a_control_are_announced(study, text):
    assert "Synthetic study" in text
    assert "Control run" not in text
    tables = tabulate.build_tables(study) | human_tables.build_human_tables(study)
    pictures = [
        {"name": n, "says": "", "svg": b""}
        for n in ("figure1", "humans", "gap", "switch", "table2", "figure3", "positions")
    ]
    route = study.params.route.model_copy(update={"mode": "random"})
    study.params, kept = study.params.model_copy(update={"preset": "paper", "route": route}), study.params
    try:
        other = html_report.render_page(study, tables, headline.compute_headlines(study), pictures)
    finally:
        study.params = kept
    assert "Synthetic study" not in other
    assert "replaced by “random”" in other


def test_the_first_screen_names_all_headlines_with_intervals(text, study):
    found = headline.compute_headlines(study)
    assert {h.key for h in found} >= {
        "gap",
        "switch",
        "gain",
        "recovered_share_of_ground_truth",
        "share_of_teacher_lead",
    }
    for card in html_report.build_cards(found):
        assert card["value"] in text
        assert card["bracket"] in text


def test_every_table_and_figure_is_written(reported):
    names = {path.name for path in (reported / "tables").iterdir()}
    assert names >= {
        f"{n}.csv" for n in ("table1", "table2", "before_after", "labels", "positions", "damaged", "counts")
    }
    stems = {path.stem for path in (reported / "figures").glob("*.svg")}
    assert stems == {path.stem for path in (reported / "figures").glob("*.png")}
    assert {"figure1", "figure3", "gap", "switch", "table2", "positions", "humans"} == stems


def test_a_second_report_has_the_same_bytes(reported, maker, monkeypatch):
    from synesthesia.pipeline import report

    save = paper.encode_figure

    def only_svg(figure, name, form):  # PNG's bytes: tests/unit/analysis/figures/test_paper.py
        return save(figure, name, form) if form == "svg" else (reported / f"figures/{name}.{form}").read_bytes()

    def files():
        return {str(p.relative_to(reported)): p.read_bytes() for p in reported.rglob("*") if p.is_file()}

    before = files()
    (reported / "tables/of_an_older_study.csv").write_text("stale")
    monkeypatch.chdir(maker.out.parent)
    monkeypatch.setattr(paper, "save", only_svg)
    report.run(maker.params)
    assert files() == before


def test_figures_of_labels_show_humans_and_truly_unseen_labels(study):
    accuracy, people = render.compute_label_accuracy(study)
    assert [p["title"] for p in people if p["human"]] == ["Human ears", "Human eyes", "Human ears and eyes"]
    assert len(accuracy) == 9
    labels = tabulate.build_label_table(study)
    labels.loc[labels["label"] == "strange thing 1", "label"] = "label 03 playing loudly"
    seen = labels[labels["set"] == "analysis"]
    heard, strange = render._select_figure3_labels(labels, seen)
    assert set(strange["label"]) == {"strange thing 0", "strange thing 2"}
    assert heard["before"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (Interval(0.207, 0.18, 0.2312), "points", ("+20.7 points", "[+18.0, +23.1]")),
        (Interval(-0.0001, -0.05, 0.05), "points", ("0.0 points", "[−5.0, +5.0]")),
        (Interval(0.845, float("-inf"), float("inf")), "percent", ("84.5 %", "too few data for an interval")),
    ],
)
def test_intervals_read_as_words(value, kind, expected):
    assert formatting.format_estimate(value, kind) == expected


def test_absent_figures_are_dashes():
    absent = [
        formatting.format_percent(None),
        formatting.format_points(float("nan")),
        formatting.format_p_value(None),
        formatting.format_number(float("nan")),
    ]
    assert absent == ["–"] * 4
    assert formatting.format_p_value(0.00001) == "< 0.001"
    assert formatting.format_number(149460) == "149\u202f460"
