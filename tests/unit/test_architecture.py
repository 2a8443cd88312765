"""The package table of docs/explanation/architecture.md is what the code imports, and imports run one way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.source_imports import SOURCE, iter_imports

ROOT = Path(__file__).parents[2]
ALL = "every package"


def read_table() -> dict[str, set[str]]:
    """Return what each package may import, in the order of the table."""
    table: dict[str, set[str]] = {}
    for line in (ROOT / "docs/explanation/architecture.md").read_text().splitlines():
        if match := re.fullmatch(r"\| `(\w+)` \| .* \| (.+) \|", line):
            name, allowed = match.groups()
            table[name] = set(table) if allowed == ALL else set(re.findall(r"`(\w+)`", allowed))
    return table


def imported_packages(name: str) -> dict[str, str]:
    """Return the packages that a package or module imports, each with a file that does."""
    files = [SOURCE / f"{name}.py"] if (SOURCE / f"{name}.py").exists() else sorted((SOURCE / name).rglob("*.py"))
    found = {}
    for file in files:
        for module in iter_imports(file):
            parts = module.split(".")
            if parts[0] == "synesthesia" and parts[1:2] not in ([], [name]):
                found[parts[1]] = str(file.relative_to(ROOT))
    return found


TABLE = read_table()


def test_every_package_and_module_is_in_the_table():
    names = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert names - {"__init__", "__main__"} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_a_package_imports_only_what_the_table_allows(name):
    assert {k: v for k, v in imported_packages(name).items() if k not in TABLE[name]} == {}


@pytest.mark.parametrize("name", TABLE)
def test_a_row_allows_nothing_that_the_package_does_not_import(name):
    if name != "pipeline" and name != "cli":
        assert TABLE[name] - set(imported_packages(name)) == set()


@pytest.mark.parametrize("name", TABLE)
def test_imports_run_one_way(name):
    above = list(TABLE)[: list(TABLE).index(name)]
    assert TABLE[name] <= set(above)


def test_only_tracking_imports_mlflow():
    importers = {
        file.relative_to(SOURCE).parts[0]
        for file in SOURCE.rglob("*.py")
        if any(module.split(".")[0] == "mlflow" for module in iter_imports(file))
    }
    assert importers == {"tracking"}
