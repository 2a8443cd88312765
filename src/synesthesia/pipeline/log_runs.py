"""Enters into MLflow what is under out/ and not there yet: `make log`.

No stage of the study: it goes through dvc.yaml's stages and items, asks each stage's `build_record(config, item)` what its
outs say (None: there are none), and adds those records that MLflow lacks. For a clone that only pulled outputs, for
outs made while MLflow could not be reached, and for the data versions of outs, which DVC knows only once a stage has
ended. Outs that no longer belong to params.yaml or the code are left out: their record would tell a lie.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from synesthesia import config as parameters
from synesthesia import tracking


def list_items(config: parameters.Config, stage: str) -> list[str | None]:
    """What a stage runs over: models, respondents from files, settings, or once."""
    if stage == "evaluate":
        return list(config.models)
    if stage == "import_answers":
        return list(config.import_answers.respondents)
    if stage in ("distill", "evaluate_students"):
        return list(config.distill.settings)
    return [None]


def find_outdated(root: Path = Path()) -> dict[str, str]:
    """Stage items whose outs do not belong to the present parameters, code or inputs, each with what changed.

    What is merely absent (the raw data in a clone that pulled results) makes nothing outdated.
    """
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if result.returncode:
        reason = result.stderr.strip().splitlines()
        raise tracking.TrackingError(f"`dvc status` fails: {reason[-1] if reason else 'no reason given'}")
    changed = {}
    for name, entries in json.loads(result.stdout or "{}").items():
        what = [text for entry in entries for text in _iter_changes(entry)]
        if what:
            changed[name] = ", ".join(what)
    return changed


def _iter_changes(status_entry: dict | str) -> Iterator[str]:
    if isinstance(status_entry, str):
        yield status_entry  # "changed command"
        return
    for paths in status_entry.values():
        for path, state in paths.items():
            if isinstance(state, dict):
                yield from (f"{path}: {key}" for key in state)
            elif state not in ("deleted", "not in cache"):
                yield f"{path} {state}"


def iter_records(config: parameters.Config, stages: list[str], stale: dict[str, str]) -> Iterator[tracking.Record]:
    """Every record that can be made from the outs on disk, in the study's order; says what is left out."""
    for stage in stages:
        module = importlib.import_module(f"synesthesia.pipeline.{stage}")
        if not hasattr(module, "build_record"):
            print(f"{stage}: has no build_record(config, item), cannot be logged")
            continue
        for item in list_items(config, stage):
            name = stage + (f"@{item}" if item else "")
            if name in stale:
                print(f"{name}: left out, `dvc repro` first ({stale[name]})")
                continue
            record = module.build_record(config, item)
            if record is None:
                print(f"{name}: no outs")
            else:
                yield record


def main() -> None:
    """Log everything; exit 1 with a sentence when MLflow or DVC cannot."""
    try:
        params = parameters.load()
        stages = list(yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"])
        new = tracking.log_records(
            iter_records(params, stages, find_outdated()),
            lambda record, added: print(f"{record.name}: {'logged' if added else 'was there'}"),
        )
    except (parameters.ConfigError, tracking.TrackingError) as error:
        sys.exit(str(error))
    print(f"{new} new runs; `make ui` shows them")


if __name__ == "__main__":
    main()
