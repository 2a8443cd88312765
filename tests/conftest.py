"""Order and tiers. The first tier (`-m "not torch and not slow"`) does not even import the others' files.

Torch alone takes seconds. Files of slow tests start first, so that two workers end together.
"""

import gc
import os
import re

from hypothesis import HealthCheck, settings

os.environ.setdefault("SYNESTHESIA_TRACKING", "off")  # seconds of MLflow a stage; tests of tracking turn it on

gc.disable()  # while everything is imported, which makes few cycles: it would go through all modules dozens of times

# 200 ms an example is too little on a busy machine, and so is what hypothesis grants for making one.
settings.register_profile("whatever_the_hour", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whatever_the_hour")

_MARKED = re.compile(r"^pytestmark = .*\bmark\.(torch|slow)\b", re.MULTILINE)


def pytest_ignore_collect(collection_path, config):
    """Skip files marked as a whole where the tier asked for holds none of their tests."""
    if config.option.markexpr != "not torch and not slow" or collection_path.suffix != ".py":
        return None
    return True if _MARKED.search(collection_path.read_text(encoding="utf-8")) else None


def pytest_collection_modifyitems(items):
    """Files of slow tests first; the order within stays."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish():
    """What is imported by now stays: the garbage collector need not go through torch and the like again and again."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()
