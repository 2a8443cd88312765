"""Errors before and during a study: one clear line, and nothing is lost."""

import shutil
import socket
import sys

import pytest
import yaml
from sqlalchemy import func, select

from synesthesia.human_study import __main__ as command
from synesthesia.human_study import export
from synesthesia.human_study.db.connection import DatabaseError
from synesthesia.human_study.db.schema import STEP
from synesthesia.human_study.design import materials
from synesthesia.human_study.web import server
from tests.helpers import small_human_study

pytestmark = pytest.mark.slow  # a real server and database


@pytest.fixture
def folder(prepared_study, tmp_path, monkeypatch):
    """A copy of the small study, as the working directory."""
    for name in ("out", "humans"):
        shutil.copytree(prepared_study / name, tmp_path / name)
    shutil.copy(prepared_study / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_and_fail(capsys, *arguments):
    """Run the command, which must exit with code 1; return its message."""
    with pytest.raises(SystemExit) as end:
        command.main(list(arguments))
    assert end.value.code == 1
    message = capsys.readouterr().err
    assert "human_study: " in message and "Traceback" not in message
    return message


def change_params(folder, **changes):
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values["human_study"] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(values))


def test_without_curated_clips_the_message_says_to_run_make(folder, capsys):
    shutil.rmtree(folder / "out")
    assert "run `make` first" in run_and_fail(capsys, "plan")


def test_without_a_gap_table_labels_cannot_be_selected(folder, capsys):
    (folder / "out/measure_gap/gap.parquet").unlink()
    message = run_and_fail(capsys, "plan", "--database", "sqlite:///humans/b.sqlite")
    assert "the models' gap selects the labels, but" in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"clips_per_label": 9}, "human_study.clips_per_label: 9, but these labels have fewer analysis clips"),
        ({"labels": ["theremin"]}, "human_study.labels: no analysis clip of 'theremin'"),
        ({"trials_per_participant": 300}, "nobody may see a clip twice"),
        ({"practice_trials": 12, "labels": None, "split": "test"}, "no questions of split test"),
        ({"trials_per_participant": 10}, "three blocks of equal length"),
        ({"headphone_check": "maybe"}, "human_study.headphone_check"),
        ({"completion_link": "javascript:alert(1)"}, "must start with https://"),
        ({"consent": "nowhere.md"}, "cannot read nowhere.md"),
    ],
    ids=str,
)
def test_parameters_that_cannot_be_met_are_named(folder, capsys, changes, expected):
    change_params(folder, **changes)
    assert expected in run_and_fail(capsys, "plan", "--database", "sqlite:///humans/b.sqlite")


def test_a_database_of_another_study_is_refused_and_left_unchanged(folder, capsys):
    before = (folder / "humans/human_study.sqlite").read_bytes()
    change_params(folder, seed=5)
    message = run_and_fail(capsys, "plan")
    assert "holds another study (12 labels x 4 clips" in message and "Its answers are safe" in message
    assert (folder / "humans/human_study.sqlite").read_bytes() == before


def test_simulated_and_real_answers_never_share_a_database(folder):
    url = "sqlite:///humans/human_study.sqlite"
    with pytest.raises(DatabaseError, match="never share a database"):
        server.prepare_study(small_human_study.make_config(), url, folder / "humans", folder / "out", True)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense", "is not a database URL"),
        ("sqlite://", "in memory would be lost"),
        ("oracle+nothing://x/y", "the driver is not installed"),
        ("sqlite:///params.yaml", "not an SQLite database"),
        ("sqlite:////proc/nowhere/study.sqlite", "/proc/nowhere"),
    ],
)
def test_an_unusable_database_is_explained(folder, capsys, url, expected):
    assert expected in run_and_fail(capsys, "plan", "--database", url)


def test_export_without_a_study_says_how_to_start(folder, capsys):
    message = run_and_fail(capsys, "export", "--database", "sqlite:///humans/new.sqlite")
    assert "holds no study: `make human-study` creates one" in message


def test_a_damaged_shard_is_named(folder, capsys):
    shard = next((folder / "out/curate/store").glob("shard-*.arrow"))
    shard.write_bytes(shard.read_bytes()[:500])
    shutil.rmtree(folder / "humans/stimuli")
    assert shard.name in run_and_fail(capsys, "plan")


def test_a_port_in_use_is_reported_before_anything_is_created(folder, capsys):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert f"127.0.0.1:{port} cannot be used" in run_and_fail(capsys, "--port", str(port))


def test_a_weak_password_stops_the_start(folder, capsys, monkeypatch):
    monkeypatch.setenv("SYNESTHESIA_ADMIN_PASSWORD", "admin")
    assert "has 5 characters" in run_and_fail(capsys, "--port", "0")


def test_help_has_examples(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["human-study", "--help"])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 0
    assert "synesthesia human-study export" in capsys.readouterr().out


def test_a_full_disk_is_reported_to_the_page_and_the_answer_is_accepted_later(app_state, new_participant):
    """SQLite's page limit stands in for the disk: the same error, SQLITE_FULL."""
    person = new_participant()
    step = person.answer_until("comments")["step"]
    comment = {"key": "f" * 32, "comment": "\u3042" * 2000}  # 6 kB: more than a page, so no page has room for it
    connections = [app_state.database.engine.connect() for _ in range(4)]
    dbapi_connections = [c.connection.dbapi_connection for c in connections]
    n_pages = dbapi_connections[0].execute("PRAGMA page_count").fetchone()[0]
    for dbapi_connection in dbapi_connections:
        dbapi_connection.execute(f"PRAGMA max_page_count={n_pages}")
    n_free = dbapi_connections[0].execute("PRAGMA freelist_count").fetchone()[0]
    for connection in connections:
        connection.close()
    assert n_free == 0
    refused = [person.answer(step, **comment) for _ in range(2)]
    assert [r.status_code for r in refused] == [503, 503] and refused[0].headers["retry-after"]
    assert person.session()["step"] == step
    app_state.database.engine.dispose()  # removes the limit
    assert person.answer(step, **comment).json()["state"] == "finished"
    with app_state.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(STEP).where(STEP.c.kind == "comments")) == 1


def test_labels_are_those_of_figure_1_and_practice_clips_are_not_in_the_plan(prepared_study):
    config = small_human_study.make_config(labels_per_group=2).human_study
    selected = materials.load_materials(config, prepared_study / "out")
    assert sorted(selected.clips) == [small_human_study.label_name(n) for n in (0, 1, 4, 5, 8, 9)]
    planned = {q.clip_id for q in selected.questions.values()}
    assert len(selected.practice) == 3 and not planned & {q.clip_id for q, _ in selected.practice}
    assert [condition for _, condition in selected.practice] == ["audio", "silent_video", "sounded_video"]


def test_a_failed_export_keeps_the_old_file(app_state, new_participant, tmp_path, monkeypatch):
    (tmp_path / "responses.csv").write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        export.write_csv(app_state.database, app_state.config, tmp_path)
    assert (tmp_path / "responses.csv").read_text() == "old"
