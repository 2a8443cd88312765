"""The published lists at their real size: the paper's arithmetic, splits, questions and their statistics."""

import csv
import functools
import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import yaml
from scipy.stats import chi2, chisquare, norm

from synesthesia import config, schemas
from synesthesia.analysis import curation_counts
from synesthesia.data.catalogs import audioset, label_filter, manifest, splits, vggsound
from synesthesia.questions import sampling
from tests.helpers import published_lists
from tests.helpers.small_dataset import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """A list of 200,000 rows is read once, whoever asks for it: reading takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vggsound, "read_list", functools.cache(vggsound.read_list))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("lists")
    published_lists.vggsound(made / "vggsound.csv")
    published_lists.audioset(made / "eval_segments.csv")
    (made / "test.csv").write_text(published_lists.test_list(), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def clips(folder) -> pa.Table:
    """A CLIP table of every listed clip that stays, as if all files were there: 196,000 rows."""
    rows, _ = label_filter.filter_labels(
        vggsound.read_list(folder / "vggsound.csv"), True, {"police car (siren)": "police car"}
    )
    split_of, _ = splits.split_vggsound(rows, 50, 0)
    kept = [(row, "vggsound", split_of[row.clip_id]) for row in rows if row.clip_id in split_of]
    eval_rows = audioset.read_list(folder / "eval_segments.csv", published_lists.AUDIOSET_LABELS)
    kept += [(row, "audioset", "unseen") for row in eval_rows]
    columns = {
        "clip_id": [row.clip_id for row, _, _ in kept],
        "video_id": [row.video_id for row, _, _ in kept],
        "dataset": [dataset for _, dataset, _ in kept],
        "labels": [list(row.labels) for row, _, _ in kept],
        "split": [split for _, _, split in kept],
        "shard": np.zeros(len(kept)),
        "row": np.arange(len(kept)),
    }
    made = pa.table({f.name: pa.array(columns[f.name], f.type) for f in schemas.CLIP})
    return schemas.check(made, schemas.CLIP, "clips")


@pytest.fixture(scope="module")
def drawn(clips) -> pa.Table:
    return sampling.draw_questions(clips, 0, 10, "frequency")


def test_the_counts_after_each_rule_are_the_papers_arithmetic_and_absent_files_are_named(folder, tmp_path):
    (tmp_path / "clips/sub").mkdir(parents=True)
    rows = list(csv.reader(published_lists.test_list().splitlines()))
    present = [(name[:11], int(name[12:18])) for name, label in rows if "," not in label][:3]
    (video, start), *others = present
    (tmp_path / f"clips/{video}_{start:06d}.mp4").touch()
    for video, start in others:
        (tmp_path / f"clips/sub/{video}_{start}.webm").touch()
    values = yaml.safe_load((ROOT / "params/paper.yaml").read_text())
    values["data"] = dict.fromkeys(values["data"]) | {"vggsound_list": str(folder / "vggsound.csv")}
    values["data"]["vggsound_clips"] = str(tmp_path / "clips")
    made = manifest.build_manifest(config.parse(values))
    counts = made.counts["vggsound"]
    assert {rule: tuple(left.values()) for rule, left in counts["curation_steps"].items()} == {
        "published": (309, 183_730, 15_446),
        "deduplicated": (309, 183_730, 15_446),
        "single_name_labels": (286, 164_767, 14_296),
        "train_without_test_videos": (286, 164_767 - counts["train_clips_of_test_videos"], 14_296),
    }
    assert set(counts["curation_steps"]) == set(curation_counts.STEP_TITLES)
    assert (counts["labels_with_multiple_names"], counts["labels_renamed"]) == (23, 1)
    assert sorted(item.clip_id for item in made.items) == sorted(f"{v}_{s:06d}" for v, s in present)
    assert counts["absent"] == 164_767 + 14_296 - 3 == sum(row["reason"] == "absent" for row in made.rejected)
    (note,) = [note for note in made.warnings if "listed but absent" in note]
    assert note.startswith(f"{counts['absent']} clips of vggsound listed but absent: ") and note.count(",") == 10


def test_the_list_with_file_names_says_the_same_as_the_list_of_all(folder):
    named = {row.clip_id: row.labels for row in vggsound.read_list(folder / "test.csv")}
    listed = {
        row.clip_id: row.labels for row in vggsound.read_list(folder / "vggsound.csv") if row.source_split == "test"
    }
    assert named == listed and len(named) == 15_446


def test_analysis_has_fifty_clips_of_each_label_and_no_video_is_in_two_splits(clips):
    frame = clips.filter(pa.compute.equal(clips["dataset"], "vggsound")).to_pandas()
    taken = Counter(own[0] for own in frame["labels"][frame["split"] == "analysis"])
    assert len(taken) == 286 and set(taken.values()) == {50}
    assert (frame.groupby("video_id")["split"].nunique() == 1).all()
    assert frame["video_id"].duplicated().sum() > 1000  # some videos do have several clips
    assert (frame["split"] == "test").sum() == 14_296


def test_audiosets_527_labels_are_read_by_their_names(folder, clips):
    names = audioset.read_display_names(published_lists.AUDIOSET_LABELS)
    assert len(names) == 527 and names["/m/05zppz"] == "Male speech, man speaking"
    unseen = clips.filter(pa.compute.equal(clips["dataset"], "audioset"))
    assert set(pa.compute.list_flatten(unseen["labels"]).to_pylist()) == set(names.values())


def test_the_truth_is_even_over_a_to_j_in_every_split(drawn):
    frame = drawn.select(["split", "target"]).to_pandas()
    assert chisquare(np.bincount(frame["target"], minlength=10)).pvalue > 0.001
    for _, part in frame.groupby("split"):
        assert chisquare(np.bincount(part["target"], minlength=10)).pvalue > 0.001 / 4


def test_distractors_follow_the_lists_frequencies_as_numpys_draws_without_replacement_do(clips, drawn):
    ours = pa.compute.equal(clips["dataset"], "vggsound")
    table = sampling.count_label_frequencies(clips)["vggsound"]
    names, weights = list(table), np.array(list(table.values()), float)
    index = {name: number for number, name in enumerate(names)}
    options = np.array([index[x] for x in drawn.filter(ours)["options"].combine_chunks().flatten().to_pylist()])
    options = options.reshape(-1, 10)
    answers = drawn.filter(ours)["target"].to_numpy()
    truth = options[np.arange(len(options)), answers]
    distractor = np.arange(10)[None] != answers[:, None]
    counted = np.bincount(options[distractor], minlength=len(names))
    rng = np.random.default_rng(0)
    theirs, tries = np.zeros(len(names)), 20_000
    for own in rng.choice(truth, tries):
        chances = weights.copy()
        chances[own] = 0
        theirs[rng.choice(len(names), 9, replace=False, p=chances / chances.sum())] += 1
    share = (counted + theirs) / (len(options) + tries)
    z = (counted / len(options) - theirs / tries) / np.sqrt(share * (1 - share) * (1 / len(options) + 1 / tries))
    assert np.abs(z).max() < norm.isf(0.001 / 2 / len(names))
    assert (z**2).sum() < chi2.isf(0.001, len(names) - 1)
    rare, common = weights <= np.quantile(weights, 0.1), weights >= np.quantile(weights, 0.9)
    assert counted[common].mean() > 3 * counted[rare].mean()  # and no even draw would pass for it


def test_no_distractor_of_a_clip_of_several_labels_is_true_and_every_label_asks(clips, drawn):
    which = pa.compute.equal(clips["dataset"], "audioset")
    asked, own_labels = drawn.filter(which), clips.filter(which)["labels"].to_pylist()
    several, right = 0, Counter()
    for options, answer, own in zip(asked["options"].to_pylist(), asked["target"].to_pylist(), own_labels, strict=True):
        assert [option for option in options if option in own] == [options[answer]]
        several += len(own) > 1
        right[options[answer]] += 1
    assert several > 10_000 and len(right) == 527


def test_a_lost_clip_changes_no_other_question(clips, drawn):
    table = sampling.count_label_frequencies(clips)
    some = np.sort(np.random.default_rng(1).permutation(clips.num_rows)[:3000])
    again = sampling.draw_questions(clips.take(some), 0, 10, "frequency", table)
    assert json.dumps(again.to_pylist()) == json.dumps(drawn.take(some).to_pylist())
