"""The name of unfinished work changes with everything that decides the result, and with nothing else."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from synesthesia.config import AccelerationConfig
from synesthesia.evaluation import resume
from synesthesia.pipeline import evaluate
from synesthesia.utils import hashing
from tests.helpers.preset_files import embedded


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """A folder that stands for a checkpoint; the current directory has no cache yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights/sub").mkdir(parents=True)
    (tmp_path / "weights/config.json").write_text("{}")
    (tmp_path / "weights/sub/model.safetensors").write_bytes(bytes(1000))
    return tmp_path / "weights"


def test_an_unchanged_checkpoint_is_hashed_once(weights, monkeypatch):
    hashed = []
    real = hashing.hash_file
    monkeypatch.setattr(hashing, "hash_file", lambda path: hashed.append(Path(path)) or real(path))
    first = resume.hash_once(weights)
    assert len(hashed) == 2
    assert resume.hash_once(weights) == first == resume.hash_once(Path("weights"))
    assert len(hashed) == 2
    assert first == hashing.hash_path(weights)


def test_a_changed_file_is_hashed_again_even_with_its_old_size_and_time(weights):
    file = weights / "sub/model.safetensors"
    times = os.stat(file)
    before = resume.hash_once(weights)
    time.sleep(0.02)
    file.write_bytes(bytes(999) + b"1")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert resume.hash_once(weights) != before


def test_hidden_files_of_the_hub_do_not_count(weights):
    before = resume.hash_once(weights)
    (weights / ".cache/huggingface").mkdir(parents=True)
    (weights / ".cache/huggingface/config.json.metadata").write_text("yesterday")
    assert resume.hash_once(weights) == before


def test_a_damaged_cache_is_replaced(weights):
    before = resume.hash_once(weights)
    for text in ("", "[]", "{"):
        (resume.CACHE_DIR / "hashes.json").write_text(text)
        assert resume.hash_once(weights) == before


def test_the_fingerprint_changes_with_every_file_that_decides_an_answer(weights, monkeypatch):
    source = weights.parent / "source"
    shutil.copytree(resume.SOURCE_DIR, source, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    monkeypatch.setattr(resume, "SOURCE_DIR", source)
    before = resume.fingerprint(1)
    assert before == resume.fingerprint(1)
    for name in ("questions/prompt.py", "questions/parsing.py", "data/store/reader.py", "models/qwen2_audio.py",
                 "models/openai_api.py", "acceleration/compile.py", "evaluation/remote.py", "schemas.py"):  # fmt: skip
        text = (source / name).read_text()
        (source / name).write_text(text + "# changed")
        assert resume.fingerprint(1) != before, name
        (source / name).write_text(text)
    (source / "analysis/tables.py").write_text("# decides no answer")
    assert resume.fingerprint(1) == before


def test_the_fingerprint_changes_with_libraries_and_device(monkeypatch):
    before = resume.code_fingerprint()
    monkeypatch.setattr(resume.importlib.metadata, "version", lambda name: "9")
    assert resume.code_fingerprint() != before


def test_the_key_of_answers_holds_everything_that_decides_them(weights, monkeypatch):
    """Family, precision, condition, base checkpoint, endpoint, acceleration, mode, batch size, and frame rate."""
    keys: list[str] = []
    monkeypatch.setattr(evaluate.schemas, "read", lambda *_: None)
    monkeypatch.setattr(evaluate.schemas, "select_split", lambda *_: _Questions())
    monkeypatch.setattr(evaluate.schemas, "write", lambda *_: None)
    monkeypatch.setattr(evaluate, "_answer_questions", lambda *arguments: keys.append(arguments[-1]))
    config = embedded()
    entry = config.models["qwen2-audio"].model_copy(update={"checkpoint": str(weights)})

    def key(config=config, adapter=None, **changes) -> str:
        changed = entry.model_copy(update=changes)
        evaluate.evaluate_splits(config, None, "r", ["test"], weights.parent, changed, adapter)
        return keys[-1]

    other = shutil.copytree(weights, weights.parent / "other")
    (other / "config.json").write_text("{ }")
    original = key()
    assert original == key() == key(title="Another title", role="visual", splits=["test"])
    changed = [
        key(family="qwen2_vl"), key(dtype="bfloat16"), key(condition="silent_video"), key(batch_size=7),
        key(checkpoint=str(other)), key(adapter=other),
        key(config.model_copy(update={"acceleration": AccelerationConfig(compile=True)})),
        key(config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"mode": "text"})})),
        key(config.model_copy(update={"curate": config.curate.model_copy(update={"frames_per_second": 2.0})})),
    ]  # fmt: skip
    assert len({original, *changed}) == len(changed) + 1


class _Questions:
    def to_pylist(self) -> list[dict]:
        return [{"question_id": "q"}]
