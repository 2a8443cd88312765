"""The study's sizes: complete parameter files under params/, one of which is in use as params.yaml.

From the command line (make's SIZE=paper, `make dry` and `make check` call these):

    python -m synesthesia.pipeline.presets use paper       puts params/paper.yaml in the place of params.yaml
    python -m synesthesia.pipeline.presets dry paper       shows the stages that `dvc repro` would run for it; touches nothing
    python -m synesthesia.pipeline.presets check           checks params.yaml and every preset
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from synesthesia import config as parameters

PARAMS_FILE = Path("params.yaml")
PRESETS_DIR = Path("params")


class PresetError(ValueError):
    """A size that cannot be used; the message says why and what to do."""


def find_preset(preset_name: str) -> Path:
    """The parameter file of a size, checked."""
    path = PRESETS_DIR / f"{preset_name}.yaml"
    if not path.exists():
        known = (
            ", ".join(sorted(p.stem for p in PRESETS_DIR.glob("*.yaml"))) or "none: run from the project's top folder"
        )
        raise PresetError(f"no size {preset_name!r}; known: {known}")
    parameters.load(path)
    return path


def _load_yaml(path: Path) -> object:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def activate(preset_name: str, force: bool = False) -> bool:
    """Put a size's parameters into params.yaml; False when they are there already.

    A params.yaml with values of its own (equal to no preset) is not overwritten unless `force`.
    """
    source = find_preset(preset_name)
    if PARAMS_FILE.exists():
        try:
            present = _load_yaml(PARAMS_FILE)
        except yaml.YAMLError:
            present = None
        if present == _load_yaml(source):
            return False
        if not force and not any(present == _load_yaml(path) for path in PRESETS_DIR.glob("*.yaml")):
            raise PresetError(
                f"{PARAMS_FILE} has edits of its own (it equals none of {PRESETS_DIR}/*.yaml) and would be lost; keep a copy "
                f"as {PRESETS_DIR}/<name>.yaml to use it as `SIZE=<name>`, or add --force"
            )
    beside = PARAMS_FILE.with_name(f"{PARAMS_FILE.name}.{os.getpid()}.tmp")
    shutil.copyfile(source, beside)
    os.replace(beside, PARAMS_FILE)
    return True


def check() -> list[Path]:
    """Check params.yaml and the presets; raise ParamsError naming every wrong key. Returns the files."""
    files = [PARAMS_FILE, *sorted(PRESETS_DIR.glob("*.yaml"))]
    for path in files:
        parameters.load(path)
    return files


def resolve_graph(preset_name: str | None = None) -> Iterator[tuple[str, str, list[str]]]:
    """DVC's own graph of a size, in an order in which it can run: name, command, the stages it waits for.

    Resolved in a temporary folder from dvc.yaml and the preset (no size: params.yaml) alone: needs no data and touches
    no file of the user.
    """
    import networkx
    from dvc.repo import Repo

    source = find_preset(preset_name) if preset_name else PARAMS_FILE
    parameters.load(source)
    logging.getLogger("dvc").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile("dvc.yaml", Path(folder, "dvc.yaml"))
        shutil.copyfile(source, Path(folder, "params.yaml"))
        repo = Repo.init(folder, no_scm=True)
        try:
            dag = repo.index.graph  # an edge goes from a stage to one that it waits for
            order = {stage: number for number, stage in enumerate(repo.index.stages)}
            for stage in networkx.lexicographical_topological_sort(dag.reverse(copy=True), key=order.get):
                waits = sorted(dag.successors(stage), key=order.get)
                yield stage.name, stage.cmd, [other.name for other in waits]
        finally:
            repo.close()


def _summarize_items(item_names: list[str]) -> str:
    """`evaluate@a, evaluate@b, evaluate@c` as `answer (3)`."""
    counts: dict[str, int] = {}
    for name in item_names:
        counts[name.split("@")[0]] = counts.get(name.split("@")[0], 0) + 1
    groups = [stage if count == 1 else f"{stage} ({count})" for stage, count in counts.items()]
    return ", ".join(groups)


def print_plan(preset_name: str | None = None) -> None:
    """Print the graph of a size."""
    nodes = list(resolve_graph(preset_name))
    width = max(len(name) for name, _, _ in nodes)
    for name, command, waits in nodes:
        print(f"{name:{width}}  {command}" + (f"   # after {_summarize_items(waits)}" if waits else ""))
    source = (
        f"{PRESETS_DIR}/{preset_name}.yaml; `make SIZE={preset_name}` runs them"
        if preset_name
        else f"{PARAMS_FILE}; `make` runs them"
    )
    print(f"\n{len(nodes)} stage items of {source}. Nothing was run or changed.")


def main(argv: list[str] | None = None) -> None:
    """Command line; a wrong size is one sentence and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m synesthesia.pipeline.presets", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("use", help="put a size into params.yaml")
    command.add_argument("size")
    command.add_argument("--force", action="store_true", help="overwrite edits of params.yaml")
    command = commands.add_parser("dry", help="show a size's stages")
    command.add_argument("size", nargs="?", help="params.yaml as it is, if not given")
    commands.add_parser("check", help="check params.yaml and every preset")
    options = parser.parse_args(argv)
    try:
        if options.command == "dry":
            print_plan(options.size)
        elif options.command == "check":
            print("good: " + ", ".join(map(str, check())))
        elif activate(options.size, options.force):
            print(f"params.yaml is now {PRESETS_DIR}/{options.size}.yaml")
    except (PresetError, parameters.ConfigError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
