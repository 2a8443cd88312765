"""Lists as they are published: rows, labels, splits, files, and what a wrong list is told."""

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


def test_vggsounds_list_is_read_as_published(tmp_path):
    path = write(
        tmp_path / "vggsound.csv", '---g-f_I2yQ,1,people marching,test\n-x_9,210,"race car, auto racing",train\n'
    )
    assert vggsound.read_list(path) == [
        ListRow("---g-f_I2yQ", 1, ("people marching",), "test"),
        ListRow("-x_9", 210, ("race car, auto racing",), "train"),
    ]
    assert vggsound.read_list(path)[0].clip_id == "---g-f_I2yQ_000001"


def test_a_byte_order_mark_comments_a_header_and_windows_lines_do_no_harm(tmp_path):
    text = "\ufeff# by hand\r\nyoutube_id,start_seconds,label,split\r\n\r\nÄb,30.0, Glockenläuten ,train\r\n"
    assert vggsound.read_list(write(tmp_path / "a.csv", text)) == [ListRow("Äb", 30, ("Glockenläuten",), "train")]


def test_the_test_list_with_file_names_is_read():
    rows = vggsound.read_list(LISTS / "vggsound_test.csv")
    assert rows[0] == ListRow("glLQrEijrKg", 300, ("playing hammond organ",), "test")
    assert any("," in row.labels[0] for row in rows)


@pytest.mark.parametrize(
    ("text", "said"),
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
def test_a_wrong_list_is_told_file_line_and_what_is_expected(tmp_path, text, said):
    with pytest.raises(CatalogError, match=said) as caught:
        vggsound.read_list(write(tmp_path / "list.csv", text))
    assert "list.csv" in str(caught.value)


def test_a_missing_or_foreign_file_is_told_what_to_do(tmp_path):
    with pytest.raises(CatalogError, match="make data"):
        vggsound.read_list(tmp_path / "none.csv")
    (tmp_path / "film.csv").write_bytes(bytes(range(256)))
    with pytest.raises(CatalogError, match="not a CSV file"):
        vggsound.read_list(tmp_path / "film.csv")
    with pytest.raises(CatalogError, match="is a folder"):
        vggsound.read_list(tmp_path)


def test_audiosets_list_is_read_as_published():
    rows = audioset.read_list(LISTS / "audioset_eval.csv", LISTS / "audioset_labels.csv")
    assert rows[0] == ListRow("--4gqARaEJE", 0, ("Speech", "Male speech, man speaking"), "eval")
    assert rows[1].clip_id == "--BfvyPmVMo_000020" and len(rows) == 3


def test_audiosets_wrong_lists_are_named(tmp_path):
    segments = write(tmp_path / "s.csv", 'a, 0.000, 10.000, "/m/none"\n')
    with pytest.raises(CatalogError, match="line 1: label '/m/none' is not in"):
        audioset.read_list(segments, LISTS / "audioset_labels.csv")
    with pytest.raises(CatalogError, match="not AudioSet's label list"):
        audioset.read_list(segments, LISTS / "vggsound_test.csv")
    with pytest.raises(CatalogError, match="line 1: 2 columns"):
        audioset.read_list(write(tmp_path / "t.csv", "a,b\n"), LISTS / "audioset_labels.csv")


def test_the_papers_286_labels_remain_of_the_real_309():
    with open(LISTS / "vggsound_stat.csv", newline="") as file:
        counts = {label: int(count) for label, count, _ in csv.reader(file)}
    rows = [ListRow(f"v{n}", 0, (label,), "train") for n, label in enumerate(counts)]
    kept, report = label_filter.filter_labels(rows, True, {"police car (siren)": "police car"})
    assert (report["labels_listed"], report["labels_with_multiple_names"], report["labels"]) == (309, 23, 286)
    assert report["labels_renamed"] == 1 and ("police car",) in [row.labels for row in kept]
    names = {row.labels[0] for row in kept} | {"police car (siren)"}
    assert sum(count for label, count in counts.items() if label in names) == 164_767 + 14_296
    assert label_filter.filter_labels(rows, False, {})[1]["labels"] == 309


def test_repetitions_are_counted_and_contradictions_put_aside():
    rows = [
        ListRow("a", 0, ("dog",), "train"),
        ListRow("a", 0, ("dog",), "test"),
        ListRow("b", 0, ("dog",), "train"),
        ListRow("b", 0, ("cat",), "train"),
        ListRow("b", 5, ("cat",), "train"),
    ]
    kept, wrong, repeated = deduplicate(rows)
    assert kept == [rows[1], rows[4]] and repeated == 2
    assert [(one.clip_id, one.labels) for one in wrong] == [("b_000000", (("dog",), ("cat",)))]


def train(count: int, label: str = "dog") -> list[ListRow]:
    return [ListRow(f"{label}{n}", n, (label,), "train") for n in range(count)]


def test_analysis_takes_n_a_label_whatever_the_order():
    rows = train(30) + train(40, "cat")
    split_of, _ = splits.split_vggsound(rows, 7, 0)
    assert split_of == splits.split_vggsound(rows[::-1], 7, 0)[0] != splits.split_vggsound(rows, 7, 1)[0]
    taken = Counter(row.labels[0] for row in rows if split_of[row.clip_id] == "analysis")
    assert taken == {"dog": 7, "cat": 7}


def test_a_clip_more_or_less_moves_at_most_one_other():
    before, _ = splits.split_vggsound(train(60), 10, 0)
    after, _ = splits.split_vggsound(train(61), 10, 0)
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
def test_no_video_is_in_two_splits_and_no_label_over_its_share(rows, share):
    listed = [ListRow(video, start, (label,), part) for video, start, label, part in rows]
    split_of, left_out = splits.split_vggsound(listed, share, 0)
    homes = {}
    for row in listed:
        if row.clip_id in split_of:
            homes.setdefault(row.video_id, set()).add(split_of[row.clip_id])
    assert all(len(home) == 1 for home in homes.values())
    assert len(split_of) + left_out == len(listed)
    taken = Counter(row.labels[0] for row in listed if split_of.get(row.clip_id) == "analysis")
    assert all(count <= share for count in taken.values())


def test_audioset_clips_of_vggsound_videos_are_left_out():
    rows = [ListRow("a", 0, ("Dog",), "eval"), ListRow("b", 0, ("Dog",), "eval")]
    assert splits.split_audioset(rows, {"b"}) == ({"a_000000": "unseen"}, 1)


def test_a_label_with_too_few_clips_is_named():
    rows = train(20) + train(1, "cat")
    split_of, _ = splits.split_vggsound(rows, 5, 0)
    with pytest.raises(CatalogError, match=r"'cat' has too few train clips .*analysis_clips_per_label"):
        splits.check_split_sizes(
            ["dog", "cat"], [(row.labels[0], split_of[row.clip_id]) for row in rows], 5, "in the list"
        )


def test_files_are_found_in_every_layout_and_extension(tmp_path):
    listed = [("a-_b", 10), ("c", 7), ("d", 123), ("e", 0), ("f_12", 3), ("g", 1), ("g", 2), ("Äö", 5), ("h", 4)]
    rows = [ListRow(video, start, ("dog",), "train") for video, start in listed]
    for name in ["a-_b_000010.mp4", "sub/c_7.webm", "d/000123.mkv", "e.MP4", "f_12.avi", "g/g_000001.mp4", "g.mp4",
                 "A\u0308o\u0308_000005.mp4", "h/whatever.dat", "notes.txt", ".hidden_000001.mp4"]:  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a-_b_000010.webm").touch()
    found = media_index.build_media_index(tmp_path, rows, "data.vggsound_clips")
    assert found.paths == {
        "a-_b_000010": "a-_b_000010.mp4",
        "c_000007": "sub/c_7.webm",
        "d_000123": "d/000123.mkv",
        "e_000000": "e.MP4",
        "f_12_000003": "f_12.avi",
        "g_000001": "g/g_000001.mp4",
        "Äö_000005": "A\u0308o\u0308_000005.mp4",
        "h_000004": "h/whatever.dat",
    }
    assert found.unlisted == ["g.mp4", "notes.txt"] and found.duplicates == ["a-_b_000010.webm"]


def test_downloaders_names_are_understood_and_what_they_leave_beside_is_nobodys(tmp_path):
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
    found = media_index.build_media_index(tmp_path, rows, "data.audioset_clips")
    assert found.paths == {"a_1_000030": "a_1_30_40.mp4", "b_000030": "b_30.000_40.000.mkv"}
    assert sorted(found.unlisted) == sorted(set(names) - set(found.paths.values())) and not found.duplicates


def test_folders_that_are_links_are_followed_once_and_never_in_circles(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "part").mkdir(parents=True)
    (elsewhere / "part/a_000001.mp4").touch()
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "train").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "part/up").symlink_to(elsewhere, target_is_directory=True)
    (folder / "self").symlink_to(folder, target_is_directory=True)
    for one, other in ("xy", "yx"):
        (folder / one).mkdir()
        (folder / one / other).symlink_to(folder / other, target_is_directory=True)
    (folder / "b_000002.mp4").symlink_to(elsewhere / "part/a_000001.mp4")
    (folder / "gone").symlink_to(tmp_path / "nothing")
    found = media_index.build_media_index(
        folder, [ListRow("a", 1, ("dog",), "train"), ListRow("b", 2, ("dog",), "train")], ""
    )
    assert found.paths == {"a_000001": "train/part/a_000001.mp4", "b_000002": "b_000002.mp4"}
    assert found.unlisted == ["gone"] and not found.duplicates


