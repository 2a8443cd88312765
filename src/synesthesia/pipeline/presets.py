"""Presets: complete parameter files in `params/`, one of which is active as `params.yaml`.

    python -m synesthesia.pipeline.presets use paper       copies params/paper.yaml to params.yaml
    python -m synesthesia.pipeline.presets plan paper      prints the stages that `dvc repro` would run; changes nothing
    python -m synesthesia.pipeline.presets check           checks params.yaml and every preset

The make variable SIZE=paper and the targets `plan` and `check` call these commands.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from synesthesia import config, models
from synesthesia.utils import io, yaml_file

PARAMS_FILE = Path("params.yaml")
PRESETS_DIR = Path("params")


class PresetError(ValueError):
    """Raised if a preset cannot be used; the message says why and what to do."""


def find_preset(preset_name: str) -> Path:
    """Find and check the parameter file of a preset.

    Args:
        preset_name: Name of a file in `params/`, without suffix.

    Returns:
        Path of the file.

    Raises:
        PresetError: There is no such preset.
        ConfigError: The preset has wrong keys or values.
    """
    path = PRESETS_DIR / f"{preset_name}.yaml"
    if not path.exists():
        names = sorted(p.stem for p in PRESETS_DIR.glob("*.yaml"))
        available = ", ".join(names) or "none: run this command in the project's root folder"
        raise PresetError(f"no preset {preset_name!r}; available: {available}")
    config.load(path)
    return path


def activate(preset_name: str, force: bool = False) -> bool:
    """Copy a preset to params.yaml, unless params.yaml already has the same values.

    Args:
        preset_name: Name of the preset.
        force: Whether to overwrite a params.yaml that differs from every preset.

    Returns:
        Whether params.yaml changed.

    Raises:
        PresetError: There is no such preset, or params.yaml has edits that would be lost.
        ConfigError: The preset has wrong keys or values.
    """
    source = find_preset(preset_name)
    if PARAMS_FILE.exists():
        try:
            values = yaml_file.load(PARAMS_FILE)
        except yaml_file.YamlFileError:
            values = None
        if values == yaml_file.load(source):
            return False
        if not force and not any(values == yaml_file.load(path) for path in PRESETS_DIR.glob("*.yaml")):
            raise PresetError(
                f"{PARAMS_FILE} has edits that would be lost (it differs from every file in {PRESETS_DIR}/); copy it "
                f"to {PRESETS_DIR}/<name>.yaml to use it as `SIZE=<name>`, or add --force"
            )
    with io.atomic_path(PARAMS_FILE) as tmp_path:
        shutil.copyfile(source, tmp_path)
    return True


def check() -> list[Path]:
    """Check params.yaml and every preset.

    Returns:
        The checked files.

    Raises:
        ConfigError: A file has wrong keys or values; the message names all of them.
        PresetError: A model's family is unknown, or cannot be asked in its condition.
    """
    files = [PARAMS_FILE, *sorted(PRESETS_DIR.glob("*.yaml"))]
    for path in files:
        errors = []
        for name, model_config in config.load(path).models.items():
            try:
                models.check_entry(model_config, name)
            except models.ModelError as error:
                errors.append(str(error))
        if errors:
            raise PresetError(f"{path}:\n" + "\n".join(errors))
    return files


def resolve_graph(preset_name: str | None = None) -> Iterator[tuple[str, str, list[str]]]:
    """Resolve DVC's graph of a preset.

    Works in a temporary folder from dvc.yaml and the preset alone, so that it needs no data and changes no file.

    Args:
        preset_name: Name of the preset; None resolves params.yaml.

    Yields:
        Name, command and names of the direct dependencies of each stage item, in an order in which they can run.

    Raises:
        PresetError: There is no such preset.
        ConfigError: The preset has wrong keys or values.
    """
    import networkx
    from dvc.repo import Repo

    source = find_preset(preset_name) if preset_name else PARAMS_FILE
    config.load(source)
    logging.getLogger("dvc").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile("dvc.yaml", Path(folder, "dvc.yaml"))
        shutil.copyfile(source, Path(folder, "params.yaml"))
        repo = Repo.init(folder, no_scm=True)
        try:
            graph = repo.index.graph  # an edge leads from a stage to its dependency
            position = {stage: index for index, stage in enumerate(repo.index.stages)}
            reverse = graph.reverse(copy=True)
            for stage in networkx.lexicographical_topological_sort(reverse, key=position.__getitem__):
                dependencies = sorted(graph.successors(stage), key=position.__getitem__)
                yield stage.name, stage.cmd, [dependency.name for dependency in dependencies]
        finally:
            repo.close()


def print_plan(preset_name: str | None = None) -> None:
    """Print the stage items of a preset with their commands and dependencies.

    Args:
        preset_name: Name of the preset; None prints those of params.yaml.
    """
    nodes = list(resolve_graph(preset_name))
    width = max(len(name) for name, _, _ in nodes)
    for name, command, dependencies in nodes:
        suffix = f"   # after {_summarize_items(dependencies)}" if dependencies else ""
        print(f"{name:{width}}  {command}{suffix}")
    if preset_name:
        source = f"{PRESETS_DIR}/{preset_name}.yaml; `make SIZE={preset_name}` runs them"
    else:
        source = f"{PARAMS_FILE}; `make` runs them"
    print(f"\n{len(nodes)} stage items of {source}. Nothing was run or changed.")


def _summarize_items(item_names: list[str]) -> str:
    """Shorten `evaluate@a, evaluate@b, evaluate@c` to `evaluate (3)`."""
    counts: dict[str, int] = {}
    for name in item_names:
        stage = name.split("@")[0]
        counts[stage] = counts.get(stage, 0) + 1
    return ", ".join(stage if count == 1 else f"{stage} ({count})" for stage, count in counts.items())


def main(argv: list[str] | None = None) -> None:
    """Run the command line; errors exit with code 1 and one sentence.

    Args:
        argv: Arguments; None reads sys.argv.
    """
    parser = argparse.ArgumentParser(
        prog="python -m synesthesia.pipeline.presets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("use", help="copy a preset to params.yaml")
    command.add_argument("preset")
    command.add_argument("--force", action="store_true", help="overwrite edits in params.yaml")
    command = commands.add_parser("plan", help="print the stages of a preset")
    command.add_argument("preset", nargs="?", help="default: params.yaml")
    commands.add_parser("check", help="check params.yaml and every preset")
    options = parser.parse_args(argv)
    try:
        if options.command == "plan":
            print_plan(options.preset)
        elif options.command == "check":
            print("valid: " + ", ".join(map(str, check())))
        elif activate(options.preset, options.force):
            print(f"params.yaml is now {PRESETS_DIR}/{options.preset}.yaml")
    except (PresetError, config.ConfigError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
