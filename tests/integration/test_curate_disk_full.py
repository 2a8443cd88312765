"""curate on a disk that is full, then read-only, then has room again, on a real file system of the test's own."""

import subprocess
import sys

import pytest

from tests.helpers import small_dataset
from tests.helpers.mount_namespace import get_unshare_command

pytestmark = pytest.mark.slow
dataset, source_files = small_dataset.dataset, small_dataset.source_files

SCRIPT = """
set -u
mkdir -p out
mount -t tmpfs -o size=9m tmpfs out || exit 77
curate() { "$0" -m synesthesia.pipeline.curate --workers 1 2>stderr; echo "$1 $? $(tail -1 stderr)"; }
curate full
for path in out/.partial/curate/*.arrow; do stat -c 'finished %i' "$path"; done
ls -A out/curate out/.partial/curate | grep tmp
mount -o remount,ro out
curate read-only
mount -o remount,rw,size=200m out
curate resumed
for path in out/curate/store/*.arrow; do stat -c 'published %i' "$path"; done
"""


def test_full_and_read_only_disk_give_one_sentence_each_and_keep_finished_shards(dataset):
    small_dataset.write_config(clips_per_shard=8)
    process = subprocess.run(
        [*get_unshare_command(), "sh", "-c", SCRIPT, sys.executable], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    full, read_only, resumed = (
        next(line for line in lines if line.startswith(name)) for name in ("full", "read-only", "resumed")
    )
    assert full.startswith("full 1 curate: the disk is full") and "finished parts are kept" in full
    assert read_only.startswith("read-only 1 curate: no permission to read or write"), read_only
    assert resumed.startswith("resumed 0")
    finished = {line.split()[1] for line in lines if line.startswith("finished")}
    published = {line.split()[1] for line in lines if line.startswith("published")}
    assert len(finished) >= 2 and finished < published
    assert not [line for line in lines if line.endswith(".tmp")]
