"""The study on a disk that is full, then read-only, then has room again: real disks, mounted for the test only."""

import os
import subprocess
import sys

import pytest
import yaml

from tests.helpers import small_human_study
from tests.helpers.mount_namespace import get_unshare_command

pytestmark = pytest.mark.slow

# One process with all imports, and a fork of it for each run of the command.
PLAN_SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from synesthesia.human_study import __main__ as command

def mount(*arguments):
    return subprocess.run(["mount", *arguments]).returncode

def plan(name):
    sys.stdout.flush()
    if not (child := os.fork()):
        os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
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
    print(f"{name}: {code}", Path("stderr").read_text().splitlines()[-1])

os.mkdir("humans")
if mount("-t", "tmpfs", "-o", "size=1500k", "tmpfs", "humans"):
    sys.exit(77)
plan("full")
print(*[path for path in Path("humans").rglob("*") if "tmp" in path.name], sep="", end="")
mount("-o", "remount,ro", "humans")
plan("read-only")
mount("-o", "remount,rw,size=30m", "humans")
plan("writable")
"""

# A participant's session in which the disk fills up, in one process with the server.
SESSION_SCRIPT = """
from pathlib import Path
from synesthesia import config
from synesthesia.human_study import export
from synesthesia.human_study.web.app_state import AppState, ServerSettings
from synesthesia.human_study.web.participant import create_app
from tests.helpers.study_participants import PASSWORD, Participant

settings = ServerSettings("params.yaml", "sqlite:///humans/human_study.sqlite", "humans")
secret = Path("humans/secret").read_bytes()
app_state = AppState(settings, config.load("params.yaml").human_study, secret, PASSWORD)
person = Participant(create_app(app_state))
person.join()
step = person.answer_until("comments")["step"]
comment = {"key": "f" * 32, "comment": "\\u3042" * 2000}  # longer than the free pages
try:
    with open("humans/filler", "wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
except OSError as error:
    print("filled:", error.strerror)
print("refused:", person.answer(step, **comment).status_code, person.session()["step"] == step)
Path("humans/filler").unlink()
print("accepted:", person.answer(step, **comment).json()["state"])
print("exported:", export.write_csv(app_state.database, app_state.config, Path("humans"))[1])
"""


def test_full_and_read_only_disks_are_reported_in_one_line_and_no_answer_is_lost(prepared_study, tmp_path):
    (tmp_path / "out").symlink_to(prepared_study / "out")
    config = small_human_study.make_config(labels=[small_human_study.label_name(n) for n in range(12)])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(config.model_dump()))
    (tmp_path / "script.py").write_text(PLAN_SCRIPT + SESSION_SCRIPT)
    python_path = os.pathsep.join([str(small_human_study.ROOT), *(path for path in sys.path if path)])
    result = subprocess.run([*get_unshare_command(), sys.executable, "script.py"], cwd=tmp_path, text=True,
                            capture_output=True, timeout=120,
                            env=os.environ | {"PYTHONPATH": python_path})  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "full: 1 human_study: the disk is full (humans/stimuli): free some space and run it again"
    url = "sqlite:///humans/human_study.sqlite"
    assert lines[1].startswith(f"read-only: 1 human_study: {url}: the database cannot be written")
    assert lines[2].startswith("12 labels x 4 clips x 3 conditions x 1 = 144 trials")
    assert lines[4].startswith("writable: 0")
    assert lines[5:] == [
        "filled: No space left on device",
        "refused: 503 True",
        "accepted: finished",
        "exported: 6",
    ]
