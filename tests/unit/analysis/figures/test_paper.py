"""Figures: correct labels, byte-identical files, and sentences where there is nothing to draw."""

import math
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest

from synesthesia.analysis.figures import paper, style, text_fit
from synesthesia.distillation.gap import group_labels

pytestmark = pytest.mark.slow  # real figures


def make_labels(count, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"label": [f"label {i:03d}" for i in range(count)]})
    frame["audio"], frame["visual"] = rng.integers(0, 51, (2, count)) / 50
    return frame.assign(gap=frame["visual"] - frame["audio"], switch_closed_fraction=rng.random(count))


def extract_text(svg):
    return " ".join(ElementTree.fromstring(svg).itertext())


@pytest.mark.parametrize("fmt", ["svg", "png"])
def test_equal_figures_have_equal_bytes_without_a_date(fmt):
    first, second = (style.encode_figure(paper.plot_gap(make_labels(5), 10), "gap", fmt) for _ in range(2))
    assert first == second
    assert b"<dc:date>" not in first
    assert b"tIME" not in first


def test_drawing_does_not_change_the_callers_rcparams():
    before = dict(matplotlib.rcParams)
    style.encode_figure(style.placeholder("Nothing."), "nothing", "svg")
    assert dict(matplotlib.rcParams) == before


def test_labels_are_neither_markup_nor_formulas():
    frame = make_labels(3).assign(label=["<script>x</script>", "cash $100 & $200", "тикают часы"])
    svg = style.encode_figure(paper.plot_gap(frame, 10), "gap", "svg")
    assert b"<script>" not in svg
    assert "cash $100 & $200" in extract_text(svg)
    assert "тикают часы" in extract_text(svg)


def test_gap_bars_show_30_of_286_labels():
    figure = paper.plot_gap(make_labels(286), 10)
    assert len(figure.axes[1].get_yticklabels()) == 30
    assert "30 labels" in figure.axes[1].get_title(loc="left")
    assert figure.get_size_inches()[1] < 10


def test_gap_is_drawn_without_a_switch():
    labels = make_labels(4).assign(switch_closed_fraction=math.nan)
    svg = style.encode_figure(paper.plot_gap(labels, 10), "gap", "svg")
    assert "unknown" in extract_text(svg)


def test_empty_label_group_has_a_message():
    frame = pd.DataFrame({"label": ["a"], "audio": [0.5], "visual": [0.9]})
    accuracy = pd.DataFrame({"ears": [0.5], "eyes": [0.9]}, index=["a"])
    respondents = [
        {"title": "ears", "modality": "audio", "is_human": True},
        {"title": "eyes", "modality": "visual", "is_human": False},
    ]
    figure = paper.plot_figure1(accuracy, respondents, group_labels(frame, 10))
    text = extract_text(style.encode_figure(figure, "figure1", "svg"))
    assert text.count("no label in this group") == 2
    assert "ears: 50.0 %" in text


def test_figures_without_data_are_sentences():
    empty = pd.DataFrame(columns=["label", "before", "after", "teacher"])
    titles = {"before": "b", "after": "a", "teacher": "t"}
    for figure in (
        paper.plot_figure1(pd.DataFrame(), [], {}),
        paper.plot_figure3(empty, empty, titles, 10),
        paper.plot_gap(make_labels(0), 10),
    ):
        assert len(figure.axes) == 1
        assert len(figure.axes[0].texts) == 1


def test_long_labels_are_cut_with_an_ellipsis():
    text = text_fit.shorten("people giggling and then whispering about something very secret", 16)
    assert text.count("\n") == 1
    assert text.endswith("…")
    assert max(map(len, text.split("\n"))) <= 16
    assert text_fit.shorten("owl hooting") == "owl hooting"
