"""Published lists: rows, labels, splits, media files, and the error messages for malformed lists."""

import csv
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthesia.data.catalogs import audioset, label_filter, media_index, splits, vggsound
from synesthesia.data.catalogs.rows import CatalogError, ListRow, deduplicate

LISTS = Path(__file__).parents[3] / "data"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_vggsound_list(tmp_path):
    path = write(
        tmp_path / "vggsound.csv", '---g-f_I2yQ,1,people marching,test\n-x_9,210,"race car, auto racing",train\n'
    )
    assert vggsound.read_list(path) == [
        ListRow("---g-f_I2yQ", 1, ("people marching",), "test"),
        ListRow("-x_9", 210, ("race car, auto racing",), "train"),
    ]
    assert vggsound.read_list(path)[0].clip_id == "---g-f_I2yQ_000001"


def test_ignores_byte_order_mark_comments_header_and_crlf(tmp_path):
    text = "\ufeff# edited\r\nyoutube_id,start_seconds,label,split\r\n\r\nÄb,30.0, Glockenläuten ,train\r\n"
    assert vggsound.read_list(write(tmp_path / "a.csv", text)) == [ListRow("Äb", 30, ("Glockenläuten",), "train")]


def test_reads_vggsound_test_list_with_file_names():
    rows = vggsound.read_list(LISTS / "vggsound_test.csv")
    assert rows[0] == ListRow("glLQrEijrKg", 300, ("playing hammond organ",), "test")
    assert any("," in row.labels[0] for row in rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no clip"),
        ("# nothing\n", "lists no clip"),
        ("a,1,dog\n", r"line 1: 3 columns; VGGSound's list has"),
        ("a,1,dog,train\nb,1,dog\n", "line 2: 3 columns"),
        ("a,1,dog,validation\n", "line 1: the last column is 'validation'"),
        ('--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"\n', "line 1"),
        ("a,one,dog,train\n", "line 1: 'one' is not a start time"),
        ("a,-3,dog,train\n", "not a start time"),
        ("a,nan,dog,train\n", "not a start time"),
        ("a,1,,train\n", "the label is empty"),
        (",1,dog,train\n", "the id is empty"),
        ('a,1,"dog,train\nb,1,cat,train\n', "line 2: a quotation mark|not a CSV"),
        ("a;1;dog;train\n", "1 columns"),
        ("clip,label\n", "is not `<youtube id>_<start"),
    ],
)
def test_malformed_list_error_names_file_line_and_format(tmp_path, text, message):
    with pytest.raises(CatalogError, match=message) as error:
        vggsound.read_list(write(tmp_path / "list.csv", text))
    assert "list.csv" in str(error.value)


def test_missing_or_non_csv_file_error_says_what_to_do(tmp_path):
    with pytest.raises(CatalogError, match="make data"):
        vggsound.read_list(tmp_path / "missing.csv")
    (tmp_path / "video.csv").write_bytes(bytes(range(256)))
    with pytest.raises(CatalogError, match="not a CSV file"):
        vggsound.read_list(tmp_path / "video.csv")
    with pytest.raises(CatalogError, match="is a folder"):
        vggsound.read_list(tmp_path)


def test_reads_audioset_list():
    rows = audioset.read_list(LISTS / "audioset_eval.csv", LISTS / "audioset_labels.csv")
    assert rows[0] == ListRow("--4gqARaEJE", 0, ("Speech", "Male speech, man speaking"), "eval")
    assert rows[1].clip_id == "--BfvyPmVMo_000020" and len(rows) == 3


def test_malformed_audioset_list_error_names_the_problem(tmp_path):
    segments = write(tmp_path / "s.csv", 'a, 0.000, 10.000, "/m/none"\n')
    with pytest.raises(CatalogError, match="line 1: label '/m/none' is not in"):
        audioset.read_list(segments, LISTS / "audioset_labels.csv")
    with pytest.raises(CatalogError, match="not AudioSet's label list"):
        audioset.read_list(segments, LISTS / "vggsound_test.csv")
    with pytest.raises(CatalogError, match="line 1: 2 columns"):
        audioset.read_list(write(tmp_path / "t.csv", "a,b\n"), LISTS / "audioset_labels.csv")


def test_filter_keeps_the_papers_286_of_309_labels():
    with open(LISTS / "vggsound_stat.csv", newline="") as file:
        counts = {label: int(count) for label, count, _ in csv.reader(file)}
    rows = [ListRow(f"v{n}", 0, (label,), "train") for n, label in enumerate(counts)]
    rows_kept, filter_counts = label_filter.filter_labels(rows, True, {"police car (siren)": "police car"})
    assert (filter_counts["labels_listed"], filter_counts["labels_with_multiple_names"], filter_counts["labels"]) == (
        309,
        23,
        286,
    )
    assert filter_counts["labels_renamed"] == 1 and ("police car",) in [row.labels for row in rows_kept]
    names = {row.labels[0] for row in rows_kept} | {"police car (siren)"}
    assert sum(count for label, count in counts.items() if label in names) == 164_767 + 14_296
    assert label_filter.filter_labels(rows, False, {})[1]["labels"] == 309


