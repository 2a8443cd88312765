"""The Ray engine on a local cluster of two machines of one processor each: same outs to the byte, and what it refuses.

Needs Ray (`make test-ray` installs it).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import small_dataset
from tests.helpers.small_dataset import outs, settings

ray = pytest.importorskip("ray", reason="Ray is not installed: `make test-ray` installs it and runs these tests")
pytestmark = pytest.mark.slow

from synesthesia.data import decode_jobs  # noqa: E402
from synesthesia.data.executors import ExecutorError  # noqa: E402
from synesthesia.data.executors import ray as engine  # noqa: E402
from synesthesia.pipeline import curate  # noqa: E402

world, sources = small_dataset.world, small_dataset.sources


@pytest.fixture(scope="module")
def cluster():
    """A head that does no work and two nodes of one processor; only these processes are ended at the end."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture
def address(cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)


def test_two_machines_make_the_same_outs_to_the_byte(world, address):
    curate.run(settings(clips_per_shard=8), workers=2)
    expected = outs()
    shutil.rmtree("out")
    curate.run(settings(clips_per_shard=8, executor="ray"))
    assert outs() == expected


def test_what_processes_began_ray_finishes(world, address):
    curate.run(settings(clips_per_shard=8), workers=2)
    expected = outs()
    shutil.rmtree("out")
    given = settings(clips_per_shard=8)
    Path("out/.partial/curate").mkdir(parents=True)
    items = curate.plans.build_manifest(given).items[:16]
    chosen = {key: getattr(given.curate, key) for key in curate.DECODE_PARAMS}
    made = decode_jobs.split_jobs(items, 8, chosen)
    curate.executors.load_executor("local").run(made, curate.CACHE_DIR, chosen, 1, lambda n: None)
    kept = {path.stat().st_ino for path in Path("out/.partial/curate").glob("*.arrow")}
    curate.run(settings(clips_per_shard=8, executor="ray"))
    assert len(kept) == 2 and kept <= {path.stat().st_ino for path in Path("out/curate/store").iterdir()}
    assert outs() == expected


def test_a_machine_that_would_decode_other_bytes_is_refused(world, address, tmp_path):
    given = settings(clips_per_shard=8)
    items = curate.plans.build_manifest(given).items[:8]
    chosen = {key: getattr(given.curate, key) for key in curate.DECODE_PARAMS}
    other = [decode_jobs.DecodeJob("0" * 24, items)]
    with pytest.raises(ExecutorError, match="would decode other bytes"):
        engine.run(other, tmp_path, chosen, None, lambda n: None)


def test_without_a_cluster_it_says_how_to_start_one(world, monkeypatch):
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1", "RAY_gcs_rpc_server_reconnect_timeout_s": "3"}
    settings(executor="ray")
    command = [sys.executable, "-m", "synesthesia.pipeline.curate"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert "no Ray cluster at '127.0.0.1:1'" in ended.stderr and "ray start --head" in ended.stderr
    assert "Traceback" not in ended.stderr
