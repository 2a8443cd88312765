"""Rows of a label list, and what all lists have in common."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class CatalogError(ValueError):
    """A list or folder that cannot be used; the message names file and line and says what to do."""


class ListRow(NamedTuple):  # 200,000 of them: a tuple is made in a third of a dataclass's time
    """One clip as a list has it; `part` is the list's own train, test or eval."""

    video_id: str
    start: int
    labels: tuple[str, ...]
    source_split: str

    @property
    def clip_id(self) -> str:
        """`<video id>_<start second, 6 digits>`, VGGSound's way of naming a clip."""
        return format_clip_id(self.video_id, self.start)


@dataclass(frozen=True)
class LabelConflict:
    """A clip that is listed more than once, with different labels: nobody can say which holds."""

    clip_id: str
    labels: tuple[tuple[str, ...], ...]


def format_clip_id(video_id: str, start: int) -> str:
    """The id of the clip of a video that begins at second `start`."""
    return f"{video_id}_{start:06d}"


def to_nfc(name: str) -> str:
    """One spelling for a name: é is one character, whether the list or the file system writes it as two (NFC)."""
    return unicodedata.normalize("NFC", name)


def read_csv_rows(path: Path, config_key: str, skip_initial_space: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is neither empty nor a comment; CatalogError where it is no CSV."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=skip_initial_space, strict=True)
            for row in reader:
                if not row:
                    continue
                if any("\n" in cell for cell in row):
                    raise CatalogError(f"{path}, line {reader.line_num}: a quotation mark that is never closed")
                if not row[0].startswith("#") and any(cell.strip() for cell in row):
                    yield reader.line_num, [to_nfc(cell.strip()) for cell in row]
    except FileNotFoundError:
        raise CatalogError(
            f"{path} is missing: run `make data` for the embedded world, or name your own list in params.yaml ({config_key})"
        ) from None
    except IsADirectoryError:
        raise CatalogError(f"{path} is a folder, but {config_key} in params.yaml must name a CSV file") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise CatalogError(
            f"{path} is not a CSV file in UTF-8 ({error}): is it the right file for {config_key}?"
        ) from None


def parse_seconds(path: Path, line: int, text: str) -> int:
    """A start time as a whole second, from "30" or "30.000"."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 10**6:
        raise CatalogError(f"{path}, line {line}: {text!r} is not a start time in seconds")
    return int(value)


def deduplicate(rows: list[ListRow]) -> tuple[list[ListRow], list[LabelConflict], int]:
    """One row a clip, in order of first mention; clips with contradicting labels; how many rows were repetitions.

    A clip that is listed in train and in test counts as test: what is tested must not be learnt.
    """
    first: dict[str, ListRow] = {}
    versions: dict[str, list[tuple[str, ...]]] = {}
    repeated = 0
    for row in rows:
        name = row.clip_id
        known = first.setdefault(name, row)
        if known is row:
            continue
        repeated += 1
        seen = versions.setdefault(name, [known.labels])
        if row.source_split == "test":
            first[name] = row
        if set(row.labels) not in [set(labels) for labels in seen]:
            seen.append(row.labels)
    wrong = [LabelConflict(name, tuple(labels)) for name, labels in versions.items() if len(labels) > 1]
    for contradiction in wrong:
        del first[contradiction.clip_id]
    return list(first.values()), wrong, repeated
