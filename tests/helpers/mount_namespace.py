"""Small disks that a test mounts for itself alone: the mounts are gone when its process ends."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def namespace() -> list[str]:
    """How a process of its own mounts is started here; skips where that is not allowed."""
    for command in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        probe = [*command, "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
        if shutil.which("unshare") and not subprocess.run(probe, capture_output=True).returncode:
            return command
    pytest.skip("no process here may mount a small disk for itself (unshare --mount is refused)")
