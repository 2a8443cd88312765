"""Several processes for one stage item: how they are launched, and that their number changes no result."""

import json
import multiprocessing
import os
import socket
import subprocess
from pathlib import Path

import pytest

from synesthesia.utils import distributed

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture
def launched(monkeypatch):
    """Collect the commands that would replace this process."""
    commands = []
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(os, "execv", lambda program, command: commands.append(command))
    return commands


@pytest.mark.parametrize("value, num_gpus, num_processes", [(None, 2, "2"), ("3", 4, "3"), ("2", 0, "2")])
def test_a_stage_relaunches_itself_with_one_process_per_gpu(launched, monkeypatch, value, num_gpus, num_processes):
    monkeypatch.setattr(distributed, "_count_gpus", lambda: num_gpus)
    monkeypatch.setenv(distributed.NUM_PROCESSES_ENV, value) if value else monkeypatch.delenv(
        distributed.NUM_PROCESSES_ENV, raising=False
    )
    distributed.relaunch_distributed("synesthesia.pipeline.evaluate", ["qwen2-audio"])
    command = launched[0]
    assert command[command.index("--num_processes" if num_gpus else "--nproc-per-node") + 1] == num_processes
    assert ("--multi_gpu" in command) == (num_gpus > 0)
    assert command[-3:] == ["--module", "synesthesia.pipeline.evaluate", "qwen2-audio"]


@pytest.mark.parametrize("value, num_gpus", [(None, 1), (None, 0), ("1", 4)])
def test_one_process_needs_no_launcher(launched, monkeypatch, value, num_gpus):
    monkeypatch.setattr(distributed, "_count_gpus", lambda: num_gpus)
    monkeypatch.setenv(distributed.NUM_PROCESSES_ENV, value) if value else monkeypatch.delenv(
        distributed.NUM_PROCESSES_ENV, raising=False
    )
    distributed.relaunch_distributed("synesthesia.pipeline.evaluate", [])
    assert not launched


@pytest.mark.parametrize("value, num_gpus, reason", [("two", 0, "integer"), ("0", 0, "integer"), ("3", 2, "2 GPUs")])
def test_an_impossible_number_of_processes_is_refused(launched, monkeypatch, value, num_gpus, reason):
    monkeypatch.setattr(distributed, "_count_gpus", lambda: num_gpus)
    monkeypatch.setenv(distributed.NUM_PROCESSES_ENV, value)
    with pytest.raises(distributed.ProcessError, match=reason):
        distributed.relaunch_distributed("synesthesia.pipeline.evaluate", [])


WORK = """
import pathlib, torch
import pyarrow.parquet as pq
torch.set_num_threads(1)
from tests.helpers.tiny_checkpoints import fresh_model, lora_config, small_store, training_config
from synesthesia.distillation import adapters, trainer
from synesthesia.evaluation import local
from synesthesia.utils import distributed
from tests.helpers.training_examples import make_training_targets
clips, questions, store = small_store(12)
model = fresh_model("qwen2_vl")
answers = local.answer_questions(model, questions, clips, store, respondent="r", answer_mode="letter_logits",
                                 batch_size=1, cache_key="k")
student = fresh_model("qwen2_audio")
torch.manual_seed(0)
adapters.add_lora(student, lora_config())
settings = training_config(global_batch_size=4, micro_batch_size=2, epochs=2.0)
history = trainer.train(student, make_training_targets(), clips, store, settings, checkpoint_dir=local.CACHE_DIR / "d")
pathlib.Path(f"process-{distributed.rank()}-of-{distributed.world_size()}").touch()
if distributed.is_main():
    pq.write_table(answers, "answers.parquet")
    torch.save([history, {n: p for n, p in student.model.named_parameters() if p.requires_grad}], "trained.pt")
"""


# What the launcher starts: it sends its environment to the test, which forks a process with everything imported.
LAUNCHED_SCRIPT = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as test:
    test.connect("socket")
    test.sendall(json.dumps(dict(os.environ)).encode() + b"\\n")
    sys.exit(int(test.makefile().readline()))
"""


def work(environment):
    """Run WORK in this process as one of the launched processes."""
    from accelerate.state import AcceleratorState

    os.environ.clear()
    os.environ.update(environment)
    AcceleratorState._reset_state(reset_partial_state=True)  # the test's own process was not distributed
    exec(WORK, {})


def launch(num_processes):
    """Run WORK in forks, with the environments that the launcher gives to its processes."""
    Path("launched.py").write_text(LAUNCHED_SCRIPT)
    forks, replies = [], []
    with socket.create_server("socket", family=socket.AF_UNIX) as listening, open("output.txt", "w+") as output:
        listening.settimeout(120)
        launcher = subprocess.Popen(
            [*distributed.launch_command(num_processes, use_gpus=False), "launched.py"], stdout=output, stderr=output
        )
        for _ in range(num_processes):
            reply = listening.accept()[0].makefile("rw")
            forks.append(multiprocessing.get_context("fork").Process(target=work, args=(json.loads(reply.readline()),)))
            forks[-1].start()
            replies.append(reply)
        for fork, reply in zip(forks, replies, strict=True):
            fork.join()
            reply.write(f"{fork.exitcode}\n")
            reply.close()
        assert launcher.wait(120) == 0, Path("output.txt").read_text()


def test_two_processes_write_the_same_answers_and_train_the_same_weights_within_tolerance(tmp_path, monkeypatch):
    import pyarrow.parquet as pq
    import torch

    monkeypatch.setenv("SYNESTHESIA_DEVICE", "cpu")
    results = {}
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        monkeypatch.chdir(folder)
        exec(WORK, {}) if count == 1 else launch(count)
        names = sorted(file.name for file in folder.glob("process-*"))
        assert names == [f"process-{rank}-of-{count}" for rank in range(count)]
        results[count] = (
            pq.read_table(folder / "answers.parquet"),
            *torch.load(folder / "trained.pt", weights_only=True),
        )
    (answers, history, weights), (other_answers, other_history, other_weights) = results[1], results[2]
    assert answers.equals(other_answers)
    assert len(history) == len(other_history) == 6
    for row, other in zip(history, other_history, strict=True):
        assert row["step"] == other["step"]
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-3)
    for name, weight in weights.items():
        torch.testing.assert_close(other_weights[name], weight, atol=1e-4, rtol=0)
