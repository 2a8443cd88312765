"""Pytest configuration: Hypothesis profile, test order, and tiers of tests.

The first tier (`-m "not torch and not slow"`) does not import the files of the others, because importing torch takes
seconds. Slow tests start first, so that parallel workers finish at about the same time.
"""

import gc
import os
import re

from hypothesis import HealthCheck, settings

os.environ.setdefault("SYNESTHESIA_TRACKING", "off")  # MLflow adds seconds per stage; the tracking tests turn it on

gc.disable()  # collection and imports create few reference cycles, but each GC pass scans all loaded modules

# On a busy machine, examples exceed Hypothesis's 200 ms deadline and generating them triggers its `too_slow` check.
settings.register_profile("no_deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no_deadline")

_MODULE_MARK = re.compile(r"^pytestmark = .*\bmark\.(torch|slow)\b", re.MULTILINE)


def pytest_ignore_collect(collection_path, config):
    """Ignore files whose `pytestmark` excludes them from the first tier, if that tier is selected."""
    if config.option.markexpr != "not torch and not slow" or collection_path.suffix != ".py":
        return None
    return True if _MODULE_MARK.search(collection_path.read_text(encoding="utf-8")) else None


def pytest_collection_modifyitems(items):
    """Move slow tests to the front; the sort is stable."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish():
    """Exclude imported modules from garbage collection, so that each GC pass is fast, and turn the GC on again."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()
