"""Reads a CSV file of responses into rows; every fault is one sentence with line and column."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterator
from pathlib import Path

from synesthesia import schemas

COLUMNS = (*schemas.RESPONSE.names,)
MAX_CHARS_SHOWN = 60  # of a cell in an error message
UNICODE_MARKS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_CELL = re.compile(r'"(?:[^"]|"")*"(?=[,\r\n]|\Z)|(?!")[^,\r\n]*')


class ResponseError(ValueError):
    """A file of answers cannot be used; the message names the file, the line, and what is allowed."""


def read_table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a CSV file of responses, without what spreadsheets and R add.

    Args:
        path: The file.

    Returns:
        The names of its columns, and its rows by column, each with the number of its first line.

    Raises:
        ResponseError: The file is no such CSV; the message names the line and the column.
    """
    lines = list(io.StringIO(_read_text(path), newline=""))
    header, rows, unnamed = [], [], []
    for line, cells in _iter_records(lines, path):
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if not header:
            if ",".join(cells).lower() == "sep=,":  # tells Excel which character separates columns
                continue
            header = cells
            while not header[-1]:  # commas at the end
                header.pop()
            unnamed = [0] if not header[0] else []  # row names, as R and pandas write them
            _check_header([name for i, name in enumerate(header) if i not in unnamed], path)
            continue
        while len(cells) > len(header) and not cells[-1]:
            cells.pop()
        if len(cells) != len(header):
            extra = f" (column {len(header) + 1}: {quote(cells[len(header)])})" if len(cells) > len(header) else ""
            raise ResponseError(f"{path}: line {line} has {len(cells)} cells, the header {len(header)}{extra}")
        rows.append((line, {name: cells[i] for i, name in enumerate(header) if i not in unnamed}))
    if not header:
        _check_header([], path)
    return [name for i, name in enumerate(header) if i not in unnamed], rows


def shorten(text: str) -> str:
    """Shorten a cell for a message.

    Args:
        text: Its text.

    Returns:
        At most `MAX_CHARS_SHOWN` characters of it, and an ellipsis for the rest.
    """
    return text if len(text) <= MAX_CHARS_SHOWN else text[:MAX_CHARS_SHOWN] + "…"


def quote(text: str) -> str:
    """Quote a cell for a message.

    Args:
        text: Its text.

    Returns:
        The text as Python writes it, shortened.
    """
    return repr(shorten(text))


def _read_text(path: Path) -> str:
    """Read a UTF-8 file; ResponseError says where another encoding shows."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ResponseError(
            f"{path} is missing: put the CSV there or correct its entry in import_answers.respondents"
        ) from None
    except OSError as error:
        raise ResponseError(f"{path} cannot be read: {error.strerror or error}") from None
    if content.startswith(b"PK\3\4"):
        raise ResponseError(f"{path} is a workbook or a ZIP archive, not text; save the file as CSV in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        mark = next((f", the mark of {name}" for mark, name in UNICODE_MARKS.items() if content.startswith(mark)), "")
        line, column = _locate(content[: error.start].decode("utf-8-sig", "replace"))
        raise ResponseError(
            f"{path}: line {line} is not UTF-8 (byte 0x{content[error.start]:02x} in column {column}{mark}); save the "
            "file as CSV in UTF-8"
        ) from None
    if "\0" in text:
        line, column = _locate(text[: text.index("\0")])
        raise ResponseError(
            f"{path}: line {line} has zero bytes, the first in column {column}, so it is no text in UTF-8 (perhaps "
            "UTF-16); save the file as CSV in UTF-8"
        )
    return text


def _iter_records(lines: list[str], path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield records with the number of their first line; a cell may be as long as the file."""
    default_limit = csv.field_size_limit()  # 131,072 characters, for the whole process
    line = 1
    try:
        csv.field_size_limit(max(default_limit, sum(map(len, lines))))
        reader = csv.reader(lines, strict=True)
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        column = _find_unclosed_cell("".join(lines[line - 1 :]))
        raise ResponseError(
            f"{path}: line {line}: {error} (column {column}: a quote is not closed or not doubled)"
        ) from None
    finally:
        csv.field_size_limit(default_limit)


def _locate(text: str) -> tuple[int, int]:
    """Return the line and the column, both from 1, in which a text before a fault ends."""
    is_quoted, line, column = False, 1, 1
    for match in re.finditer('\r\n?|[",\n]', text):
        if match[0] == '"':
            is_quoted = not is_quoted
        elif match[0] != ",":
            line, column = line + 1, column if is_quoted else 1  # a quoted cell may span lines
        elif not is_quoted:
            column += 1
    return line, column


def _find_unclosed_cell(record: str) -> int:
    """Return the number, from 1, of a record's first cell that is no cell of CSV."""
    position, column = 0, 1
    while match := _CELL.match(record, position):
        if record[match.end() : match.end() + 1] != ",":
            break
        position, column = match.end() + 1, column + 1
    return column


def _check_header(header: list[str], path: Path) -> None:
    if len(header) == 1 and re.search("[;\t]", header[0]):
        raise ResponseError(f"{path}: columns must be separated by commas, the first line is {quote(header[0])}")
    errors = []
    for name in dict.fromkeys(header):
        if name not in COLUMNS:
            matches = difflib.get_close_matches(name, COLUMNS, 1)
            place = "" if name else f" (column {header.index(name) + 1} of the first line)"
            errors.append(f"unknown column {quote(name)}{place}" + (f", did you mean {matches[0]}?" if matches else ""))
        elif header.count(name) > 1:
            errors.append(f"column {name} occurs twice")
    if "question_id" not in header:
        errors.append("no column question_id")
    if not {"choice", "text"} & set(header):
        errors.append("no column choice (or text)")
    if errors:
        raise ResponseError(f"{path}: {'; '.join(errors)}. Known columns: {', '.join(COLUMNS)}")
