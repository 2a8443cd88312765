"""AudioSet's lists (Gemmeke et al. 2017): segments with several labels each, and the display names of the labels.

eval_segments.csv           three comment lines, then
                            --4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk"
class_labels_indices.csv    index,mid,display_name       0,/m/09x0r,"Speech"
"""

from __future__ import annotations

import math
from pathlib import Path

from synesthesia.data.catalogs.rows import CatalogError, ListRow, parse_seconds, read_csv_rows

NAME = "audioset"
_FORMAT_HINT = 'AudioSet\'s list has the columns `youtube id, start second, end second, "mid,mid,..."`'


def read_list(path: str | Path, labels_path: str | Path) -> list[ListRow]:
    """Read a segment list.

    Args:
        path: The segment list, e.g. `eval_segments.csv`.
        labels_path: The label list `class_labels_indices.csv`, which maps mids to display names.

    Returns:
        One row per line, in file order, duplicates included, with display names as labels.

    Raises:
        CatalogError: A file is missing or malformed; the message names file and line.
    """
    path = Path(path)
    names = read_display_names(labels_path)
    rows: list[ListRow] = []
    for line, row in read_csv_rows(path, "data.audioset_list", skip_initial_space=True):
        if len(row) != 4:
            raise CatalogError(f"{path}, line {line}: {len(row)} columns; {_FORMAT_HINT}")
        if not row[0]:
            raise CatalogError(f"{path}, line {line}: the id is empty; {_FORMAT_HINT}")
        start = parse_seconds(path, line, row[1])
        if not _parse_float(row[2]) > _parse_float(row[1]):
            raise CatalogError(
                f"{path}, line {line}: the clip starts at {row[1]!r} and ends at {row[2]!r}; {_FORMAT_HINT}"
            )
        mids = [mid.strip() for mid in row[3].split(",") if mid.strip()]
        unknown = [mid for mid in mids if mid not in names]
        if unknown or not mids:
            problem = f"label {unknown[0]!r} is not in {labels_path}" if mids else "no label"
            raise CatalogError(f"{path}, line {line}: {problem}; {_FORMAT_HINT}")
        rows.append(ListRow(row[0], start, tuple(dict.fromkeys(names[mid] for mid in mids)), "eval"))
    if not rows:
        raise CatalogError(f"{path} lists no clip: {_FORMAT_HINT}")
    return rows


def _parse_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_display_names(path: str | Path) -> dict[str, str]:
    """Read AudioSet's label list.

    Args:
        path: `class_labels_indices.csv`.

    Returns:
        `{mid: display name}` of all labels.

    Raises:
        CatalogError: The file is missing or is not AudioSet's label list.
    """
    path = Path(path)
    rows = list(read_csv_rows(path, "data.audioset_labels"))
    if not rows or rows[0][1] != ["index", "mid", "display_name"]:
        raise CatalogError(f"{path} is not AudioSet's label list: its first line must be `index,mid,display_name`")
    names: dict[str, str] = {}
    for line, row in rows[1:]:
        if len(row) != 3 or not row[1] or not row[2]:
            raise CatalogError(f"{path}, line {line}: not `index,mid,display_name`")
        names[row[1]] = row[2]
    return names
