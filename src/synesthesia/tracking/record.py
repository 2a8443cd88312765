"""The results of one stage item as data, independent of MLflow."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import BaseModel

from synesthesia.utils import hashing

MetricPoint = tuple[str, int, float]  # name, step, value


@dataclass(frozen=True)
class RegisteredModel:
    """A folder that becomes a version of a registered model.

    Attributes:
        name: Name of the registered model.
        folder: The model's files.
        score: Accuracy on the analysis split. The stage that trains the model may not know it yet; a later record of
            the same folder adds it.
        eligible: False for models that saw ground truth: their alias is `upper-bound`, never `best`.
    """

    name: str
    folder: str
    score: float | None = None
    eligible: bool = True


@dataclass(frozen=True)
class Record:
    """One run, built from parameters and outputs on disk alone, so that it can be built again at any time.

    Attributes:
        stage: Name of the DVC stage.
        item: Its item, e.g. a model or a setting.
        parameters: Flat parameters, see `flatten`.
        metrics: Final values.
        history: (name, step, value) triples, or the path of a CSV file: columns `name,step,value`, or a step (or
            epoch) column first and one column per metric.
        artifacts: Files and folders, relative to the project; a model's folder need not be among them.
        inputs: Dependencies whose data versions become tags, relative to the project.
        model: The model to register.
    """

    stage: str
    item: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    history: Sequence[MetricPoint] | str | os.PathLike[str] = field(default_factory=list)
    artifacts: Sequence[str | os.PathLike[str]] = field(default_factory=list)
    inputs: Sequence[str | os.PathLike[str]] = field(default_factory=list)
    model: RegisteredModel | None = None

    def __post_init__(self) -> None:
        for name, value in self.metrics.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{self.name}: metric {name} must be a number, it is {value!r}")
        set_attribute = object.__setattr__
        set_attribute(self, "parameters", {str(k): v for k, v in self.parameters.items()})
        set_attribute(self, "metrics", {str(k): float(v) for k, v in self.metrics.items()})
        set_attribute(self, "artifacts", [os.fspath(p) for p in self.artifacts])
        set_attribute(self, "inputs", [os.fspath(p) for p in self.inputs])
        if isinstance(self.history, os.PathLike):
            set_attribute(self, "history", os.fspath(self.history))

    @property
    def name(self) -> str:
        """`stage` or `stage@item`, as in DVC."""
        return self.stage + (f"@{self.item}" if self.item else "")

    def read_history(self) -> list[MetricPoint]:
        """Read the metrics over time.

        Returns:
            (name, step, value) triples.
        """
        if not isinstance(self.history, str | os.PathLike):
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
        """Map a path on disk to a path in the run.

        Args:
            path: Path of an artifact.

        Returns:
            The path below the stage's own folder if it lies there, else the bare name.
        """
        for base in (Path("out", self.stage, self.item or ""), Path("out", self.stage)):
            if Path(path) != base and Path(path).is_relative_to(base):
                return Path(path).relative_to(base).as_posix()
        return Path(path).name

    def artifact_paths(self) -> dict[str, str]:
        """Map the uploads and the model's folder to paths in the run, none of them twice.

        Returns:
            Paths in the run by path on disk: `artifact_path`, or where two are equal the path below the project.
        """
        model = [self.model.folder] if self.model else []
        paths = {path: self.artifact_path(path) for path in (*self.list_uploads(), *model)}
        counts = Counter(paths.values())
        return {
            path: Path(os.path.relpath(path)).as_posix().replace("..", "_") if counts[target] > 1 else target
            for path, target in paths.items()
        }

    def list_uploads(self) -> list[str]:
        """List files and folders to upload, without the model's folder, which belongs to its version.

        Returns:
            Paths without duplicates.
        """
        history = [self.history] if isinstance(self.history, str | os.PathLike) else []
        return list(dict.fromkeys(os.fspath(path) for path in (*self.artifacts, *history)))

    def fingerprint(self) -> str:
        """Hash the record and every byte of its artifacts.

        Returns:
            SHA-256 in hexadecimal, the same for the same results on any machine.

        Raises:
            FileNotFoundError: An artifact is missing.
        """
        content = asdict(self)
        content["history"] = sorted(map(repr, self.read_history()))
        model = [self.model.folder] if self.model else []
        content["files"] = {path: hashing.hash_path(path) for path in sorted({*self.list_uploads(), *model})}
        return hashing.hash_json(content)


def flatten(values: object, prefix: str = "") -> dict[str, object]:
    """Flatten nested parameters: {"lora": {"rank": 16}} becomes {"lora.rank": 16}.

    Args:
        values: A mapping, a block of `config`, or a single value; lists become text.
        prefix: Name of the values.

    Returns:
        Values by dotted name.
    """
    if isinstance(values, BaseModel):
        values = values.model_dump()
    if not isinstance(values, Mapping):
        return {prefix: ", ".join(map(str, values)) if isinstance(values, list | tuple) else values}
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