def test_deduplicate_counts_duplicates_and_rejects_conflicting_labels():
    rows = [
        ListRow("a", 0, ("dog",), "train"),
        ListRow("a", 0, ("dog",), "test"),
        ListRow("b", 0, ("dog",), "train"),
        ListRow("b", 0, ("cat",), "train"),
        ListRow("b", 5, ("cat",), "train"),
    ]
    unique, conflicts, num_duplicates = deduplicate(rows)
    assert unique == [rows[1], rows[4]] and num_duplicates == 2
    assert [(conflict.clip_id, conflict.labels) for conflict in conflicts] == [("b_000000", (("dog",), ("cat",)))]


def make_train_rows(count: int, label: str = "dog") -> list[ListRow]:
    return [ListRow(f"{label}{n}", n, (label,), "train") for n in range(count)]


def test_analysis_has_n_clips_per_label_in_any_row_order():
    rows = make_train_rows(30) + make_train_rows(40, "cat")
    split_by_clip, _ = splits.split_vggsound(rows, 7, 0)
    assert split_by_clip == splits.split_vggsound(rows[::-1], 7, 0)[0] != splits.split_vggsound(rows, 7, 1)[0]
    num_analysis = Counter(row.labels[0] for row in rows if split_by_clip[row.clip_id] == "analysis")
    assert num_analysis == {"dog": 7, "cat": 7}


def test_one_more_clip_moves_at_most_one_other():
    before, _ = splits.split_vggsound(make_train_rows(60), 10, 0)
    after, _ = splits.split_vggsound(make_train_rows(61), 10, 0)
    assert sum(before[name] != after[name] for name in before) <= 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from("vwxyz"), st.integers(0, 9), st.sampled_from("abc"), st.sampled_from(["train", "test"])
        ),
        unique_by=lambda row: row[:2],
    ),
    st.integers(1, 4),
)
def test_no_video_is_in_two_splits_and_no_label_exceeds_its_limit(rows, limit):
    listed = [ListRow(video, start, (label,), source_split) for video, start, label, source_split in rows]
    split_by_clip, num_dropped = splits.split_vggsound(listed, limit, 0)
    splits_by_video = {}
    for row in listed:
        if row.clip_id in split_by_clip:
            splits_by_video.setdefault(row.video_id, set()).add(split_by_clip[row.clip_id])
    assert all(len(video_splits) == 1 for video_splits in splits_by_video.values())
    assert len(split_by_clip) + num_dropped == len(listed)
    num_analysis = Counter(row.labels[0] for row in listed if split_by_clip.get(row.clip_id) == "analysis")
    assert all(count <= limit for count in num_analysis.values())


def test_audioset_clips_of_vggsound_videos_are_dropped():
    rows = [ListRow("a", 0, ("Dog",), "eval"), ListRow("b", 0, ("Dog",), "eval")]
    assert splits.split_audioset(rows, {"b"}) == ({"a_000000": "unseen"}, 1)


def test_label_with_too_few_clips_is_named():
    rows = make_train_rows(20) + make_train_rows(1, "cat")
    split_by_clip, _ = splits.split_vggsound(rows, 5, 0)
    with pytest.raises(CatalogError, match=r"'cat' has too few train clips .*analysis_clips_per_label"):
        splits.check_split_sizes(
            ["dog", "cat"], [(row.labels[0], split_by_clip[row.clip_id]) for row in rows], 5, "in the list"
        )


def test_media_index_finds_every_layout_and_extension(tmp_path):
    listed = [("a-_b", 10), ("c", 7), ("d", 123), ("e", 0), ("f_12", 3), ("g", 1), ("g", 2), ("Äö", 5), ("h", 4)]
    rows = [ListRow(video, start, ("dog",), "train") for video, start in listed]
    for name in ["a-_b_000010.mp4", "sub/c_7.webm", "d/000123.mkv", "e.MP4", "f_12.avi", "g/g_000001.mp4", "g.mp4",
                 "A\u0308o\u0308_000005.mp4", "h/whatever.dat", "notes.txt", ".hidden_000001.mp4"]:  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a-_b_000010.webm").touch()
    index = media_index.build_media_index(tmp_path, rows, "data.vggsound_clips")
    assert index.paths == {
        "a-_b_000010": "a-_b_000010.mp4",
        "c_000007": "sub/c_7.webm",
        "d_000123": "d/000123.mkv",
        "e_000000": "e.MP4",
        "f_12_000003": "f_12.avi",
        "g_000001": "g/g_000001.mp4",
        "Äö_000005": "A\u0308o\u0308_000005.mp4",
        "h_000004": "h/whatever.dat",
    }
    assert index.unlisted == ["g.mp4", "notes.txt"] and index.duplicates == ["a-_b_000010.webm"]


