"""VGGSound's lists (Chen et al. 2020): `vggsound.csv` as published, and its test list with file names.

    vggsound.csv   ---g-f_I2yQ,1,people marching,test             youtube id, start second, label, train or test
    test.csv       glLQrEijrKg_000300.mp4,playing hammond organ   file name, label; all rows are test

No header (one is skipped if present). Labels with commas are quoted, comment lines begin with `#`.
"""

from __future__ import annotations

import re
from pathlib import Path

from synesthesia.data.catalogs.rows import CatalogError, ListRow, parse_seconds, read_csv_rows

NAME = "vggsound"
_FORMAT_HINT = "VGGSound's list has the columns `youtube id,start second,label,train|test` and no header"
_FILE_NAME_PATTERN = re.compile(r"(.+)_(\d{1,6})(?:\.\w+)?")


def read_list(path: str | Path) -> list[ListRow]:
    """Read a VGGSound list in either format.

    Args:
        path: The list.

    Returns:
        One row per line with one label each, in file order, duplicates included.

    Raises:
        CatalogError: The file is missing or malformed; the message names file and line.
    """
    path = Path(path)
    rows: list[ListRow] = []
    width = 0
    for index, (line, row) in enumerate(read_csv_rows(path, "data.vggsound_list")):
        if not index and _is_header(row):
            continue
        width = width or len(row)
        if len(row) != width or width not in (2, 4):
            raise CatalogError(f"{path}, line {line}: {len(row)} columns; {_FORMAT_HINT}")
        rows.append(_parse_published_row(path, line, row) if width == 4 else _parse_test_row(path, line, row))
    if not rows:
        raise CatalogError(f"{path} lists no clip: {_FORMAT_HINT}")
    return rows


def _is_header(row: list[str]) -> bool:
    return len(row) == 4 and row[3].lower() not in ("train", "test") and row[1].lower().startswith("start")


def _parse_published_row(path: Path, line: int, row: list[str]) -> ListRow:
    video_id, start, label, source_split = row
    if source_split not in ("train", "test"):
        raise CatalogError(
            f"{path}, line {line}: the last column is {source_split!r}, not train or test; {_FORMAT_HINT}"
        )
    return ListRow(
        _require_value(path, line, video_id, "id"),
        parse_seconds(path, line, start),
        (_parse_label(path, line, label),),
        source_split,
    )


def _parse_test_row(path: Path, line: int, row: list[str]) -> ListRow:
    match = _FILE_NAME_PATTERN.fullmatch(row[0])
    if not match:
        raise CatalogError(
            f"{path}, line {line}: {row[0]!r} is not `<youtube id>_<start, 6 digits>.mp4`; {_FORMAT_HINT}"
        )
    return ListRow(match[1], int(match[2]), (_parse_label(path, line, row[1]),), "test")


def _parse_label(path: Path, line: int, text: str) -> str:
    return _require_value(path, line, text, "label")


def _require_value(path: Path, line: int, text: str, field: str) -> str:
    if not text:
        raise CatalogError(f"{path}, line {line}: the {field} is empty; {_FORMAT_HINT}")
    return text
