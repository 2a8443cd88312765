"""Reads `params.yaml` into `Config`; every fault names the full key."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from synesthesia.config.blocks import Config, StrictModel
from synesthesia.config.renamed_keys import iter_renamed_keys
from synesthesia.utils import yaml_file


class ConfigError(ValueError):
    """Raised if `params.yaml` cannot be used; the message names every offending key and what is allowed."""


def load(path: str | os.PathLike = "params.yaml") -> Config:
    """Read and check a parameter file.

    Args:
        path: A YAML file with the structure of `Config`.

    Returns:
        The configuration.

    Raises:
        ConfigError: The file is missing, is not valid YAML, or has wrong keys or values.
    """
    path = Path(path)
    try:
        values = yaml_file.load(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing: run this command in the project's root folder") from None
    except yaml_file.YamlFileError as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        return parse(values)
    except ConfigError as error:
        raise ConfigError(f"{path}:\n{error}") from None


def parse(values: object) -> Config:
    """Check parameters.

    Args:
        values: A mapping as read from YAML.

    Returns:
        The configuration.

    Raises:
        ConfigError: Keys are unknown, renamed or missing, or values are not allowed. One line per key.
    """
    if not isinstance(values, dict):
        raise ConfigError("params.yaml must be a mapping of blocks, see params/embedded.yaml")
    renamed = dict(iter_renamed_keys(values))
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines = [f"{old}: renamed to {new}" for old, new in renamed.items()]
        for detail in error.errors(include_url=False):
            key = _join_key(detail["loc"])
            is_listed = key in renamed or (detail["type"] == "missing" and key in renamed.values())
            if not is_listed:
                lines.append(_format_error(dict(detail)))
        raise ConfigError("\n".join(lines)) from None


def _list_allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    annotation: object = Config
    for part in location:
        fields = getattr(annotation, "model_fields", None)
        if fields is None or part not in fields:
            arguments = getattr(annotation, "__args__", ())
            annotation = next((a for a in arguments if isinstance(a, type) and issubclass(a, StrictModel)), None)
        else:
            annotation = fields[part].annotation
    return list(getattr(annotation, "model_fields", {}))


def _join_key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _format_error(error: dict[str, Any]) -> str:
    """Format a pydantic error (`ErrorDetails`) as one line."""
    location = error["loc"]
    key = _join_key(location) or "params.yaml"
    if error["type"] == "extra_forbidden":
        names = _list_allowed_keys(location[:-1])
        matches = difflib.get_close_matches(str(location[-1]), names, 1)
        return f"{key}: unknown key; " + (f"did you mean {matches[0]}?" if matches else f"allowed: {', '.join(names)}")
    if error["type"] == "missing":
        return f"{key}: missing"
    message = error["msg"].removeprefix("Value error, ")
    value = error.get("input")
    suffix = "" if isinstance(value, dict) else f" (got {value!r})"
    return f"{key}: {message}{suffix}" if location else message
