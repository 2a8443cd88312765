"""One made-up study, reported once for all tests of the report."""

import pytest

from synesthesia.pipeline import import_answers
from tests.helpers.simulated_responses import write_responses
from tests.helpers.study_outputs import Maker, parameters


@pytest.fixture(scope="session")
def maker(tmp_path_factory):
    """A study of 9 labels with simulated humans, one awkward label and known accuracies, on disk."""
    made = Maker(tmp_path_factory.mktemp("study") / "out", parameters(), labels=9, clips=8, unseen=3)
    odd = "<b>rock & roll</b> $5"
    made.labels[0], was = odd, made.labels[0]
    for knows in made.knows.values():
        knows[odd] = knows.pop(was)
    made.write()
    senses = {"audio": "audio", "silent_video": "visual", "sounded_video": "audio-visual"}
    knows = {condition: made.knows[sense] for condition, sense in senses.items()}
    asked = made.questions[made.questions["split"] == "analysis"]
    write_responses(asked, made.out.parent / "humans/responses.csv", knows, responses_per_question=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.out.parent)
        for name in made.params.import_answers.respondents:
            import_answers.import_answers(made.params, name)
    return made


@pytest.fixture(scope="session")
def reported(maker):
    """The folder out/report of that study."""
    from synesthesia.pipeline import report

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(maker.out.parent)
        report.run(maker.params)
    return maker.out / "report"


@pytest.fixture(scope="session")
def study(maker):
    """That study, loaded."""
    from synesthesia.analysis import results as study

    return study.load_results(maker.params, maker.out)
