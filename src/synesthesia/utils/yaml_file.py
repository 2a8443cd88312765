"""Files that people write in YAML, read as DVC reads them: YAML 1.2, where `off`, `no`, and `12:30` are text.

DVC rewrites params.yaml as YAML 1.2 (`dvc exp run -S`); a reader of another version would see other values in the same
file. ruamel.yaml is the library that DVC reads and writes with.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLStreamError

MAX_BYTES = 10_000_000


class YamlFileError(ValueError):
    """A YAML file cannot be read; the message names the line and the cause, but not the file."""


def load(path: str | os.PathLike) -> Any:
    """Read a YAML 1.2 file in UTF-8.

    Args:
        path: The file.

    Returns:
        Its content: dicts, lists, and scalars.

    Raises:
        OSError: The file cannot be read.
        YamlFileError: It is not YAML, not UTF-8, or has a key twice in one mapping.
    """
    data = Path(path).read_bytes()
    if len(data) > MAX_BYTES:
        raise YamlFileError(f"the file has {len(data):,} bytes: too many for a file that people write")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlFileError(
            f"line {line}: byte 0x{data[error.start]:02x} is not UTF-8: save the file with the encoding UTF-8"
        ) from None
    return loads(text)


def loads(text: str) -> Any:
    """Read YAML 1.2.

    Args:
        text: The content of a file.

    Returns:
        The same as `load`.

    Raises:
        YamlFileError: The text is not YAML, or has a key twice in one mapping.
    """
    try:
        return YAML(typ="safe", pure=True).load(text)
    except DuplicateKeyError as error:
        raise YamlFileError(f"{_position(error)}{_first_line(error.problem)}: remove one of the two") from None
    except MarkedYAMLError as error:
        raise YamlFileError(
            f"{_position(error)}not valid YAML: {_first_line(error.problem or error.context)}"
        ) from None
    except (YAMLError, YAMLStreamError) as error:
        raise YamlFileError(f"not valid YAML: {_first_line(str(error))}") from None
    except RecursionError:
        raise YamlFileError("not valid YAML: nested too deeply") from None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, AssertionError) as error:
        # constructors of dates and numbers raise what Python raises; so does the parser for some damaged inputs
        raise YamlFileError(f"not valid YAML: {_first_line(str(error))}") from None


def _position(error: MarkedYAMLError) -> str:
    return f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""


def _first_line(text: str | None) -> str:
    return (text or "unknown cause").strip().partition("\n")[0]
