"""Several processes on one stage item: who starts them, and that their number changes no result."""

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
    """What `spread` would become."""
    became = []
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(os, "execv", lambda program, command: became.append(command))
    return became


@pytest.mark.parametrize("said, gpus, count", [(None, 2, "2"), ("3", 4, "3"), ("2", 0, "2")])
def test_a_stage_starts_itself_through_accelerate_once_a_process(launched, monkeypatch, said, gpus, count):
    monkeypatch.setattr(distributed, "_gpus", lambda: gpus)
    monkeypatch.setenv(distributed.NUM_PROCESSES_ENV, said) if said else monkeypatch.delenv(
        distributed.NUM_PROCESSES_ENV, raising=False
    )
    distributed.relaunch_distributed("synesthesia.pipeline.evaluate", ["qwen2-audio"])
    command = launched[0]
    assert command[command.index("--num_processes" if gpus else "--nproc-per-node") + 1] == count
    assert ("--multi_gpu" in command) == (gpus > 0)
    assert command[-3:] == ["--module", "synesthesia.pipeline.evaluate", "qwen2-audio"]


@pytest.mark.parametrize("said, gpus", [(None, 1), (None, 0), ("1", 4)])
def test_one_process_needs_no_launcher(launched, monkeypatch, said, gpus):
    monkeypatch.setattr(distributed, "_gpus", lambda: gpus)
    monkeypatch.setenv(distributed.NUM_PROCESSES_ENV, said) if said else monkeypatch.delenv(
        distributed.NUM_PROCESSES_ENV, raising=False
    )
    distributed.relaunch_distributed("synesthesia.pipeline.evaluate", [])
    assert not launched


@pytest.mark.parametrize("said, gpus, why", [("two", 0, "whole number"), ("0", 0, "whole number"), ("3", 2, "2 GPUs")])
def test_a_number_that_cannot_be_is_refused(launched, monkeypatch, said, gpus, why):
    monkeypatch.setattr(distributed, "_gpus", lambda: gpus)
    monkeypatch.setenv(distributed.NUM_PROCESSES_ENV, said)
    with pytest.raises(distributed.ProcessError, match=why):
        distributed.relaunch_distributed("synesthesia.pipeline.evaluate", [])


WORK = """
import pathlib, torch
import pyarrow.parquet as pq
torch.set_num_threads(1)
from tests.helpers.tiny_checkpoints import fresh, lora, study, training
from synesthesia.evaluation import local as answering
from synesthesia.utils import distributed as processes
from synesthesia.distillation import adapters, trainer
from tests.helpers.training_examples import make_training_targets
clips, asked, store = study(12)
model = fresh("qwen2_vl")
answers = answering.answer(model, asked, clips, store, respondent="r", read="letter_logits", batch=1, key="k")
student = fresh("qwen2_audio")
torch.manual_seed(0)
adapters.attach(student, lora())
history = trainer.train(student, make_training_targets(), clips, store, training(global_batch_size=4, micro_batch=2, epochs=2.0),
                        partial=answering.PARTIAL / "d")
pathlib.Path(f"process-{processes.rank()}-of-{processes.world()}").touch()
if processes.is_main():
    pq.write_table(answers, "answers.parquet")
    torch.save([history, {n: p for n, p in student.model.named_parameters() if p.requires_grad}], "learnt.pt")
"""


# What the launcher starts: it hands its environment to the test, which forks a process that has everything imported.
STARTED = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as test:
    test.connect("started")
    test.sendall(json.dumps(dict(os.environ)).encode() + b"\\n")
    sys.exit(int(test.makefile().readline()))
"""


def work(environment):
    """In a process of its own: WORK as one of those that were launched."""
    from accelerate.state import AcceleratorState

    os.environ.clear()
    os.environ.update(environment)
    AcceleratorState._reset_state(reset_partial_state=True)  # the test's process was alone
    exec(WORK, {})


def launch(count):
    """WORK in as many processes as the launcher starts, here, with the environment that it gives each of them."""
    Path("started.py").write_text(STARTED)
    forks, replies = [], []
    with socket.create_server("started", family=socket.AF_UNIX) as listening, open("said", "w+") as said:
        listening.settimeout(120)
        launcher = subprocess.Popen(
            [*distributed.launch_command(count, use_gpus=False), "started.py"], stdout=said, stderr=said
        )
        for _ in range(count):
            reply = listening.accept()[0].makefile("rw")
            forks.append(multiprocessing.get_context("fork").Process(target=work, args=(json.loads(reply.readline()),)))
            forks[-1].start()
            replies.append(reply)
        for fork, reply in zip(forks, replies, strict=True):
            fork.join()
            reply.write(f"{fork.exitcode}\n")
            reply.close()
        assert launcher.wait(120) == 0, Path("said").read_text()


def test_two_processes_answer_the_same_bytes_and_learn_the_same_but_for_the_last_bits(tmp_path, monkeypatch):
    import pyarrow.parquet as pq
    import torch

    monkeypatch.setenv("SYNESTHESIA_DEVICE", "cpu")
    made = {}
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        monkeypatch.chdir(folder)
        exec(WORK, {}) if count == 1 else launch(count)
        there = sorted(file.name for file in folder.glob("process-*"))
        assert there == [f"process-{rank}-of-{count}" for rank in range(count)]
        made[count] = (
            pq.read_table(folder / "answers.parquet"),
            *torch.load(folder / "learnt.pt", weights_only=True),
        )
    (answers, history, learnt), (others, other_history, other_learnt) = made[1], made[2]
    assert answers.equals(others)
    assert len(history) == len(other_history) == 6
    for row, other in zip(history, other_history, strict=True):
        assert row["step"] == other["step"]
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-3)
    for name, weight in learnt.items():
        torch.testing.assert_close(other_learnt[name], weight, atol=1e-4, rtol=0)
