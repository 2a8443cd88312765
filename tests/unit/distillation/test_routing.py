"""Routing of clips to teachers in each mode. Needs no torch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthesia import config, schemas
from synesthesia.distillation.routing import hash_uniform, route_clips

VISUAL_BETTER = {"cat": True, "dog": False}


def make_clips(num_clips, labels=("cat", "dog")):
    return [{"clip_id": f"c{i}", "labels": [labels[i % len(labels)]]} for i in range(num_clips)]


def route_config(mode, threshold=0.5, seed=0):
    return config.RouteConfig(mode=mode, threshold=threshold, seed=seed)


def route_teachers(mode, num_clips=6, probabilities=None, labels=("cat", "dog"), **options):
    """Route clips and return `visual_teaches` and `audio_teaches` per clip."""
    if probabilities is None:
        probabilities = {f"c{i}": i / num_clips for i in range(num_clips)}
    rows = route_clips(make_clips(num_clips, labels), VISUAL_BETTER, probabilities, route_config(mode, **options))
    schemas.from_rows(rows, schemas.ROUTE, "route")
    assert [r["clip_id"] for r in rows] == [f"c{i}" for i in range(num_clips)]
    assert [r["visual_better_probability"] for r in rows] == [probabilities.get(f"c{i}") for i in range(num_clips)]
    return [(r["visual_teaches"], r["audio_teaches"]) for r in rows]


def test_learned_mode_compares_switch_probability_with_threshold():
    assert route_teachers("learned", 4) == [(False, True), (False, True), (False, True), (True, False)]
    assert route_teachers("learned", 4, threshold=0.2) == [(False, True), (True, False), (True, False), (True, False)]


def test_true_gap_mode_uses_the_label_and_ignores_the_switch():
    assert route_teachers("true_gap", 4) == [(True, False), (False, True)] * 2
    assert route_teachers("true_gap", 4, probabilities={}) == [(True, False), (False, True)] * 2


@pytest.mark.parametrize("mode", ["learned", "true_gap"])
@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=20), threshold=st.floats(0, 1))
def test_each_clip_has_exactly_one_teacher(mode, values, threshold):
    probabilities = {f"c{i}": p for i, p in enumerate(values)}
    for visual, audio in route_teachers(mode, len(probabilities), probabilities, threshold=threshold):
        assert visual is not audio


@pytest.mark.parametrize("mode, expected", [("always", (True, True)), ("never", (False, False))])
def test_always_and_never_modes_apply_to_both_teachers(mode, expected):
    assert set(route_teachers(mode)) == {expected}


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.7, 1.0])
def test_random_mode_matches_the_teacher_fraction_of_the_switch(fraction):
    n = 4000
    probabilities = {f"c{i}": float(i < fraction * n) for i in range(n)}
    pairs = route_teachers("random", n, probabilities)
    assert sum(visual for visual, _ in pairs) / n == pytest.approx(fraction, abs=0.03)
    assert sum(audio for _, audio in pairs) / n == pytest.approx(1 - fraction, abs=0.03)
    if 0 < fraction < 1:
        both = sum(visual and audio for visual, audio in pairs) / n
        assert both == pytest.approx(fraction * (1 - fraction), abs=0.03), "the two teachers are drawn independently"
        agree = sum(visual == (probabilities[f"c{i}"] > 0.5) for i, (visual, _) in enumerate(pairs)) / n
        assert agree == pytest.approx(fraction**2 + (1 - fraction) ** 2, abs=0.03), (
            "draws are independent of the switch"
        )


def test_random_mode_depends_on_seed_and_clip_id_but_not_on_clip_order():
    probabilities = {f"c{i}": i % 2 for i in range(40)}
    assert route_teachers("random", 40, probabilities) == route_teachers("random", 40, probabilities)
    assert route_teachers("random", 40, probabilities) != route_teachers("random", 40, probabilities, seed=1)
    rows = route_clips(make_clips(40)[::-1], VISUAL_BETTER, probabilities, route_config("random"))
    assert [(r["visual_teaches"], r["audio_teaches"]) for r in rows[::-1]] == route_teachers(
        "random", 40, probabilities
    )


def test_hash_uniform_is_uniformly_distributed():
    numbers = [hash_uniform(0, f"c{i}") for i in range(4000)]
    assert all(0 <= u < 1 for u in numbers)
    for decile in range(10):
        assert sum(decile <= u * 10 < decile + 1 for u in numbers) / 4000 == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("mode", ["learned", "true_gap", "random", "never"])
def test_clips_without_gap_and_prediction_have_no_teacher(mode):
    """Labels without analysis clips have no gap, and the switch makes no prediction for their clips."""
    probabilities = {f"c{i}": float(i % 4 == 0) for i in range(0, 60, 2)}  # every second clip is an owl
    pairs = route_teachers(mode, 60, probabilities, labels=("cat", "owl"))
    assert set(pairs[1::2]) == {(False, False)}


def test_stage_writes_routes_and_metrics(tmp_path, monkeypatch):
    import json

    from synesthesia.pipeline import route as stage
    from tests.helpers.study_outputs import StudyWriter, make_config

    monkeypatch.chdir(tmp_path)
    study_config = make_config()
    StudyWriter(tmp_path / "out", study_config, labels=4, clips=4, unseen=2).write()
    stage.run(study_config)
    rows = schemas.read("out/route/route.parquet", schemas.ROUTE).to_pylist()
    assert len(rows) == 16
    assert all(r["visual_teaches"] is (r["visual_better_probability"] > 0.5) for r in rows)
    metrics = json.loads((tmp_path / "out/route/metrics.json").read_text())
    assert metrics["visual_teaches_fraction"] + metrics["audio_teaches_fraction"] == 1
    assert metrics["visual_teaches_fraction"] == sum(r["visual_teaches"] for r in rows) / 16
    before = (tmp_path / "out/route/route.parquet").read_bytes()
    stage.run(study_config)
    assert (tmp_path / "out/route/route.parquet").read_bytes() == before