def test_media_index_parses_downloader_names_and_ignores_sidecar_files(tmp_path):
    rows = [ListRow(video, start, ("dog",), "train") for video, start in [("a_1", 30), ("b", 30), ("b", 70), ("c", 5)]]
    names = [
        "a_1_30_40.mp4",
        "b_30.000_40.000.mkv",
        "b_70_60.mp4",
        "b_000070.mp4.part",
        "b_000070.json",
        "c/c.info.json",
    ]
    names += ["c/c.mp4.part", "c/c.en.vtt", "c/c.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    index = media_index.build_media_index(tmp_path, rows, "data.audioset_clips")
    assert index.paths == {"a_1_000030": "a_1_30_40.mp4", "b_000030": "b_30.000_40.000.mkv"}
    assert sorted(index.unlisted) == sorted(set(names) - set(index.paths.values())) and not index.duplicates


def test_media_index_follows_folder_links_once_and_no_cycles(tmp_path):
    target = tmp_path / "target"
    (target / "part").mkdir(parents=True)
    (target / "part/a_000001.mp4").touch()
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "train").symlink_to(target, target_is_directory=True)
    (target / "part/up").symlink_to(target, target_is_directory=True)
    (folder / "self").symlink_to(folder, target_is_directory=True)
    for a, b in ("xy", "yx"):
        (folder / a).mkdir()
        (folder / a / b).symlink_to(folder / b, target_is_directory=True)
    (folder / "b_000002.mp4").symlink_to(target / "part/a_000001.mp4")
    (folder / "broken").symlink_to(tmp_path / "missing")
    index = media_index.build_media_index(
        folder, [ListRow("a", 1, ("dog",), "train"), ListRow("b", 2, ("dog",), "train")], ""
    )
    assert index.paths == {"a_000001": "train/part/a_000001.mp4", "b_000002": "b_000002.mp4"}
    assert index.unlisted == ["broken"] and not index.duplicates


@given(
    st.text("abcXYZ019-_", min_size=1, max_size=11).filter(lambda name: not name.startswith(".")),
    st.integers(0, 999_999),
    st.sampled_from(
        ["{v}_{s:06d}.mp4", "{v}_{s}.webm", "{v}_{s:06d}.MKV", "{v}/{s:06d}.mp4", "{v}/{s}.webm", "{v}.mp4"]
    ),
)
def test_media_index_finds_a_clip_under_each_of_its_names(video, start, pattern):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, pattern.format(v=video, s=start))
        path.parent.mkdir(exist_ok=True)
        path.touch()
        row = ListRow(video, start, ("dog",), "train")
        assert media_index.build_media_index(folder, [row], "").paths == {row.clip_id: str(path.relative_to(folder))}


@pytest.mark.parametrize("end", ["10.000", "30.000", "soon"])
def test_audioset_clip_without_duration_is_named(tmp_path, end):
    segments = write(tmp_path / "s.csv", f'a, 30.000, {end}, "/m/09x0r"\n')
    with pytest.raises(CatalogError, match=f"line 1: the clip starts at '30.000' and ends at '{end}'"):
        audioset.read_list(segments, LISTS / "audioset_labels.csv")


def test_missing_media_folder_error_says_what_to_do(tmp_path):
    with pytest.raises(CatalogError, match=r"make data.*data\.vggsound_clips"):
        media_index.build_media_index(tmp_path / "missing", [], "data.vggsound_clips")


