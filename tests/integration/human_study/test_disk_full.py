"""The study on a disk that is full, then read-only, then has room again: real ones, mounted for the test alone."""

import os
import subprocess
import sys

import pytest
import yaml

from tests.helpers import small_human_study
from tests.helpers.mount_namespace import namespace

pytestmark = pytest.mark.slow

# One process that has everything imported, and a fork of it for each time that the command is run.
START = """
import os, subprocess, sys
from pathlib import Path
from synesthesia.human_study import __main__ as command

def mount(*arguments):
    return subprocess.run(["mount", *arguments]).returncode

def plan(when):
    sys.stdout.flush()
    if not (child := os.fork()):
        os.dup2(os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        code = 1
        try:
            command.main(["plan"])
            code = 0
        except SystemExit as end:
            code = end.code
        finally:
            sys.stdout.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(f"{when}: {code}", Path("said").read_text().splitlines()[-1])

os.mkdir("humans")
if mount("-t", "tmpfs", "-o", "size=1500k", "tmpfs", "humans"):
    sys.exit(77)
plan("full")
print(*[path for path in Path("humans").rglob("*") if "tmp" in path.name], sep="", end="")
mount("-o", "remount,ro", "humans")
plan("read-only")
mount("-o", "remount,rw,size=30m", "humans")
plan("again")
"""

# What a participant meets where the disk fills up in the middle of a session, in one process with the server.
ANSWERS = """
from pathlib import Path
from study_people import PASSWORD, Person
from synesthesia import params
from synesthesia.human_study import export, web
from synesthesia.human_study.web.app_state import Settings, Site

settings = Settings("params.yaml", "sqlite:///humans/study.sqlite", "humans")
site = Site(settings, params.load("params.yaml").study, Path("humans/secret").read_bytes(), PASSWORD)
person = Person(web.create(site))
person.join()
step = person.go("comments")["step"]
comment = {"key": "f" * 32, "comment": "\\u3042" * 2000}  # longer than the pages that are free
try:
    with open("humans/filler", "wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
except OSError as error:
    print("filled:", error.strerror)
print("refused:", person.answer(step, **comment).status_code, person.now()["step"] == step)
Path("humans/filler").unlink()
print("taken:", person.answer(step, **comment).json()["state"])
print("exported:", export.write(site.database, site.study, Path("humans"))[1])
"""


def test_a_full_and_a_read_only_disk_are_one_sentence_each_and_no_answer_is_lost(prepared, tmp_path):
    (tmp_path / "out").symlink_to(prepared / "out")
    given = small_human_study.parameters(labels=[small_human_study.label(n) for n in range(12)])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(given.model_dump()))
    (tmp_path / "start.py").write_text(START + ANSWERS)
    seen = os.pathsep.join(path for path in sys.path if path)
    ended = subprocess.run([*namespace(), sys.executable, "start.py"], cwd=tmp_path, text=True,
                           capture_output=True, timeout=120, env=os.environ | {"PYTHONPATH": seen})  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0] == "full: 1 study: the disk is full (humans/stimuli): free some space and run it again"
    assert lines[1].startswith("read-only: 1 study: sqlite:///humans/study.sqlite: the database cannot be written")
    assert lines[2].startswith("12 labels x 4 clips x 3 conditions x 1 = 144 trials")
    assert lines[4].startswith("again: 0")
    assert lines[5:] == [
        "filled: No space left on device",
        "refused: 503 True",
        "taken: finished",
        "exported: 6",
    ]
