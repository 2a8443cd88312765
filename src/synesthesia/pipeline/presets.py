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

IN_USE = Path("params.yaml")
PRESETS = Path("params")


class SizeError(ValueError):
    """A size that cannot be used; the message says why and what to do."""


def preset(size: str) -> Path:
    """The parameter file of a size, checked."""
    path = PRESETS / f"{size}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml"))) or "none: run from the project's top folder"
        raise SizeError(f"no size {size!r}; known: {known}")
    parameters.load(path)
    return path


def _values(path: Path) -> object:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def use(size: str, force: bool = False) -> bool:
    """Put a size's parameters into params.yaml; False when they are there already.

    A params.yaml with values of its own (equal to no preset) is not overwritten unless `force`.
    """
    source = preset(size)
    if IN_USE.exists():
        try:
            present = _values(IN_USE)
        except yaml.YAMLError:
            present = None
        if present == _values(source):
            return False
        if not force and not any(present == _values(path) for path in PRESETS.glob("*.yaml")):
            raise SizeError(
                f"{IN_USE} has edits of its own (it equals none of {PRESETS}/*.yaml) and would be lost; keep a copy "
                f"as {PRESETS}/<name>.yaml to use it as `SIZE=<name>`, or add --force"
            )
    beside = IN_USE.with_name(f"{IN_USE.name}.{os.getpid()}.tmp")
    shutil.copyfile(source, beside)
    os.replace(beside, IN_USE)
    return True


def check() -> list[Path]:
    """Check params.yaml and the presets; raise ParamsError naming every wrong key. Returns the files."""
    files = [IN_USE, *sorted(PRESETS.glob("*.yaml"))]
    for path in files:
        parameters.load(path)
    return files


def graph(size: str | None = None) -> Iterator[tuple[str, str, list[str]]]:
    """DVC's own graph of a size, in an order in which it can run: name, command, the stages it waits for.

    Resolved in a temporary folder from dvc.yaml and the preset (no size: params.yaml) alone: needs no data and touches
    no file of the user.
    """
    import networkx
    from dvc.repo import Repo

    source = preset(size) if size else IN_USE
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


def _short(names: list[str]) -> str:
    """`answer@a, answer@b, answer@c` as `answer (3)`."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name.split("@")[0]] = counts.get(name.split("@")[0], 0) + 1
    groups = [stage if count == 1 else f"{stage} ({count})" for stage, count in counts.items()]
    return ", ".join(groups)


def dry(size: str | None = None) -> None:
    """Print the graph of a size."""
    nodes = list(graph(size))
    width = max(len(name) for name, _, _ in nodes)
    for name, command, waits in nodes:
        print(f"{name:{width}}  {command}" + (f"   # after {_short(waits)}" if waits else ""))
    source = f"{PRESETS}/{size}.yaml; `make SIZE={size}` runs them" if size else f"{IN_USE}; `make` runs them"
    print(f"\n{len(nodes)} stage items of {source}. Nothing was run or changed.")


def main(arguments: list[str] | None = None) -> None:
    """Command line; a wrong size is one sentence and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m synesthesia.pipeline.presets", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("use", help="put a size into params.yaml")
    command.add_argument("size")
    command.add_argument("--force", action="store_true", help="overwrite edits of params.yaml")
    command = commands.add_parser("dry", help="show a size's stages")
    command.add_argument("size", nargs="?", help="params.yaml as it is, if not given")
    commands.add_parser("check", help="check params.yaml and every preset")
    options = parser.parse_args(arguments)
    try:
        if options.command == "dry":
            dry(options.size)
        elif options.command == "check":
            print("good: " + ", ".join(map(str, check())))
        elif use(options.size, options.force):
            print(f"params.yaml is now {PRESETS}/{options.size}.yaml")
    except (SizeError, parameters.ParamsError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
