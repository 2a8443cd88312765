"""The export's contract: its columns, which trials it holds, and which it never does."""

import csv
import io
import re
import subprocess
import sys

import pytest

from synesthesia import schemas
from synesthesia.evaluation import csv_import
from synesthesia.human_study import __main__ as command
from synesthesia.human_study import export
from synesthesia.human_study.db.connection import DatabaseError
from synesthesia.human_study.web.participant import create_app
from tests.helpers.small_human_study import ROOT
from tests.helpers.study_participants import PASSWORD, Participant, wrong_choice

pytestmark = pytest.mark.slow  # a real server and database

HEADER = "question_id,participant,condition,choice,seconds,replays,focus_lost,load_failures,order,inattentive"


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_header_is_exactly_the_contract_even_without_responses(app_state, tmp_path):
    path, n_responses = export.write_csv(app_state.database, app_state.config, tmp_path)
    assert (path.name, n_responses) == ("responses.csv", 0)
    assert path.read_text() == HEADER + "\n"


def test_only_completed_trials_are_exported_with_their_questions(app_state, new_participant, prepared_study, tmp_path):
    finished, partial, withdrawn = new_participant(), new_participant(), new_participant()
    finished.answer_until()
    step = partial.answer_until("trial")["step"]
    partial.answer(step, choice=7, replays=1, focus_lost=2, load_failures=3, seconds=1.23456)
    withdrawn.answer_until()
    withdrawn.post("/api/withdraw", {})
    path, n_responses = export.write_csv(app_state.database, app_state.config, tmp_path)
    rows = read(path)
    assert n_responses == len(rows) == 7
    questions = schemas.read(prepared_study / "out/make_questions/questions.parquet", schemas.QUESTION)
    assert {r["question_id"] for r in rows} <= set(questions["question_id"].to_pylist())
    assert {r["condition"] for r in rows} <= set(schemas.CONDITIONS)
    row = next(r for r in rows if r["choice"] == "7")
    assert [row[k] for k in HEADER.split(",")[4:]] == ["1.235", "1", "2", "3", "0", "false"]
    others = [r for r in rows if r["participant"] != row["participant"]]
    assert [r["order"] for r in others] == [str(n) for n in range(6)]
    assert len({(r["question_id"], r["condition"]) for r in rows}) == 7


def test_all_responses_of_an_inattentive_participant_are_marked_and_none_is_dropped(
    app_state, new_participant, tmp_path
):
    inattentive = new_participant()
    step = inattentive.answer_until("attention_check")["step"]
    assert inattentive.answer(step, choice=wrong_choice(step)).status_code == 200
    inattentive.answer_until()
    new_participant().answer_until()
    rows = read(export.write_csv(app_state.database, app_state.config, tmp_path)[0])
    values = {}
    for row in rows:
        values.setdefault(row["participant"], set()).add(row["inattentive"])
    assert len(rows) == 12 and sorted(map(sorted, values.values())) == [["false"], ["true"]]


@pytest.fixture
def simulation(make_app_state):
    """App state with a database of simulated participants, one of whom has finished."""
    app_state = make_app_state(is_simulated=True)
    person = Participant(create_app(app_state))
    assert "Simulated" in person.http.get("/").text
    person.join()
    person.answer_until()
    return app_state


def test_simulated_responses_are_exported_on_request_only_and_to_their_own_file(simulation, tmp_path):
    with pytest.raises(DatabaseError, match="simulated"):
        export.write_csv(simulation.database, simulation.config, tmp_path)
    path, n_responses = export.write_csv(simulation.database, simulation.config, tmp_path, is_simulated=True)
    assert (path.name, n_responses) == ("simulated-responses.csv", 6)
    assert not (tmp_path / "responses.csv").exists()


def test_participant_ids_mark_every_simulated_row_and_no_real_one(simulation, app_state, new_participant, tmp_path):
    new_participant().answer_until()
    simulated = read(export.write_csv(simulation.database, simulation.config, tmp_path, is_simulated=True)[0])
    real = read(export.write_csv(app_state.database, app_state.config, tmp_path)[0])
    assert all(re.fullmatch("simulated-p[0-9a-f]{16}", row["participant"]) for row in simulated)
    assert all(re.fullmatch("p[0-9a-f]{16}", row["participant"]) for row in real)
    assert csv_import.is_simulated((row["participant"] for row in simulated), "simulated")
    assert not csv_import.is_simulated((row["participant"] for row in real), "real")


def test_the_researchers_download_of_simulated_responses_is_marked_too(simulation):
    http = Participant(create_app(simulation)).http
    http.post("/admin/login", data={"password": PASSWORD})
    reply = http.get("/admin/responses.csv")
    assert 'filename="simulated-responses.csv"' in reply.headers["content-disposition"]
    participants = {row["participant"] for row in csv.DictReader(io.StringIO(reply.text))}
    assert len(participants) == 1 and participants.pop().startswith("simulated-p")


def test_make_import_humans_stops_at_the_export_of_simulated_participants(simulation, prepared_study, tmp_path, capsys):
    """`make import-humans` exports and then reproduces the report: existing responses stay as they are."""
    folder = tmp_path / "humans"
    folder.mkdir()
    (folder / "responses.csv").write_text("answers of people\n")
    with pytest.raises(SystemExit) as end:
        command.main(export_arguments(simulation, prepared_study, tmp_path))
    assert end.value.code == 1
    assert "human_study: these participants are simulated" in capsys.readouterr().err
    assert (folder / "responses.csv").read_text() == "answers of people\n"
    assert [path.name for path in folder.iterdir()] == ["responses.csv"]
    recipe = (ROOT / "Makefile").read_text().partition("\nimport-humans:")[2].partition("\n\n")[0].splitlines()
    assert [line.strip() for line in recipe[1:]] == ["$(PY) -m synesthesia.human_study export", "$(DVC) repro"]


def test_a_file_that_mixes_simulated_and_real_rows_is_refused(
    simulation, app_state, new_participant, prepared_study, tmp_path
):
    new_participant().answer_until()
    simulated, _ = export.write_csv(simulation.database, simulation.config, tmp_path, is_simulated=True)
    real, _ = export.write_csv(app_state.database, app_state.config, tmp_path)
    with real.open("a") as file:
        file.writelines(simulated.read_text().splitlines(keepends=True)[1:])
    questions = schemas.read(prepared_study / "out/make_questions/questions.parquet", schemas.QUESTION)
    with pytest.raises(csv_import.ResponseError, match="simulated and real participants are mixed"):
        csv_import.read_responses(real, questions, "audio")


def test_a_real_study_cannot_be_exported_as_simulated(app_state, tmp_path):
    with pytest.raises(DatabaseError, match="real study"):
        export.write_csv(app_state.database, app_state.config, tmp_path, is_simulated=True)


def export_arguments(app_state, prepared_study, folder):
    """Command-line arguments that export into `folder`."""
    return ["export", "--params", str(prepared_study / "params.yaml"), "--database", app_state.settings.database_url,
            "--folder", str(folder / "humans")]  # fmt: skip


def test_the_command_writes_the_file_and_prints_the_count(app_state, new_participant, prepared_study, tmp_path):
    new_participant().answer_until()
    arguments = export_arguments(app_state, prepared_study, tmp_path)
    result = subprocess.run(
        [sys.executable, "-m", "synesthesia.human_study", *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"6 responses in {tmp_path}/humans/responses.csv\n"
    assert len(read(tmp_path / "humans/responses.csv")) == 6
