"""From answers given in the study to the report's page: the stages that `make humans` runs after the export."""

from __future__ import annotations

import csv

import pytest

from synesthesia import schemas
from synesthesia.analysis.figures import paper
from synesthesia.human_study import __main__ as command
from synesthesia.human_study.web import participant
from synesthesia.pipeline import import_answers, report
from synesthesia.schemas import CONDITIONS
from tests.helpers import small_human_study
from tests.helpers.study_participants import Participant, wrong_choice

pytestmark = pytest.mark.slow  # a real database, stages and figures

# Of the little study's labels two are on a par for the models, two better heard, two better seen.
LABELS = {
    small_human_study.label_name(n): (n < 8, n < 4 or n >= 8) for n in (0, 1, 4, 5, 8, 9)
}  # ears know it, eyes know it
KNOWS = {"audio": lambda ears, eyes: ears, "silent_video": lambda ears, eyes: eyes,
         "sounded_video": lambda ears, eyes: ears or eyes}  # fmt: skip


@pytest.fixture
def folder(prepared_study, tmp_path, monkeypatch):
    """A study as `make` leaves it, as far as humans need it: clips, questions, the models' answers and gap."""
    (tmp_path / "out").mkdir()
    for name in ("curate", "ask", "gap"):
        (tmp_path / "out" / name).symlink_to(prepared_study / "out" / name)
    asked = schemas.read(prepared_study / "out/make_questions/questions.parquet", schemas.QUESTION).to_pylist()
    for model, condition in (("qwen2-audio", "audio"), ("qwen2-vl", "silent_video")):
        rows = [
            {
                "question_id": q["question_id"],
                "respondent": model,
                "condition": condition,
                "choice": choice(q, condition),
            }
            for q in asked
            if q["split"] == "analysis"
        ]
        path = tmp_path / "out/evaluate" / model / "analysis.parquet"
        path.parent.mkdir(parents=True)
        schemas.write(schemas.from_rows(rows, schemas.ANSWER, model), path, schemas.ANSWER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNESTHESIA_TRACKING", "off")
    monkeypatch.setattr(paper, "save", lambda figure, name, form: name.encode())  # drawn and laid out, not written
    return tmp_path


def choice(question, condition):
    """Right where the sense knows the label, else the option after the right one."""
    right = KNOWS[condition](*LABELS.get(question["options"][question["target"]], (True, True)))
    return question["target"] if right else (question["target"] + 1) % 10


def answer_all(app_state, person, most=1000, careless=False):
    """Go through the session; `most` trials at most, and wrong in the attention check where `careless`."""
    now, who = person.session(), person.find_id(app_state)
    while now["state"] == "active":
        step = now["step"]
        if step["kind"] == "sound_check":
            now = person.pass_sound_check(step)
            continue
        wanted = {}
        if step["kind"] == "trial":
            if most == 0:
                return
            most -= 1
            asked = app_state.questions[app_state.sessions.load_state(who).step.question_id]
            wanted["choice"] = choice({"options": asked.options, "answer": asked.target}, step["condition"])
        elif step["kind"] == "attention_check" and careless:
            wanted["choice"] = wrong_choice(step)
        reply = person.answer(step, **wanted)
        assert reply.status_code == 200, (step, reply.text)
        now = reply.json()


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_answers_come_out_in_the_report_beside_the_models_without_careless_and_withdrawn_ones(
    make_app_state, folder, prepared_study
):
    app_state = make_app_state(labels_per_group=2)  # 6 labels of 4 clips, 6 trials each: 12 seats
    app, people = participant.create_app(app_state), []
    for number in range(12):
        people.append(Participant(app))
        assert people[-1].join().status_code == 200
        answer_all(app_state, people[-1], most=2 if number == 11 else 1000, careless=number == 0)
    people[1].post("/api/withdraw", {})
    command.main(
        ["export", "--params", str(prepared_study / "params.yaml"), "--database", app_state.settings.database_url]
    )
    exported = read(folder / "humans/responses.csv")
    assert len(exported) == 6 * 10 + 2
    given = small_human_study.make_config()
    for respondent in given.import_answers.respondents:
        import_answers.run(given, respondent)
    report.run(given)

    made = {row["title"]: row for row in read(folder / "out/report/tables/respondents.csv")}
    truth = {q.question_id: q for q in app_state.questions.values()}
    for condition, who in zip(CONDITIONS, given.import_answers.respondents.values(), strict=True):
        assert who.condition == condition
        mine = [r for r in exported if r["condition"] == condition and r["inattentive"] == "false"]
        right = sum(int(r["choice"]) == truth[r["question_id"]].answer for r in mine)
        row = made[who.title]
        assert (int(row["n_answers"]), float(row["accuracy"])) == (
            len(mine),
            pytest.approx(right / len(mine), abs=1e-5),
        )
    correlations = read(folder / "out/report/tables/human_correlations.csv")
    assert [float(r["correlation"]) for r in correlations if r["split"] == "analysis"] == pytest.approx([1, 1])
    counts = [(r["count"], r["total"]) for r in read(folder / "out/report/tables/human_agreement.csv")]
    assert counts == [("2", "2"), ("2", "2"), ("0", "2")]  # the last: ears beat the audio model where eyes lead
    page = (folder / "out/report/index.html").read_text(encoding="utf-8")
    assert "Humans beside the models" in page and "Human ears and eyes" in page and "SIMULATED" not in page


def test_a_report_of_simulated_participants_says_so_wherever_it_can(make_app_state, folder, prepared_study):
    """Somebody puts the marked file by hand where the answers of people belong."""
    app_state = make_app_state(labels_per_group=2, is_simulated=True)
    person = Participant(participant.create_app(app_state))
    person.join()
    answer_all(app_state, person)
    command.main(["export", "--simulated", "--params", str(prepared_study / "params.yaml"),
                  "--database", app_state.settings.database_url])  # fmt: skip
    (folder / "humans/simulated-responses.csv").rename(folder / "humans/responses.csv")
    given = small_human_study.make_config()
    for respondent in given.import_answers.respondents:
        import_answers.run(given, respondent)
    report.run(given)
    page = (folder / "out/report/index.html").read_text(encoding="utf-8")
    assert "<strong>SIMULATED.</strong> The human judgements in this report were made up by a program" in page