def index_files(folder: Path, names: list[str], clips: list[tuple[str, int]]) -> media_index.MediaIndex:
    """Create empty files and index them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    rows = [ListRow(video, start, ("dog",), "train") for video, start in clips]
    return media_index.build_media_index(folder, rows, "data.vggsound_clips")


@pytest.mark.parametrize(
    "name",
    ["{v}_5000_15000.mp4", "{v}_5000-15000.mkv", "{v}_5_15.mp4", "{v}_5-15.webm", "{v}_5.0-15.0.mp4", "Y{v}_5_15.mp4",
     "{v}/5_15.mp4", "{v}/5000_15000.mp4", "Y{v}_000005.mp4", "Y{v}/000005.mp4", "Y{v}_5.000_15.000.mp4",
     "{v}_000005/video.mp4", "Y{v}_5000_15000.mp4", "{v}_005000_015000.mp4"],
)  # fmt: skip
def test_media_index_understands_the_names_of_downloaders(tmp_path, name):
    path = name.format(v="-ab_c-D1234")
    index = index_files(tmp_path, [path], [("-ab_c-D1234", 5), ("-ab_c-D1234", 20)])
    assert index.paths == {"-ab_c-D1234_000005": path} and not index.unlisted


def test_names_without_a_start_belong_to_the_video_with_one_clip(tmp_path):
    clips = [("abc", 5), ("Yd", 7), ("d", 9), ("e", 1), ("e", 2)]
    index = index_files(tmp_path, ["Yabc.mp4", "Yd.mp4", "Ye.mp4"], clips)
    assert index.paths == {"abc_000005": "Yabc.mp4", "Yd_000007": "Yd.mp4"} and index.unlisted == ["Ye.mp4"]


def test_milliseconds_are_told_from_seconds_by_the_length_of_the_clip(tmp_path):
    names = ["a_30_40.mp4", "a_30000_40000.mp4", "b_5000_5010.mp4", "c_500_510.mp4"]
    index = index_files(tmp_path, names, [("a", 0), ("a", 30), ("a", 30000), ("b", 5), ("b", 5000), ("c", 0)])
    assert index.paths == {"a_000030": "a_30000_40000.mp4", "b_005000": "b_5000_5010.mp4"}
    assert index.alternatives == {"a_000030": ["a_30_40.mp4"]} and index.unlisted == ["c_500_510.mp4"]


def test_the_whole_file_is_preferred_over_parts_of_a_download(tmp_path):
    names = ["v/v.f137.mp4", "v/v.f140.m4a", "v/v.mp4", "v/v.temp.mp4", "w_000003.webm", "w_000003.f399.mp4"]
    names += ["x/x.f248.webm", "x/x.fhls-1080.mp4", "x/x.mkv"]
    index = index_files(tmp_path, names, [("v", 1), ("w", 3), ("x", 2)])
    assert index.paths == {"v_000001": "v/v.mp4", "w_000003": "w_000003.webm", "x_000002": "x/x.mkv"}
    assert set(index.duplicates) == set(names) - set(index.paths.values()) and not index.unlisted


def test_a_name_with_the_clips_start_is_preferred(tmp_path):
    index = index_files(tmp_path, ["a.mp4", "a/x.mp4", "b/a_000005.webm", "Ya_000005.mp4"], [("a", 5)])
    assert index.paths == {"a_000005": "b/a_000005.webm"}
    assert index.alternatives == {"a_000005": ["a.mp4", "a/x.mp4", "Ya_000005.mp4"]}


@pytest.mark.parametrize(
    ("first", "second"),
    [("Dog barking", "dog barking"), ("dog barking", "dog  barking"), ("dog-barking", "dog barking"),
     ("dog barking", "dog barking."), ("Stra\u00dfe", "strasse")],
)  # fmt: skip
def test_labels_that_read_alike_are_refused(first, second):
    rows = [ListRow("a", 0, (first,), "train"), ListRow("b", 0, (second,), "train")]
    with pytest.raises(CatalogError, match="read alike") as error:
        label_filter.filter_labels(rows, True, {})
    assert repr(first) in str(error.value) and repr(second) in str(error.value)
    assert label_filter.filter_labels(rows, True, {second: first})[1]["labels"] == 1


def test_a_display_name_that_reads_like_a_label_is_refused():
    rows = [ListRow("a", 0, ("police car (siren)",), "train"), ListRow("b", 0, ("Police car",), "train")]
    with pytest.raises(CatalogError, match="'Police car' and 'police car' read alike"):
        label_filter.filter_labels(rows, True, {"police car (siren)": "police car"})


def test_labels_of_the_published_lists_are_distinct():
    with open(LISTS / "vggsound_stat.csv", newline="") as file:
        label_filter.check_distinct(label for label, _, _ in csv.reader(file))
    label_filter.check_distinct(audioset.read_display_names(LISTS / "audioset_labels_527.csv").values())
    label_filter.check_distinct(["C", "C++", "c#", "dog", "dogs"])


def test_display_name_of_an_unlisted_label_names_the_closest_one():
    rows = [ListRow("a", 0, ("Police car (siren)",), "train"), ListRow("b", 0, ("cat, dog",), "train")]
    with pytest.raises(CatalogError, match=r"curate\.display_names .*'police car'.*'Police car \(siren\)'") as error:
        label_filter.filter_labels(rows, True, {"police car": "x"})
    assert "\n" not in str(error.value)
    assert label_filter.filter_labels(rows, True, {"cat, dog": "pets"})[1]["labels"] == 1  # listed, though dropped
