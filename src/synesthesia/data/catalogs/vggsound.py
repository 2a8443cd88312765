"""VGGSound's lists (Chen et al. 2020): `vggsound.csv` as published, and its test list with file names.

    vggsound.csv   ---g-f_I2yQ,1,people marching,test          youtube id, start second, label, train or test
    test.csv       glLQrEijrKg_000300.mp4,playing hammond organ   file name, label; all of it test

No header (one is passed over), labels with commas in quotation marks, comment lines begin with `#`.
"""

from __future__ import annotations

import re
from pathlib import Path

from synesthesia.data.catalogs.rows import CatalogError, Listed, cells, second

NAME = "vggsound"
_DIALECT = "VGGSound's list has the columns `youtube id,start second,label,train|test` and no header"
_FILE = re.compile(r"(.+)_(\d{1,6})(?:\.\w+)?")


def read(path: str | Path) -> list[Listed]:
    """Rows of a VGGSound list, one label each, as listed (repetitions too); CatalogError names file and line."""
    path = Path(path)
    rows: list[Listed] = []
    width = 0
    for number, (line, row) in enumerate(cells(path, "data.vggsound_list")):
        if not number and _is_header(row):
            continue
        width = width or len(row)
        if len(row) != width or width not in (2, 4):
            raise CatalogError(f"{path}, line {line}: {len(row)} columns; {_DIALECT}")
        rows.append(_four(path, line, row) if width == 4 else _two(path, line, row))
    if not rows:
        raise CatalogError(f"{path} lists no clip: {_DIALECT}")
    return rows


def _is_header(row: list[str]) -> bool:
    return len(row) == 4 and row[3].lower() not in ("train", "test") and row[1].lower().startswith("start")


def _four(path: Path, line: int, row: list[str]) -> Listed:
    video_id, start, label, part = row
    if part not in ("train", "test"):
        raise CatalogError(f"{path}, line {line}: the last column is {part!r}, not train or test; {_DIALECT}")
    return Listed(_present(path, line, video_id, "id"), second(path, line, start), (_label(path, line, label),), part)


def _two(path: Path, line: int, row: list[str]) -> Listed:
    name = _FILE.fullmatch(row[0])
    if not name:
        raise CatalogError(f"{path}, line {line}: {row[0]!r} is not `<youtube id>_<start, 6 digits>.mp4`; {_DIALECT}")
    return Listed(name[1], int(name[2]), (_label(path, line, row[1]),), "test")


def _label(path: Path, line: int, text: str) -> str:
    return _present(path, line, text, "label")


def _present(path: Path, line: int, text: str, what: str) -> str:
    if not text:
        raise CatalogError(f"{path}, line {line}: the {what} is empty; {_DIALECT}")
    return text
