"""Imports of the package's source, read from its syntax trees without importing anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src/synesthesia"


def iter_imports(file: Path) -> Iterator[str]:
    """Yield every module that a file imports, also inside of functions, except under `if TYPE_CHECKING`.

    `from a import b` yields `a` and `a.b`, of which one may be no module.
    """
    yield from _iter_nodes(ast.parse(file.read_text()))


def _iter_nodes(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.module and not child.level, "imports are absolute"
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from _iter_nodes(child)
