"""From responses of the study to the report: the stages that `make import-humans` runs after the export."""

from __future__ import annotations

import csv

import pytest

from synesthesia import schemas
from synesthesia.analysis.figures import style
from synesthesia.human_study import __main__ as command
from synesthesia.human_study.web.participant import create_app
from synesthesia.pipeline import import_answers, report
from synesthesia.schemas import CONDITIONS
from tests.helpers import small_human_study
from tests.helpers.study_participants import Participant, wrong_choice

pytestmark = pytest.mark.slow  # a real database, stages, and figures

# (audio suffices, video suffices) by label: two labels tie for the models, two favor audio, two favor vision.
LABELS = {small_human_study.label_name(n): (n < 8, n < 4 or n >= 8) for n in (0, 1, 4, 5, 8, 9)}
IS_CORRECT = {
    "audio": lambda audio, visual: audio,
    "silent_video": lambda audio, visual: visual,
    "sounded_video": lambda audio, visual: audio or visual,
}


@pytest.fixture
def folder(prepared_study, tmp_path, monkeypatch):
    """The pipeline's outputs that humans need: clips, questions, the models' answers, and the gap."""
    (tmp_path / "out").mkdir()
    for name in ("curate", "make_questions", "measure_gap"):
        (tmp_path / "out" / name).symlink_to(prepared_study / "out" / name)
    path = prepared_study / "out/make_questions/questions.parquet"
    questions = schemas.read(path, schemas.QUESTION).to_pylist()
    for model, condition in (("qwen2-audio", "audio"), ("qwen2-vl", "silent_video")):
        rows = [
            {
                "question_id": q["question_id"],
                "respondent": model,
                "condition": condition,
                "choice": choose(q["options"], q["target"], condition),
            }
            for q in questions
            if q["split"] == "analysis"
        ]
        path = tmp_path / "out/evaluate" / model / "analysis.parquet"
        path.parent.mkdir(parents=True)
        schemas.write(schemas.from_rows(rows, schemas.ANSWER, model), path, schemas.ANSWER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNESTHESIA_TRACKING", "off")
    monkeypatch.setattr(style, "encode_figure", lambda figure, name, fmt: name.encode())  # drawn, not encoded
    return tmp_path


def choose(options, target, condition):
    """The target if the condition suffices for the label, else the option after it."""
    is_correct = IS_CORRECT[condition](*LABELS.get(options[target], (True, True)))
    return target if is_correct else (target + 1) % 10


def answer_all(app_state, person, max_trials=1000, is_inattentive=False):
    """Go through a session up to `max_trials` trials; fail attention checks if `is_inattentive`."""
    session, participant = person.session(), person.find_id(app_state)
    while session["state"] == "active":
        step = session["step"]
        if step["kind"] == "sound_check":
            session = person.pass_sound_check(step)
            continue
        changes = {}
        if step["kind"] == "trial":
            if max_trials == 0:
                return
            max_trials -= 1
            question = app_state.questions[app_state.sessions.load_state(participant).step.question_id]
            changes["choice"] = choose(question.options, question.target, step["condition"])
        elif step["kind"] == "attention_check" and is_inattentive:
            changes["choice"] = wrong_choice(step)
        reply = person.answer(step, **changes)
        assert reply.status_code == 200, (step, reply.text)
        session = reply.json()


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_stages():
    """Run the stages that depend on the responses; return the configuration."""
    config = small_human_study.make_config()
    for respondent in config.import_answers.respondents:
        import_answers.run(config, respondent)
    report.run(config)
    return config


def test_the_report_compares_attentive_participants_with_the_models(make_app_state, folder, prepared_study):
    app_state = make_app_state(labels_per_group=2)  # 6 labels of 4 clips, 6 trials each: 12 slots
    app, people = create_app(app_state), []
    for number in range(12):
        people.append(Participant(app))
        assert people[-1].join().status_code == 200
        answer_all(app_state, people[-1], max_trials=2 if number == 11 else 1000, is_inattentive=number == 0)
    people[1].post("/api/withdraw", {})
    database_url = app_state.settings.database_url
    command.main(["export", "--params", str(prepared_study / "params.yaml"), "--database", database_url])
    responses = read(folder / "humans/responses.csv")
    assert len(responses) == 6 * 10 + 2
    config = run_stages()

    rows = {row["title"]: row for row in read(folder / "out/report/tables/respondents.csv")}
    questions = {q.question_id: q for q in app_state.questions.values()}
    for condition, respondent in zip(CONDITIONS, config.import_answers.respondents.values(), strict=True):
        assert respondent.condition == condition
        attentive = [r for r in responses if r["condition"] == condition and r["inattentive"] == "false"]
        n_correct = sum(int(r["choice"]) == questions[r["question_id"]].target for r in attentive)
        row = rows[respondent.title]
        assert int(row["n_answers"]) == len(attentive)
        assert float(row["accuracy"]) == pytest.approx(n_correct / len(attentive), abs=1e-5)
    correlations = read(folder / "out/report/tables/human_correlations.csv")
    assert [float(r["correlation"]) for r in correlations if r["split"] == "analysis"] == pytest.approx([1, 1])
    counts = [(r["count"], r["total"]) for r in read(folder / "out/report/tables/human_agreement.csv")]
    assert counts == [("2", "2"), ("2", "2"), ("0", "2")]  # last: human audio above the audio model, visual labels
    page = (folder / "out/report/index.html").read_text(encoding="utf-8")
    assert "Comparison with humans" in page and "Human ears and eyes" in page and "SIMULATED" not in page


def test_a_report_of_simulated_responses_is_marked(make_app_state, folder, prepared_study):
    """The marked file is moved by hand to where real responses belong."""
    app_state = make_app_state(labels_per_group=2, is_simulated=True)
    person = Participant(create_app(app_state))
    person.join()
    answer_all(app_state, person)
    command.main(["export", "--simulated", "--params", str(prepared_study / "params.yaml"),
                  "--database", app_state.settings.database_url])  # fmt: skip
    (folder / "humans/simulated-responses.csv").rename(folder / "humans/responses.csv")
    run_stages()
    page = (folder / "out/report/index.html").read_text(encoding="utf-8")
    assert "<strong>SIMULATED.</strong> A program generated the human responses in this report" in page
