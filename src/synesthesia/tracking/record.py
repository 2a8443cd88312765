"""What one stage item did, as data: no MLflow here."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

MetricPoint = tuple[str, int, float]  # name, step, value


@dataclass(frozen=True)
class RegisteredModel:
    """A folder that becomes a version of the registered model `name`.

    `score` is the accuracy on the analysis split. The stage that makes the model may not know it yet: a later
    record naming the same folder brings it. `eligible` is False for models that saw ground truth: their alias is
    `upper-bound`, never `best`.
    """

    name: str
    folder: str
    score: float | None = None
    eligible: bool = True


@dataclass(frozen=True)
class Record:
    """One run: built purely from parameters and outs on disk, so that it can be made again at any time.

    `history` is a list of (name, step, value), or the path of a CSV: columns `name,step,value`, or a step (or epoch)
    column first and one column a metric. `artifacts` are files and folders; a model's folder need not be among them.
    `inputs` are the dependencies whose data versions become tags. Paths are relative to the project's top folder.
    """

    stage: str
    item: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    history: list[MetricPoint] | str | os.PathLike = field(default_factory=list)
    artifacts: list[str | os.PathLike] = field(default_factory=list)
    inputs: list[str | os.PathLike] = field(default_factory=list)
    model: RegisteredModel | None = None

    def __post_init__(self) -> None:
        for name, value in self.metrics.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{self.name}: metric {name} must be a number, it is {value!r}")
        put = object.__setattr__
        put(self, "parameters", {str(k): v for k, v in self.parameters.items()})
        put(self, "metrics", {str(k): float(v) for k, v in self.metrics.items()})
        put(self, "artifacts", [os.fspath(p) for p in self.artifacts])
        put(self, "inputs", [os.fspath(p) for p in self.inputs])
        if isinstance(self.history, os.PathLike):
            put(self, "history", os.fspath(self.history))

    @property
    def name(self) -> str:
        """`stage` or `stage@item`, as DVC writes it."""
        return self.stage + (f"@{self.item}" if self.item else "")

    def to_json(self) -> str:
        """One line for the sidecar."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The inverse of `to_json`."""
        values = json.loads(text)
        if values["model"]:
            values["model"] = RegisteredModel(**values["model"])
        if not isinstance(values["history"], str):
            values["history"] = [tuple(point) for point in values["history"]]
        return cls(**values)

    def read_history(self) -> list[MetricPoint]:
        """The metrics over time, read from the CSV where they are in one."""
        if not isinstance(self.history, str):
            return [(str(name), int(step), float(value)) for name, step, value in self.history]
        with open(self.history, newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if header == ["name", "step", "value"]:
                return [(name, int(float(step)), float(value)) for name, step, value in rows]
            return [
                (name, int(float(row[0])), float(cell))
                for row in rows
                for name, cell in zip(header[1:], row[1:], strict=False)
                if cell != ""
            ]

    def artifact_path(self, path: str) -> str:
        """Where an artifact goes inside the run: its path below the stage's own folder, else its bare name."""
        for base in (Path("out", self.stage, self.item or ""), Path("out", self.stage)):
            if Path(path) != base and Path(path).is_relative_to(base):
                return Path(path).relative_to(base).as_posix()
        return Path(path).name

    def list_uploads(self) -> list[str]:
        """Every file and folder of the run, each once; a model's folder goes with its version, see registry.py."""
        return list(dict.fromkeys([*self.artifacts, *([self.history] if isinstance(self.history, str) else [])]))

    def fingerprint(self) -> str:
        """SHA-256 over the record and every byte of its artifacts: equal for equal work, on any machine."""
        content = asdict(self)
        content["history"] = sorted(map(repr, self.read_history()))
        model = [self.model.folder] if self.model else []
        content["files"] = {p: digest(p) for p in sorted({*self.list_uploads(), *model})}
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def list_files(path: str | os.PathLike) -> list[Path]:
    """The files of a folder in a fixed order, or the file itself."""
    path = Path(path)
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file())
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing")
    return [path]


def digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file, or of a folder's names and bytes."""
    total = hashlib.sha256()
    for file in list_files(path):
        name = file.relative_to(path).as_posix()
        with open(file, "rb") as content:
            total.update(f"{name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def flatten(values: object, prefix: str = "") -> dict[str, object]:
    """Nested parameters as one flat dict: {"lora": {"rank": 16}} becomes {"lora.rank": 16}.

    Takes a mapping or a parameter block; lists become text.
    """
    if hasattr(values, "model_dump"):
        values = values.model_dump()
    if not isinstance(values, Mapping):
        return {prefix: ", ".join(map(str, values)) if isinstance(values, list | tuple) else values}
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def sanitize_name(name: str) -> str:
    """A name that MLflow accepts for metrics, parameters and tags (labels may hold commas, brackets, accents)."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:250]
