"""Log to MLflow every output below `out/` that it does not have yet: `make log`.

Not a stage. Iterates over the stages and items of dvc.yaml, builds each record with the stage's
`build_record(config, item)`, and logs those that MLflow lacks. Useful in a clone that pulled outputs, for outputs
written while MLflow was not reachable, and for the data versions of outputs, which DVC knows only after a stage ended.
Outputs that do not match the current parameters or code are skipped, since their record would be wrong.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from synesthesia import config as configuration
from synesthesia import tracking
from synesthesia.utils import yaml_file


def list_items(config: configuration.Config, stage: str) -> list[str | None]:
    """List the items of a stage.

    Args:
        config: The configuration.
        stage: Name of the stage.

    Returns:
        Keys of models, respondents or settings; [None] for a stage without items.
    """
    if stage == "evaluate":
        return list(config.models)
    if stage == "import_answers":
        return list(config.import_answers.respondents)
    if stage in ("distill", "evaluate_students"):
        return list(config.distill.settings)
    return [None]


def find_outdated(root: Path = Path()) -> dict[str, str]:
    """Find stage items whose outputs do not match the current parameters, code or inputs.

    Files that are only missing, such as the raw data in a clone that pulled results, do not make outputs outdated.

    Args:
        root: Root folder of the project.

    Returns:
        Stage item -> what changed.

    Raises:
        TrackingError: `dvc status` fails.
    """
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines()
        raise tracking.TrackingError(f"`dvc status` fails: {lines[-1] if lines else 'no reason given'}")
    outdated = {}
    for name, entries in json.loads(result.stdout or "{}").items():
        changes = [change for entry in entries for change in _iter_changes(entry)]
        if changes:
            outdated[name] = ", ".join(changes)
    return outdated


def iter_records(
    config: configuration.Config, stages: list[str], outdated: dict[str, str]
) -> Iterator[tracking.Record]:
    """Build the record of every stage item whose outputs exist, and print which items are skipped.

    Args:
        config: The configuration.
        stages: Names of the stages, in order.
        outdated: Stage items to skip, with the reason.

    Yields:
        The records, in the order of the stages.
    """
    for stage in stages:
        module = importlib.import_module(f"synesthesia.pipeline.{stage}")
        if not hasattr(module, "build_record"):
            print(f"{stage}: has no build_record(config, item), cannot be logged")
            continue
        for item in list_items(config, stage):
            name = stage + (f"@{item}" if item else "")
            if name in outdated:
                print(f"{name}: skipped, run `dvc repro` first ({outdated[name]})")
                continue
            record = module.build_record(config, item)
            if record is None:
                print(f"{name}: no outputs")
            else:
                yield record


def _iter_changes(status_entry: dict | str) -> Iterator[str]:
    """Yield what changed according to one entry of `dvc status --json`."""
    if isinstance(status_entry, str):
        yield status_entry  # "changed command"
        return
    for paths in status_entry.values():
        for path, state in paths.items():
            if isinstance(state, dict):
                yield from (f"{path}: {key}" for key in state)
            elif state not in ("deleted", "not in cache"):
                yield f"{path} {state}"


def main() -> None:
    """Log all records; exit with code 1 and one sentence if MLflow or DVC fails."""
    try:
        config = configuration.load()
        stages = list(yaml_file.load("dvc.yaml")["stages"])
        num_logged = tracking.log_records(
            iter_records(config, stages, find_outdated()),
            lambda record, is_new: print(f"{record.name}: {'logged' if is_new else 'already logged'}"),
        )
    except (configuration.ConfigError, tracking.TrackingError) as error:
        sys.exit(str(error))
    print(f"{num_logged} new runs; `make ui` shows them")


if __name__ == "__main__":
    main()
