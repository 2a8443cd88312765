"""Titles in any script and of any length: figures contain all of their text, and nobody is mistaken for another."""

import re
import string
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthesia.analysis import headline, html_report, human_tables, loading, tables
from synesthesia.analysis.figures import paper, render, style, text_fit
from synesthesia.analysis.results import Respondent
from tests.helpers.study_outputs import StudyWriter, make_config

pytestmark = pytest.mark.slow  # real figures

TITLES = {
    "long": lambda key: f"A model with a title that somebody wrote in a great many words {'and words ' * 24} for {key}",
    "one word": lambda key: "x" * 300 + key,
    "wide letters": lambda key: "W" * 300 + key,
    "Japanese": lambda key: "音声と映像の大規模言語モデル" * 15 + key,
    "Arabic": lambda key: "نموذج لغوي كبير للصوت والصورة " * 9 + key,
    "emoji": lambda key: "🎧👀" * 60 + key,
    "equal": lambda key: "Model",
    "equal and long": lambda key: "Model " * 50,
    "underscore": lambda key: f"_{key}",
    "control characters": lambda key: f"a\x07b\n{key}",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    writer = StudyWriter(tmp_path_factory.mktemp("titles") / "out", make_config(bootstrap_samples=100), 6, 2, 3)
    writer.write()
    return writer


def load(study, make_title):
    """The study's results with other titles of all models and settings."""
    config = study.config

    def rename(entries):
        return {key: entry.model_copy(update={"title": make_title(key)}) for key, entry in entries.items()}

    distill = config.distill.model_copy(update={"settings": rename(config.distill.settings)})
    config = config.model_copy(update={"models": rename(config.models), "distill": distill})
    return loading.load_results(config, study.out)


def find_overflowing_text(figure):
    """Texts that are not inside of the figure, except numbers: ticks outside of the limits are not drawn."""
    figure.set_dpi(style.PNG_DPI)
    figure.draw_without_rendering()  # places the legend's texts
    renderer, box = figure.canvas.get_renderer(), figure.bbox
    texts = [
        t
        for t in figure.findobj(lambda a: hasattr(a, "get_text"))
        if t.get_visible() and re.search(r"[^\W\d_]|[^\x00-\u2fff]", t.get_text())
    ]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    limit = style.USUAL_OVERFLOW_PIXELS
    return [t for t, b in boxes if min(b.x0 - box.x0, b.y0 - box.y0, box.x1 - b.x1, box.y1 - b.y1) < -limit]


@pytest.mark.parametrize("kind", TITLES)
def test_text_stays_inside_of_every_figure_and_axes_keep_their_size(study, kind):
    results = load(study, TITLES[kind])
    frames = tables.build_tables(results)
    for figure in render.render_figures(results, frames):
        assert find_overflowing_text(figure.figure) == [], figure.name
        sizes = [axes.get_window_extent() for axes in figure.figure.axes]
        assert min(min(size.width, size.height) for size in sizes) > 40, figure.name
        ElementTree.fromstring(style.encode_figure(figure.figure, figure.name, "svg"))


@pytest.mark.parametrize("kind", ["equal", "equal and long", "underscore", "Japanese"])
def test_a_legend_has_one_name_per_respondent(study, kind):
    results = load(study, TITLES[kind])
    frames = tables.build_tables(results)
    figures = {figure.name: figure.figure for figure in render.render_figures(results, frames)}
    models = [r.title for r in results.respondents if r.kind == "model"]
    names = [text.get_text() for text in figures["figure1"].legends[0].get_texts()]
    assert len(set(names)) == len(set(models)) == len(models)
    assert len({text.get_text() for text in figures["figure3"].legends[0].get_texts()}) == 3
    for name in ("table1", "table2", "before_after"):
        keys = [c for c in ("respondent", "setting", "student", "split") if c in frames[name]]
        assert len(frames[name].drop_duplicates(["title", *set(keys) - {"respondent", "setting"}])) == len(frames[name])
    ticks = [label.get_text() for label in figures["position_bias"].axes[0].get_yticklabels()]
    assert len(set(ticks)) == len(ticks) == len(results.respondents)


def test_equal_titles_get_their_keys_on_the_page(study):
    results = load(study, TITLES["equal"])
    frames = tables.build_tables(results) | human_tables.build_human_tables(results)
    figures = [{"name": f.name, "alt_text": f.alt_text, "svg": b""} for f in render.render_figures(results, frames)]
    page = html_report.render_page(results, frames, headline.compute_headlines(results), figures)
    for key in study.config.models:
        assert f"<td>Model ({key})</td>" in page


@pytest.mark.parametrize(("make_title", "is_broken"), [(lambda key: "A model", False), (lambda key: "x" * 300, True)])
def test_words_are_broken_on_a_page_only_where_they_do_not_fit(study, make_title, is_broken):
    results = load(study, make_title)
    results.respondents = [r for r in results.respondents if r.kind == "model"]
    frames = tables.build_tables(results)
    names = ("figure1", "gap", "switch", "table2", "figure3", "position_bias")
    figures = [{"name": name, "alt_text": "", "svg": b""} for name in names]
    page = html_report.render_page(results, frames, headline.compute_headlines(results), figures)
    assert ("td { overflow-wrap: break-word" in page) == is_broken


def test_a_title_with_a_colon_is_not_cut_in_table_1(study):
    results = load(study, lambda key: f"{key}: tiny: v2")
    titles = tables.build_table1(results)["title"]
    audio, visual = study.config.measure_gap.audio, study.config.measure_gap.visual
    assert f"{audio}: tiny: v2 distilled from {visual}: tiny: v2" in set(titles)


def test_a_title_that_equals_a_legend_of_figure_3_is_numbered(study):
    results = load(study, lambda key: "after distillation" if key == study.config.measure_gap.visual else key)
    figure = next(f for f in render.render_figures(results, tables.build_tables(results)) if f.name == "figure3")
    names = [text.get_text() for text in figure.figure.legends[0].get_texts()]
    assert names[1:] == ["after distillation", "after distillation (2)"]


def test_titles_that_become_equal_by_their_key_are_told_apart_too(study):
    results = load(study, lambda key: key)
    results.respondents = [Respondent(k, t, "audio", "model") for k, t in (("a", "X"), ("b", "X"), ("c", "X (a)"))]
    results.__post_init__()
    assert len({r.title for r in results.respondents}) == 3


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200), st.integers(20, 300), st.integers(1, 4))
def test_a_fitted_text_has_its_width_its_lines_and_both_of_its_ends(text, points, max_lines):
    fitted = text_fit.fit_text(text, points, 8, max_lines)
    lines = fitted.split("\n")
    assert len(lines) <= max_lines
    assert max(text_fit.measure_text(line, 8) for line in lines) <= max(points, 8 * 2)
    assert "".join(fitted.split()).startswith("".join(text.split())[:1])


@given(st.text(string.ascii_letters + " ", max_size=80), st.integers(8, 40))
def test_words_in_latin_letters_are_wrapped_as_before(text, width):
    import textwrap

    assert text_fit._wrap_characters(text, width) == (textwrap.wrap(text, width) or [text])


def test_wide_characters_count_twice():
    assert text_fit.shorten("音" * 20, 16, 2) == "音" * 8 + "\n" + "音" * 7 + "…"
    assert text_fit.shorten("صوت " * 3, 16, 2) == "صوت صوت صوت"


def test_figure_1_takes_respondents_of_equal_titles(study):
    accuracy, respondents = render.compute_label_accuracy(load(study, TITLES["underscore"]))
    accuracy = accuracy.set_axis(["Model"] * accuracy.shape[1], axis=1)
    respondents = [respondent | {"title": "Model"} for respondent in respondents]
    figure = paper.plot_figure1(accuracy, respondents, {"Tie": list(accuracy.index), "a": [], "b": []})
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(set(names)) == len(respondents)
