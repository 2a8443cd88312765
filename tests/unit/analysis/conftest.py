"""One synthetic study, reported once for all tests of the report."""

import pytest

from synesthesia.pipeline import import_answers, report
from tests.helpers.simulated_responses import write_responses
from tests.helpers.study_outputs import StudyWriter, make_config


@pytest.fixture(scope="session")
def writer(tmp_path_factory):
    """A study of 9 labels with simulated humans, one label with markup and known accuracies, on disk."""
    writer = StudyWriter(tmp_path_factory.mktemp("study") / "out", make_config(), labels=9, clips=8, unseen=3)
    label = "<b>rock & roll</b> $5"
    replaced_label, writer.labels[0] = writer.labels[0], label
    for accuracy in writer.accuracy.values():
        accuracy[label] = accuracy.pop(replaced_label)
    writer.write()
    modalities = {"audio": "audio", "silent_video": "visual", "sounded_video": "audio-visual"}
    accuracy = {condition: writer.accuracy[modality] for condition, modality in modalities.items()}
    questions = writer.questions[writer.questions["split"] == "analysis"]
    path = writer.out.parent / "humans/responses.csv"
    write_responses(questions, path, accuracy, responses_per_question=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(writer.out.parent)
        for name in writer.config.import_answers.respondents:
            import_answers.import_answers(writer.config, name)
    return writer


@pytest.fixture(scope="session")
def report_folder(writer):
    """The folder out/report of that study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(writer.out.parent)
        report.run(writer.config)
    return writer.out / "report"


@pytest.fixture(scope="session")
def results(writer):
    """The results of that study."""
    from synesthesia.analysis import loading

    return loading.load_results(writer.config, writer.out)
