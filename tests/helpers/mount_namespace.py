"""Small disks that a test mounts for itself alone: the mounts end with its process."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def get_unshare_command() -> list[str]:
    """Return the command prefix that gives a process its own mounts; skip the test where that is not permitted."""
    for command in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        probe = [*command, "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
        if shutil.which("unshare") and not subprocess.run(probe, capture_output=True).returncode:
            return command
    pytest.skip("no process can mount a disk for itself on this system (unshare --mount is refused)")
