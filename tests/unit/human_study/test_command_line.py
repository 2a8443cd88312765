"""What can be wrong before and while the study runs: one clear sentence, and nothing lost."""

import shutil
import socket
import sys

import pytest
import yaml
from sqlalchemy import func, select

from synesthesia.human_study import __main__ as command
from synesthesia.human_study import export
from synesthesia.human_study.db import connection as database
from synesthesia.human_study.db.schema import STEP
from synesthesia.human_study.design import materials
from synesthesia.human_study.web import server
from tests.helpers import small_human_study

pytestmark = pytest.mark.slow  # a real server and database


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
    """A copy of the little study to be spoilt, as the working directory."""
    for name in ("out", "humans"):
        shutil.copytree(prepared / name, tmp_path / name)
    shutil.copy(prepared / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ends(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        command.main(list(arguments))
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert "study: " in said and "Traceback" not in said
    return said


def change(folder, **study):
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values["study"] |= study
    (folder / "params.yaml").write_text(yaml.safe_dump(values))


def test_without_curated_clips_it_says_to_run_make(folder, capsys):
    shutil.rmtree(folder / "out")
    assert "run `make` first" in ends(capsys, "plan")


def test_without_a_gap_table_labels_cannot_be_chosen(folder, capsys):
    (folder / "out/gap/gap.parquet").unlink()
    assert "labels are chosen by the models' gap, but" in ends(
        capsys, "plan", "--database", "sqlite:///humans/b.sqlite"
    )


@pytest.mark.parametrize(
    ("study", "said"),
    [
        ({"clips_a_label": 9}, "study.clips_a_label: 9, but of these labels there are fewer analysis clips"),
        ({"labels": ["theremin"]}, "study.labels: no analysis clip of 'theremin'"),
        ({"trials": 300}, "nobody may meet a clip twice"),
        ({"practice": 12, "labels": None, "split": "test"}, "no question of split test"),
        ({"trials": 10}, "three blocks of equal length"),
        ({"headphones": "maybe"}, "study.headphones"),
        ({"completion_link": "javascript:alert(1)"}, "must begin with https://"),
        ({"consent": "nowhere.md"}, "nowhere.md cannot be read"),
    ],
    ids=str,
)
def test_parameters_that_cannot_be_met_are_named(folder, capsys, study, said):
    change(folder, **study)
    assert said in ends(capsys, "plan", "--database", "sqlite:///humans/b.sqlite")


def test_a_database_of_another_study_is_refused_and_left_alone(folder, capsys):
    before = (folder / "humans/study.sqlite").read_bytes()
    change(folder, seed=5)
    said = ends(capsys, "plan")
    assert "holds another study (12 labels x 4 clips" in said and "Its answers are safe" in said
    assert (folder / "humans/study.sqlite").read_bytes() == before


def test_simulated_and_real_answers_never_share_a_database(folder):
    with pytest.raises(database.DatabaseError, match="never share a database"):
        server.prepare_study(
            small_human_study.parameters(), "sqlite:///humans/study.sqlite", folder / "humans", folder / "out", True
        )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "is no database URL"),
        ("sqlite://", "in memory would be lost"),
        ("oracle+nothing://x/y", "its driver is not installed"),
        ("sqlite:///params.yaml", "not an SQLite database"),
        ("sqlite:////proc/nowhere/study.sqlite", "/proc/nowhere"),
    ],
)
def test_a_database_that_cannot_be_used_is_said_so(folder, capsys, url, said):
    assert said in ends(capsys, "plan", "--database", url)


def test_export_of_nothing_says_how_to_begin(folder, capsys):
    assert "holds no study: `make study` makes one" in ends(
        capsys, "export", "--database", "sqlite:///humans/new.sqlite"
    )


def test_a_damaged_shard_is_named(folder, capsys):
    shard = next((folder / "out/curate/store").glob("shard-*.arrow"))
    shard.write_bytes(shard.read_bytes()[:500])
    shutil.rmtree(folder / "humans/stimuli")
    assert shard.name in ends(capsys, "plan")


def test_a_port_in_use_is_said_before_anything_is_made(folder, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port} cannot be used" in ends(capsys, "--port", str(port))


def test_a_bad_password_ends_the_start(folder, capsys, monkeypatch):
    monkeypatch.setenv("SYNESTHESIA_ADMIN_PASSWORD", "admin")
    assert "has 5 characters" in ends(capsys, "--port", "0")


def test_help_has_examples(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["study", "--help"])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 0
    assert "python -m synesthesia.human_study export" in capsys.readouterr().out


def test_a_full_disk_is_told_to_the_page_and_the_answer_is_taken_later(site, joined):
    """SQLite's own limit on pages stands in for the disk: the same error, SQLITE_FULL."""
    person = joined()
    step = person.go("comments")["step"]
    comment = {"key": "f" * 32, "comment": "\u3042" * 2000}  # 6 kB: more than a page, so that none has room left for it
    connections = [site.database.engine.connect() for _ in range(4)]
    raw = [c.connection.dbapi_connection for c in connections]
    pages = raw[0].execute("PRAGMA page_count").fetchone()[0]
    for one in raw:
        one.execute(f"PRAGMA max_page_count={pages}")
    free = raw[0].execute("PRAGMA freelist_count").fetchone()[0]
    for one in connections:
        one.close()
    assert free == 0
    refused = [person.answer(step, **comment) for _ in range(2)]
    assert [r.status_code for r in refused] == [503, 503] and refused[0].headers["retry-after"]
    assert person.now()["step"] == step
    site.database.engine.dispose()  # space again
    assert person.answer(step, **comment).json()["state"] == "finished"
    with site.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(STEP).where(STEP.c.kind == "comments")) == 1


def test_labels_are_those_of_figure_1_and_practice_is_never_in_the_plan(prepared):
    chosen = materials.load_materials(small_human_study.parameters(labels_a_regime=2).human_study, prepared / "out")
    assert sorted(chosen.clips) == [small_human_study.label(n) for n in (0, 1, 4, 5, 8, 9)]
    planned = {q.clip_id for q in chosen.questions.values()}
    assert len(chosen.practice) == 3 and not planned & {q.clip_id for q, _ in chosen.practice}
    assert [condition for _, condition in chosen.practice] == ["audio", "silent_video", "sounded_video"]


def test_an_export_that_cannot_be_written_leaves_the_old_one(site, joined, tmp_path, monkeypatch):
    (tmp_path / "judgements.csv").write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        export.write_csv(site.database, site.study, tmp_path)
    assert (tmp_path / "judgements.csv").read_text() == "old"
