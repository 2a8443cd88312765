"""Private mount namespaces, in which a test can mount small disks; mounts end with the process."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def get_unshare_command() -> list[str]:
    """Return the command prefix that runs a process in its own mount namespace; skip the test if not permitted."""
    for prefix in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        probe = [*prefix, "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
        if shutil.which("unshare") and not subprocess.run(probe, capture_output=True).returncode:
            return prefix
    pytest.skip("no process can mount a disk for itself on this system (unshare --mount is refused)")
