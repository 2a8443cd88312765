"""The published lists at their real size: the paper's counts, splits, questions, and their statistics."""

import csv
import functools
import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import yaml
from scipy.stats import chi2, chisquare, norm

from benchmarks.tools import published_lists
from synesthesia import config, schemas
from synesthesia.analysis import curation_counts
from synesthesia.data.catalogs import audioset, label_filter, manifest, splits, vggsound
from synesthesia.questions import sampling
from tests.helpers.small_dataset import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """Cache lists of 200,000 rows: reading takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vggsound, "read_list", functools.cache(vggsound.read_list))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("lists")
    published_lists.write_vggsound(path / "vggsound.csv")
    published_lists.write_audioset(path / "eval_segments.csv")
    (path / "test.csv").write_text(published_lists.read_test_list(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def clips(folder) -> pa.Table:
    """CLIP table of all listed clips after the rules, as if every file existed: 196,000 rows."""
    rows, _ = label_filter.filter_labels(
        vggsound.read_list(folder / "vggsound.csv"), True, {"police car (siren)": "police car"}
    )
    split_by_clip, _ = splits.split_vggsound(rows, 50, 0)
    listed = [(row, "vggsound", split_by_clip[row.clip_id]) for row in rows if row.clip_id in split_by_clip]
    eval_rows = audioset.read_list(folder / "eval_segments.csv", published_lists.AUDIOSET_LABELS)
    listed += [(row, "audioset", "unseen") for row in eval_rows]
    columns = {
        "clip_id": [row.clip_id for row, _, _ in listed],
        "video_id": [row.video_id for row, _, _ in listed],
        "dataset": [dataset for _, dataset, _ in listed],
        "labels": [list(row.labels) for row, _, _ in listed],
        "split": [split for _, _, split in listed],
        "shard": np.zeros(len(listed)),
        "row": np.arange(len(listed)),
    }
    table = pa.table({f.name: pa.array(columns[f.name], f.type) for f in schemas.CLIP})
    return schemas.check(table, schemas.CLIP, "clips")


@pytest.fixture(scope="module")
def questions(clips) -> pa.Table:
    return sampling.draw_questions(clips, 0, 10, "frequency")


def test_counts_after_each_rule_match_the_paper_and_absent_files_are_named(folder, tmp_path):
    (tmp_path / "clips/sub").mkdir(parents=True)
    rows = list(csv.reader(published_lists.read_test_list().splitlines()))
    present = [(name[:11], int(name[12:18])) for name, label in rows if "," not in label][:3]
    (video, start), *others = present
    (tmp_path / f"clips/{video}_{start:06d}.mp4").touch()
    for video, start in others:
        (tmp_path / f"clips/sub/{video}_{start}.webm").touch()
    values = yaml.safe_load((ROOT / "params/paper.yaml").read_text())
    values["data"] = dict.fromkeys(values["data"]) | {"vggsound_list": str(folder / "vggsound.csv")}
    values["data"]["vggsound_clips"] = str(tmp_path / "clips")
    result = manifest.build_manifest(config.parse(values))
    counts = result.counts["vggsound"]
    assert {rule: tuple(left.values()) for rule, left in counts["curation_steps"].items()} == {
        "published": (309, 183_730, 15_446),
        "deduplicated": (309, 183_730, 15_446),
        "single_name_labels": (286, 164_767, 14_296),
        "train_without_test_videos": (286, 164_767 - counts["train_clips_of_test_videos"], 14_296),
    }
    assert set(counts["curation_steps"]) == set(curation_counts.STEP_TITLES)
    assert (counts["labels_with_multiple_names"], counts["labels_renamed"]) == (23, 1)
    assert sorted(item.clip_id for item in result.items) == sorted(f"{v}_{s:06d}" for v, s in present)
    assert counts["absent"] == 164_767 + 14_296 - 3 == sum(row["reason"] == "absent" for row in result.rejected)
    (warning,) = [warning for warning in result.warnings if "have no file" in warning]
    assert warning.startswith(f"{counts['absent']} listed clips of vggsound have no file: ")
    assert warning.count(",") == 10


def test_list_with_file_names_agrees_with_the_full_list(folder):
    named = {row.clip_id: row.labels for row in vggsound.read_list(folder / "test.csv")}
    listed = {
        row.clip_id: row.labels for row in vggsound.read_list(folder / "vggsound.csv") if row.source_split == "test"
    }
    assert named == listed and len(named) == 15_446


def test_analysis_has_fifty_clips_per_label_and_no_video_is_in_two_splits(clips):
    frame = clips.filter(pa.compute.equal(clips["dataset"], "vggsound")).to_pandas()
    num_analysis = Counter(labels[0] for labels in frame["labels"][frame["split"] == "analysis"])
    assert len(num_analysis) == 286 and set(num_analysis.values()) == {50}
    assert (frame.groupby("video_id")["split"].nunique() == 1).all()
    assert frame["video_id"].duplicated().sum() > 1000  # videos with several clips exist
    assert (frame["split"] == "test").sum() == 14_296


def test_reads_the_display_names_of_audiosets_527_labels(folder, clips):
    names = audioset.read_display_names(published_lists.AUDIOSET_LABELS)
    assert len(names) == 527 and names["/m/05zppz"] == "Male speech, man speaking"
    unseen = clips.filter(pa.compute.equal(clips["dataset"], "audioset"))
    assert set(pa.compute.list_flatten(unseen["labels"]).to_pylist()) == set(names.values())


def test_targets_are_uniform_over_a_to_j_in_every_split(questions):
    frame = questions.select(["split", "target"]).to_pandas()
    assert chisquare(np.bincount(frame["target"], minlength=10)).pvalue > 0.001
    for _, part in frame.groupby("split"):
        assert chisquare(np.bincount(part["target"], minlength=10)).pvalue > 0.001 / 4


def test_distractor_frequencies_equal_those_of_numpys_draws_without_replacement(clips, questions):
    is_vggsound = pa.compute.equal(clips["dataset"], "vggsound")
    table = sampling.count_label_frequencies(clips)["vggsound"]
    names, weights = list(table), np.array(list(table.values()), float)
    index = {name: number for number, name in enumerate(names)}
    options = np.array(
        [index[x] for x in questions.filter(is_vggsound)["options"].combine_chunks().flatten().to_pylist()]
    )
    options = options.reshape(-1, 10)
    targets = questions.filter(is_vggsound)["target"].to_numpy()
    target_labels = options[np.arange(len(options)), targets]
    distractor = np.arange(10)[None] != targets[:, None]
    counts = np.bincount(options[distractor], minlength=len(names))
    rng = np.random.default_rng(0)
    numpy_counts, num_draws = np.zeros(len(names)), 20_000
    for label in rng.choice(target_labels, num_draws):
        probabilities = weights.copy()
        probabilities[label] = 0
        numpy_counts[rng.choice(len(names), 9, replace=False, p=probabilities / probabilities.sum())] += 1
    pooled = (counts + numpy_counts) / (len(options) + num_draws)
    standard_error = np.sqrt(pooled * (1 - pooled) * (1 / len(options) + 1 / num_draws))
    z = (counts / len(options) - numpy_counts / num_draws) / standard_error
    assert np.abs(z).max() < norm.isf(0.001 / 2 / len(names))
    assert (z**2).sum() < chi2.isf(0.001, len(names) - 1)
    rare, common = weights <= np.quantile(weights, 0.1), weights >= np.quantile(weights, 0.9)
    assert counts[common].mean() > 3 * counts[rare].mean()  # a uniform draw would fail


def test_no_distractor_is_a_label_of_its_clip_and_every_label_is_a_target(clips, questions):
    is_audioset = pa.compute.equal(clips["dataset"], "audioset")
    rows, clip_labels = questions.filter(is_audioset), clips.filter(is_audioset)["labels"].to_pylist()
    num_multi_label, target_counts = 0, Counter()
    for options, target, labels in zip(
        rows["options"].to_pylist(), rows["target"].to_pylist(), clip_labels, strict=True
    ):
        assert [option for option in options if option in labels] == [options[target]]
        num_multi_label += len(labels) > 1
        target_counts[options[target]] += 1
    assert num_multi_label > 10_000 and len(target_counts) == 527


def test_missing_clip_changes_no_other_question(clips, questions):
    table = sampling.count_label_frequencies(clips)
    indices = np.sort(np.random.default_rng(1).permutation(clips.num_rows)[:3000])
    subset = sampling.draw_questions(clips.take(indices), 0, 10, "frequency", table)
    assert json.dumps(subset.to_pylist()) == json.dumps(questions.take(indices).to_pylist())
