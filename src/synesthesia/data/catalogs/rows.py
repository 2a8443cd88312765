"""Rows of a label list, and what all list formats share."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class CatalogError(ValueError):
    """Raised when a list or folder is unusable; the message names file and line and says what to do."""


class ListRow(NamedTuple):  # lists have 200,000 rows, and a tuple takes a third of a dataclass's construction time
    """One clip of a list.

    Attributes:
        video_id: YouTube id of the video.
        start: Second of the video at which the clip starts.
        labels: Labels of the clip.
        source_split: The list's own split: train, test, or eval.
    """

    video_id: str
    start: int
    labels: tuple[str, ...]
    source_split: str

    @property
    def clip_id(self) -> str:
        """`<video id>_<start second, 6 digits>`, as VGGSound names its clips."""
        return format_clip_id(self.video_id, self.start)


@dataclass(frozen=True)
class LabelConflict:
    """A clip listed several times with different labels.

    Attributes:
        clip_id: Id of the clip.
        labels: The distinct label sets, in list order.
    """

    clip_id: str
    labels: tuple[tuple[str, ...], ...]


def format_clip_id(video_id: str, start: int) -> str:
    """Return the id of the clip of `video_id` that begins at second `start`."""
    return f"{video_id}_{start:06d}"


def to_nfc(name: str) -> str:
    """Normalize a name to Unicode NFC, so that lists and file systems spell it alike."""
    return unicodedata.normalize("NFC", name)


def read_csv_rows(path: Path, config_key: str, skip_initial_space: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Read the rows of a CSV file, except empty rows and comments (`#`).

    Args:
        path: A CSV file in UTF-8, with or without a byte order mark.
        config_key: The parameter that names the file, for error messages.
        skip_initial_space: Ignore spaces after a comma.

    Yields:
        Line number and cells, stripped and in NFC.

    Raises:
        CatalogError: The file is missing or is not a CSV file.
    """
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
            f"{path} is missing: run `make data` for the embedded study, or name your own list in params.yaml "
            f"({config_key})"
        ) from None
    except IsADirectoryError:
        raise CatalogError(f"{path} is a folder, but {config_key} in params.yaml must name a CSV file") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise CatalogError(
            f"{path} is not a CSV file in UTF-8 ({error}): is it the right file for {config_key}?"
        ) from None


def parse_seconds(path: Path, line: int, text: str) -> int:
    """Parse a start time.

    Args:
        path: The list, for error messages.
        line: Line number in the list, for error messages.
        text: Seconds, e.g. "30" or "30.000".

    Returns:
        The start in seconds, rounded down.

    Raises:
        CatalogError: `text` is not a number in [0, 10**6).
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 10**6:
        raise CatalogError(f"{path}, line {line}: {text!r} is not a start time in seconds")
    return int(value)


def deduplicate(rows: list[ListRow]) -> tuple[list[ListRow], list[LabelConflict], int]:
    """Reduce a list to one row per clip.

    A clip listed in both train and test counts as test, so that no test clip is trained on.

    Args:
        rows: Rows of a list.

    Returns:
        The rows in order of first mention without conflicting clips, the clips with conflicting labels, and the number
        of duplicate rows.
    """
    unique: dict[str, ListRow] = {}
    label_sets: dict[str, list[tuple[str, ...]]] = {}
    num_duplicates = 0
    for row in rows:
        clip_id = row.clip_id
        first = unique.setdefault(clip_id, row)
        if first is row:
            continue
        num_duplicates += 1
        versions = label_sets.setdefault(clip_id, [first.labels])
        if row.source_split == "test":
            unique[clip_id] = row
        if set(row.labels) not in [set(labels) for labels in versions]:
            versions.append(row.labels)
    conflicts = [LabelConflict(clip_id, tuple(labels)) for clip_id, labels in label_sets.items() if len(labels) > 1]
    for conflict in conflicts:
        del unique[conflict.clip_id]
    return list(unique.values()), conflicts, num_duplicates
