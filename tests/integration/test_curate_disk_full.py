"""curate on a disk that is full, then read-only, then has room again: real ones, mounted for the test alone."""

import subprocess
import sys

import pytest

from tests.helpers import small_dataset
from tests.helpers.mount_namespace import namespace

pytestmark = pytest.mark.slow
world, sources = small_dataset.world, small_dataset.sources

SCRIPT = """
set -u
mkdir -p out
mount -t tmpfs -o size=9m tmpfs out || exit 77
curate() { "$0" -m synesthesia.pipeline.curate --workers 1 2>said; echo "$1 $? $(tail -1 said)"; }
curate full
for path in out/.partial/curate/*.arrow; do stat -c 'kept %i' "$path"; done
ls -A out/curate out/.partial/curate | grep tmp
mount -o remount,ro out
curate read-only
mount -o remount,rw,size=200m out
curate again
for path in out/curate/store/*.arrow; do stat -c 'used %i' "$path"; done
"""


def test_a_full_and_a_read_only_disk_are_one_sentence_each_and_nothing_finished_is_lost(world):
    small_dataset.settings(clips_per_shard=8)
    ended = subprocess.run(
        [*namespace(), "sh", "-c", SCRIPT, sys.executable], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    full, read_only, again = (next(x for x in lines if x.startswith(w)) for w in ("full", "read-only", "again"))
    assert full.startswith("full 1 curate: the disk is full") and "finished parts are kept" in full
    assert read_only.startswith("read-only 1 curate: no permission to write or read"), read_only
    assert again.startswith("again 0")
    kept = {line.split()[1] for line in lines if line.startswith("kept")}
    used = {line.split()[1] for line in lines if line.startswith("used")}
    assert len(kept) >= 2 and kept < used
    assert not [line for line in lines if line.endswith(".tmp")]
