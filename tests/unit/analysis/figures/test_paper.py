"""Figures: the right labels, the same bytes, and words where there is nothing to draw."""

import math
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest

from synesthesia.analysis.figures import paper
from synesthesia.distillation.gap import group_labels

pytestmark = pytest.mark.slow  # real figures


def gaps(count, seed=0):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"label": [f"label {i:03d}" for i in range(count)]})
    frame["audio"], frame["visual"] = random.integers(0, 51, (2, count)) / 50
    return frame.assign(gap=frame["visual"] - frame["audio"], switch_closed=random.random(count))


def words(svg):
    return " ".join(ElementTree.fromstring(svg).itertext())


@pytest.mark.parametrize("form", ["svg", "png"])
def test_the_same_figure_has_the_same_bytes_without_a_date(form):
    first, second = (paper.encode_figure(paper.plot_gap(gaps(5), 10), "gap", form) for _ in range(2))
    assert first == second
    assert b"<dc:date>" not in first
    assert b"tIME" not in first


def test_drawing_leaves_the_callers_style_alone():
    before = dict(matplotlib.rcParams)
    paper.encode_figure(paper.placeholder("Nothing."), "nothing", "svg")
    assert dict(matplotlib.rcParams) == before


def test_a_label_is_never_read_as_markup_or_formula():
    frame = gaps(3).assign(label=["<script>x</script>", "cash $100 & $200", "тикают часы"])
    svg = paper.encode_figure(paper.plot_gap(frame, 10), "gap", "svg")
    assert b"<script>" not in svg
    assert "cash $100 & $200" in words(svg)
    assert "тикают часы" in words(svg)


def test_with_286_labels_the_bars_show_thirty():
    figure = paper.plot_gap(gaps(286), 10)
    assert len(figure.axes[1].get_yticklabels()) == 30
    assert "30 labels" in figure.axes[1].get_title(loc="left")
    assert figure.get_size_inches()[1] < 10


def test_labels_without_a_known_switch_are_drawn_all_the_same():
    svg = paper.encode_figure(paper.plot_gap(gaps(4).assign(switch_closed=math.nan), 10), "gap", "svg")
    assert "not known" in words(svg)


def test_an_empty_row_says_so():
    frame = pd.DataFrame({"label": ["a"], "audio": [0.5], "visual": [0.9]})
    accuracy = pd.DataFrame({"ears": [0.5], "eyes": [0.9]}, index=["a"])
    people = [{"title": "ears", "sense": "audio", "human": True}, {"title": "eyes", "sense": "visual", "human": False}]
    figure = paper.plot_figure1(accuracy, people, group_labels(frame, 10))
    text = words(paper.encode_figure(figure, "figure1", "svg"))
    assert text.count("No label of this kind") == 2
    assert "ears: 50.0 %" in text


def test_figures_without_data_are_sentences():
    nothing = pd.DataFrame(columns=["label", "before", "after", "teacher"])
    titles = {"before": "b", "after": "a", "teacher": "t"}
    for figure in (
        paper.plot_figure1(pd.DataFrame(), [], {}),
        paper.plot_figure3(nothing, nothing, titles, 10),
        paper.plot_gap(gaps(0), 10),
    ):
        assert len(figure.axes) == 1
        assert len(figure.axes[0].texts) == 1


def test_long_labels_are_cut_to_their_lines():
    text = paper.shorten("people giggling and then whispering about something very secret", 16)
    assert text.count("\n") == 1
    assert text.endswith("…")
    assert max(map(len, text.split("\n"))) <= 16
    assert paper.shorten("owl hooting") == "owl hooting"
