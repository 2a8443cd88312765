"""The export's contract: its columns, what is in it and what never is."""

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
from synesthesia.human_study.db import connection
from synesthesia.human_study.web import participant
from tests.helpers.small_human_study import ROOT
from tests.helpers.study_participants import PASSWORD, Person, wrong

pytestmark = pytest.mark.slow  # a real server and database

HEADER = "question_id,participant,condition,choice,seconds,replays,focus_lost,load_failures,order,careless"


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_header_is_exactly_the_agreed_one_even_without_answers(site, tmp_path):
    path, count = export.write_csv(site.database, site.study, tmp_path)
    assert (path.name, count) == ("judgements.csv", 0)
    assert path.read_text() == HEADER + "\n"


def test_finished_trials_alone_come_out_with_their_questions(site, joined, prepared, tmp_path):
    done, halfway, gone = joined(), joined(), joined()
    done.go()
    halfway.answer(halfway.go("trial")["step"], choice=7, replays=1, focus_lost=2, load_failures=3, seconds=1.23456)
    gone.go()
    gone.post("/api/withdraw", {})
    path, count = export.write_csv(site.database, site.study, tmp_path)
    rows = read(path)
    assert count == len(rows) == 7
    questions = set(schemas.read(prepared / "out/ask/questions.parquet", schemas.QUESTION)["question_id"].to_pylist())
    assert {r["question_id"] for r in rows} <= questions
    assert {r["condition"] for r in rows} <= set(schemas.CONDITIONS)
    one = next(r for r in rows if r["choice"] == "7")
    assert [one[k] for k in HEADER.split(",")[4:]] == ["1.235", "1", "2", "3", "0", "false"]
    other = [r for r in rows if r["participant"] != one["participant"]]
    assert [r["order"] for r in other] == [str(n) for n in range(6)]
    assert len({(r["question_id"], r["condition"]) for r in rows}) == 7


def test_careless_is_marked_on_all_answers_of_a_participant_and_takes_none_away(site, joined, tmp_path):
    careless = joined()
    now = careless.go("check")
    assert careless.answer(now["step"], choice=wrong(now["step"])).status_code == 200
    careless.go()
    joined().go()
    rows = read(export.write_csv(site.database, site.study, tmp_path)[0])
    marks = {}
    for row in rows:
        marks.setdefault(row["participant"], set()).add(row["careless"])
    assert len(rows) == 12 and sorted(map(sorted, marks.values())) == [["false"], ["true"]]


@pytest.fixture
def simulation(make_site):
    """A site of a database of simulated participants, one of whom has finished."""
    site = make_site(simulated=True)
    person = Person(participant.create_app(site))
    assert "Simulated" in person.http.get("/").text
    person.join()
    person.go()
    return site


def test_simulated_answers_come_out_only_on_request_and_under_their_own_name(simulation, tmp_path):
    with pytest.raises(connection.DatabaseError, match="simulated"):
        export.write_csv(simulation.database, simulation.study, tmp_path)
    path, count = export.write_csv(simulation.database, simulation.study, tmp_path, is_simulated=True)
    assert (path.name, count) == ("simulated-judgements.csv", 6)
    assert not (tmp_path / "judgements.csv").exists()


def test_every_simulated_line_says_so_in_its_participant_and_no_real_one_does(simulation, site, joined, tmp_path):
    joined().go()
    made = read(export.write_csv(simulation.database, simulation.study, tmp_path, is_simulated=True)[0])
    real = read(export.write_csv(site.database, site.study, tmp_path)[0])
    assert all(re.fullmatch("simulated-p[0-9a-f]{16}", row["participant"]) for row in made)
    assert all(re.fullmatch("p[0-9a-f]{16}", row["participant"]) for row in real)
    assert csv_import.is_simulated((row["participant"] for row in made), "made")
    assert not csv_import.is_simulated((row["participant"] for row in real), "real")


def test_the_researchers_download_of_simulated_answers_says_so_as_well(simulation):
    http = Person(participant.create_app(simulation)).http
    http.post("/admin/login", data={"password": PASSWORD})
    reply = http.get("/admin/judgements.csv")
    assert 'filename="simulated-judgements.csv"' in reply.headers["content-disposition"]
    people = {row["participant"] for row in csv.DictReader(io.StringIO(reply.text))}
    assert len(people) == 1 and people.pop().startswith("simulated-p")


def test_what_make_humans_runs_first_lets_nobody_simulated_through(simulation, prepared, tmp_path, capsys):
    """`make humans` exports and then reproduces the report: it ends at the export, and the old answers stay."""
    folder = tmp_path / "humans"
    folder.mkdir()
    (folder / "judgements.csv").write_text("answers of people\n")
    with pytest.raises(SystemExit) as ended:
        command.main(arguments(simulation, prepared, tmp_path))
    assert ended.value.code == 1
    assert "study: these participants are simulated" in capsys.readouterr().err
    assert (folder / "judgements.csv").read_text() == "answers of people\n"
    assert [path.name for path in folder.iterdir()] == ["judgements.csv"]
    recipe = (ROOT / "Makefile").read_text().partition("\nhumans:")[2].partition("\n\n")[0].splitlines()
    assert [line.strip() for line in recipe[1:]] == ["$(PY) -m synesthesia.human_study export", "$(REPRO)"]


def test_simulated_lines_put_among_real_ones_by_hand_are_refused(simulation, site, joined, prepared, tmp_path):
    joined().go()
    made, _ = export.write_csv(simulation.database, simulation.study, tmp_path, is_simulated=True)
    real, _ = export.write_csv(site.database, site.study, tmp_path)
    with real.open("a") as file:
        file.writelines(made.read_text().splitlines(keepends=True)[1:])
    asked = schemas.read(prepared / "out/ask/questions.parquet", schemas.QUESTION)
    with pytest.raises(csv_import.ResponseError, match="simulated and real participants are mixed"):
        csv_import.read_responses(real, asked, "audio")


def test_a_real_study_cannot_be_exported_as_simulated(site, tmp_path):
    with pytest.raises(connection.DatabaseError, match="real study"):
        export.write_csv(site.database, site.study, tmp_path, is_simulated=True)


def arguments(site, prepared, folder):
    """What `python -m synesthesia.human_study` is told to export into `folder`."""
    return ["export", "--params", str(prepared / "params.yaml"), "--database", site.settings.database,
            "--folder", str(folder / "humans")]  # fmt: skip


def test_the_command_writes_the_file_and_says_how_many(site, joined, prepared, tmp_path):
    joined().go()
    said = [sys.executable, "-m", "synesthesia.human_study", *arguments(site, prepared, tmp_path)]
    done = subprocess.run(said, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"6 judgements in {tmp_path}/humans/judgements.csv\n"
    assert len(read(tmp_path / "humans/judgements.csv")) == 6
