"""dvc.yaml lists exactly the code that decides a stage's outputs, found by following its imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from synesthesia import models
from synesthesia.utils import yaml_file
from tests.helpers.source_imports import SOURCE, iter_imports

ROOT = Path(__file__).parents[2]
STAGES = yaml_file.load(ROOT / "dvc.yaml")["stages"]

# Followed neither here nor by DVC: they decide no output.
EXEMPT = (
    "config",  # its values are parameters, which DVC compares itself
    "pipeline/accuracy_record.py",  # what MLflow logs
    "pipeline/stage_cli.py",
    "pipeline/warm_start.py",
    "tracking",
    "utils/distributed.py",  # results do not depend on the number of processes: tests/unit/utils/test_distributed.py
    "utils/io.py",
    "utils/yaml_file.py",
)
TEXT_ONLY = ("models/completions.py", "models/endpoint_", "models/kimi_audio.py", "models/openai_api.py",
             "models/qwen_audio_chat.py", "models/text_model.py", "evaluation/remote.py")  # fmt: skip
STAGE_EXEMPT = {
    "distill": TEXT_ONLY,  # such a model is never a student
    "evaluate_students": (*TEXT_ONLY, "pipeline/distill.py"),  # paths, and the name of the registered model
}


def find_file(module: str) -> Path | None:
    path = SOURCE.parent / Path(*module.split("."))
    return next((p for p in (path / "__init__.py", path.with_suffix(".py")) if p.exists()), None)


def has_code(file: Path) -> bool:
    """Return whether a file is more than a docstring, as the `__init__` of most packages is."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(file.read_text()).body)


def find_code(stage: str) -> set[str]:
    """Return the files that a stage's module imports, directly or not, without those that are exempt."""
    waiting, found = [SOURCE / f"pipeline/{stage}.py"], set()
    while waiting:
        file = waiting.pop()
        name = str(file.relative_to(SOURCE))
        if name in found or name.startswith((*EXEMPT, *STAGE_EXEMPT.get(stage, ()))):
            continue
        found.add(name)
        modules = {m for m in iter_imports(file) if m.startswith("synesthesia.")}
        if name == "models/__init__.py":  # imports a family by its name
            modules |= {target.partition(":")[0] for target in (models.FAMILIES | models.TEXT_ONLY_FAMILIES).values()}
        waiting += [path for m in modules if (path := find_file(m))]
    return {name for name in found if has_code(SOURCE / name)}


def listed_code(stage: str) -> list[str]:
    definition = STAGES[stage].get("do", STAGES[stage])
    return [d.removeprefix("src/synesthesia/") for d in definition["deps"] if d.startswith("src/synesthesia/")]


def covers(entry: str, name: str) -> bool:
    return name == entry or name.startswith(f"{entry}/")


@pytest.mark.parametrize("stage", STAGES)
def test_all_code_that_decides_an_output_is_a_dependency(stage):
    listed = listed_code(stage)
    assert sorted(name for name in find_code(stage) if not any(covers(entry, name) for entry in listed)) == []


@pytest.mark.parametrize("stage", STAGES)
def test_every_listed_code_is_imported(stage):
    code = find_code(stage)
    assert [entry for entry in listed_code(stage) if not any(covers(entry, name) for name in code)] == []
