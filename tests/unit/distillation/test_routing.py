"""Who teaches on which clip, in every mode. Needs no torch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthesia import config, schemas
from synesthesia.pipeline.route import hash_uniform, route_clips

BETTER = {"cat": True, "dog": False}


def clips(count, labels=("cat", "dog")):
    return [{"clip_id": f"c{i}", "labels": [labels[i % len(labels)]]} for i in range(count)]


def route(mode, threshold=0.5, seed=0):
    return config.RouteConfig(mode=mode, threshold=threshold, seed=seed)


def decided(mode, count=6, probability=None, labels=("cat", "dog"), **kinds):
    """[(visual teaches, audio teaches)] a clip."""
    said = {f"c{i}": i / count for i in range(count)} if probability is None else probability
    rows = route_clips(clips(count, labels), BETTER, said, route(mode, **kinds))
    schemas.from_rows(rows, schemas.ROUTE, "route")
    assert [r["clip_id"] for r in rows] == [f"c{i}" for i in range(count)]
    assert [r["visual_better_probability"] for r in rows] == [said.get(f"c{i}") for i in range(count)]
    return [(r["visual_teaches"], r["audio_teaches"]) for r in rows]


def test_learned_follows_the_switch_and_a_tie_goes_to_the_ears():
    assert decided("learned", 4) == [(False, True), (False, True), (False, True), (True, False)]
    assert decided("learned", 4, threshold=0.2) == [(False, True), (True, False), (True, False), (True, False)]


def test_true_gap_follows_the_label_and_asks_no_switch():
    assert decided("true_gap", 4) == [(True, False), (False, True)] * 2
    assert decided("true_gap", 4, probability={}) == [(True, False), (False, True)] * 2


@pytest.mark.parametrize("mode", ["learned", "true_gap"])
@given(probability=st.lists(st.floats(0, 1), min_size=1, max_size=20), threshold=st.floats(0, 1))
def test_the_two_directions_complete_each_other(mode, probability, threshold):
    said = {f"c{i}": p for i, p in enumerate(probability)}
    for visual, audio in decided(mode, len(said), said, threshold=threshold):
        assert visual is not audio


@pytest.mark.parametrize("mode, expected", [("always", (True, True)), ("never", (False, False))])
def test_always_and_never_hold_for_both_directions(mode, expected):
    assert set(decided(mode)) == {expected}


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 1.0])
def test_random_closes_on_about_as_many_clips_as_the_switch(share):
    count = 4000
    said = {f"c{i}": float(i < share * count) for i in range(count)}
    found = decided("random", count, said)
    assert sum(v for v, _ in found) / count == pytest.approx(share, abs=0.03)
    assert sum(a for _, a in found) / count == pytest.approx(1 - share, abs=0.03)
    if 0 < share < 1:
        both = sum(v and a for v, a in found) / count
        assert both == pytest.approx(share * (1 - share), abs=0.03), "the directions are drawn apart"
        agree = sum(v == (said[f"c{i}"] > 0.5) for i, (v, _) in enumerate(found)) / count
        assert agree == pytest.approx(share**2 + (1 - share) ** 2, abs=0.03), "it does not listen to the switch"


def test_random_follows_from_seed_and_clip_and_not_from_the_table():
    said = {f"c{i}": i % 2 for i in range(40)}
    assert decided("random", 40, said) == decided("random", 40, said)
    assert decided("random", 40, said) != decided("random", 40, said, seed=1)
    rows = route_clips(clips(40)[::-1], BETTER, said, route("random"))
    assert [(r["visual_teaches"], r["audio_teaches"]) for r in rows[::-1]] == decided("random", 40, said)


def test_uniform_numbers_are_even():
    found = [hash_uniform(0, f"c{i}") for i in range(4000)]
    assert all(0 <= u < 1 for u in found)
    for tenth in range(10):
        assert sum(tenth <= u * 10 < tenth + 1 for u in found) / 4000 == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("mode", ["learned", "true_gap", "random", "never"])
def test_clips_that_nobody_knows_teach_nobody(mode):
    """No analysis clip of their label survived: the gap has no such label, and the switch was not asked."""
    said = {f"c{i}": float(i % 4 == 0) for i in range(0, 60, 2)}  # every other clip is an owl's
    found = decided(mode, 60, said, labels=("cat", "owl"))
    assert set(found[1::2]) == {(False, False)}


def test_the_stage_writes_routes_and_shares(tmp_path, monkeypatch):
    import json

    from synesthesia.pipeline import route as stage
    from tests.helpers.study_outputs import Maker, parameters

    monkeypatch.chdir(tmp_path)
    given_params = parameters()
    Maker(tmp_path / "out", given_params, labels=4, clips=4, unseen=2).write()
    stage.run(given_params)
    found = schemas.read("out/route/route.parquet", schemas.ROUTE).to_pylist()
    assert len(found) == 16
    assert all(r["visual_teaches"] is (r["visual_better_probability"] > 0.5) for r in found)
    metrics = json.loads((tmp_path / "out/route/metrics.json").read_text())
    assert metrics["visual_teaches_share"] + metrics["audio_teaches_share"] == 1
    assert metrics["visual_teaches_share"] == sum(r["visual_teaches"] for r in found) / 16
    before = (tmp_path / "out/route/route.parquet").read_bytes()
    stage.run(given_params)
    assert (tmp_path / "out/route/route.parquet").read_bytes() == before
