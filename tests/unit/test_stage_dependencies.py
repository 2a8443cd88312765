"""dvc.yaml lists exactly the code that decides a stage's outputs, found by following its imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from synesthesia.utils import yaml_file

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/synesthesia"
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


def iter_modules(node: ast.AST) -> Iterator[str]:
    """Yield modules that a syntax tree imports or names in a string, except for type annotations alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child.module or ""
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value.partition(":")[0]  # models.FAMILIES
        yield from iter_modules(child)


def find_code(stage: str) -> set[str]:
    """Return the files that a stage's module imports, directly or not, without those that are exempt."""
    waiting, found = [SOURCE / f"pipeline/{stage}.py"], set()
    while waiting:
        file = waiting.pop()
        name = str(file.relative_to(SOURCE))
        if name in found or name.startswith((*EXEMPT, *STAGE_EXEMPT.get(stage, ()))):
            continue
        found.add(name)
        modules = (m for m in iter_modules(ast.parse(file.read_text())) if m.startswith("synesthesia."))
        waiting += [path for m in modules if (path := find_file(m))]
    return {name for name in found if not name.endswith("__init__.py") or (SOURCE / name).stat().st_size > 2000}


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
