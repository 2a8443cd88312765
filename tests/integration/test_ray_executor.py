"""The Ray executor on a local cluster of two nodes with one CPU each: same outputs to the byte, and its errors.

Needs Ray (`make test-ray` installs it).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import small_dataset
from tests.helpers.small_dataset import hash_outputs, write_config

ray = pytest.importorskip("ray", reason="Ray is not installed: `make test-ray` installs it and runs these tests")
pytestmark = pytest.mark.slow

from synesthesia.data import decode_jobs  # noqa: E402
from synesthesia.data.catalogs.manifest import build_manifest  # noqa: E402
from synesthesia.data.executors import ExecutorError  # noqa: E402
from synesthesia.data.executors import ray as ray_executor  # noqa: E402
from synesthesia.pipeline import curate  # noqa: E402

dataset, source_files = small_dataset.dataset, small_dataset.source_files


@pytest.fixture(scope="module")
def cluster():
    """A head that does no work and two nodes with one CPU; shutdown ends only these processes."""
    from ray.cluster_utils import Cluster

    ray_cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        ray_cluster.add_node(num_cpus=1)
    ray_cluster.wait_for_nodes()
    yield ray_cluster
    ray_cluster.shutdown()


@pytest.fixture
def address(cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)


def test_two_nodes_write_the_same_outputs_to_the_byte(dataset, address):
    curate.run(write_config(clips_per_shard=8), workers=2)
    expected = hash_outputs()
    shutil.rmtree("out")
    curate.run(write_config(clips_per_shard=8, executor="ray"))
    assert hash_outputs() == expected


def test_ray_finishes_what_the_local_executor_began(dataset, address):
    curate.run(write_config(clips_per_shard=8), workers=2)
    expected = hash_outputs()
    shutil.rmtree("out")
    config = write_config(clips_per_shard=8)
    Path("out/.partial/curate").mkdir(parents=True)
    items = build_manifest(config).items[:16]
    decode_params = {key: getattr(config.curate, key) for key in curate.DECODE_PARAMS}
    jobs = decode_jobs.split_jobs(items, 8, decode_params)
    curate.executors.load_executor("local").run(jobs, curate.CACHE_DIR, decode_params, 1, lambda n: None)
    finished = {path.stat().st_ino for path in Path("out/.partial/curate").glob("*.arrow")}
    curate.run(write_config(clips_per_shard=8, executor="ray"))
    assert len(finished) == 2 and finished <= {path.stat().st_ino for path in Path("out/curate/store").iterdir()}
    assert hash_outputs() == expected


def test_machine_that_would_decode_to_other_bytes_is_refused(dataset, address, tmp_path):
    config = write_config(clips_per_shard=8)
    items = build_manifest(config).items[:8]
    decode_params = {key: getattr(config.curate, key) for key in curate.DECODE_PARAMS}
    jobs = [decode_jobs.DecodeJob("0" * 24, items)]
    with pytest.raises(ExecutorError, match="would decode to other bytes"):
        ray_executor.run(jobs, tmp_path, decode_params, None, lambda n: None)


def test_error_without_a_cluster_says_how_to_start_one(dataset, monkeypatch):
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1", "RAY_gcs_rpc_server_reconnect_timeout_s": "3"}
    write_config(executor="ray")
    command = [sys.executable, "-m", "synesthesia.pipeline.curate"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert process.returncode == 1
    assert "no Ray cluster at '127.0.0.1:1'" in process.stderr and "ray start --head" in process.stderr
    assert "Traceback" not in process.stderr