@given(
    st.text("abcXYZ019-_", min_size=1, max_size=11).filter(lambda name: not name.startswith(".")),
    st.integers(0, 999_999),
    st.sampled_from(
        ["{v}_{s:06d}.mp4", "{v}_{s}.webm", "{v}_{s:06d}.MKV", "{v}/{s:06d}.mp4", "{v}/{s}.webm", "{v}.mp4"]
    ),
)
def test_a_listed_clip_is_found_under_every_name_of_its_own(video, start, form):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, form.format(v=video, s=start))
        path.parent.mkdir(exist_ok=True)
        path.touch()
        row = ListRow(video, start, ("dog",), "train")
        assert media_index.build_media_index(folder, [row], "").paths == {row.clip_id: str(path.relative_to(folder))}


@pytest.mark.parametrize("ends", ["10.000", "30.000", "soon"])
def test_an_audioset_clip_that_starts_at_or_past_its_end_is_named(tmp_path, ends):
    segments = write(tmp_path / "s.csv", f'a, 30.000, {ends}, "/m/09x0r"\n')
    with pytest.raises(CatalogError, match=f"line 1: the clip starts at '30.000' and ends at '{ends}'"):
        audioset.read_list(segments, LISTS / "audioset_labels.csv")


def test_a_missing_folder_is_told_what_to_do(tmp_path):
    with pytest.raises(CatalogError, match=r"make data.*data\.vggsound_clips"):
        media_index.build_media_index(tmp_path / "none", [], "data.vggsound_clips")
