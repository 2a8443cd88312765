"""One made-up study, reported once for all tests of the report."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from study import Maker, parameters


@pytest.fixture(scope="session")
def maker(tmp_path_factory):
    """A study of 9 labels with humans, one awkward label and known accuracies, on disk."""
    made = Maker(tmp_path_factory.mktemp("study") / "out", parameters(), labels=9, clips=8, unseen=3)
    odd = "<b>rock & roll</b> $5"
    made.labels[0], was = odd, made.labels[0]
    for knows in made.knows.values():
        knows[odd] = knows.pop(was)
    made.write()
    made.answers("answer/human-ears", "analysis", "human-17", "audio", made.knows["audio"])
    return made


@pytest.fixture(scope="session")
def reported(maker):
    """The folder out/report of that study."""
    from synesthesia.stages import report

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(maker.out.parent)
        report.run(maker.params)
    return maker.out / "report"


@pytest.fixture(scope="session")
def study(maker):
    """That study, loaded."""
    from synesthesia.report import study

    return study.load(maker.params, maker.out)
