"""Every command that README and docs print exists, with the options, targets, stages, and parameters it names.

Commands that take minutes are resolved, not run: by make itself (`make -n`), DVC's own parser, or the parser of the
program. The end-to-end tests, CI, and `benchmarks/fresh_clone.py` run the long ones.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from synesthesia import cli, config
from synesthesia.pipeline import presets

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = {"reference/api.md", "reference/cli.md", "reference/parameters.md"}  # from the code, by `make docs`
PROGRAMS = ("make", "dvc", "synesthesia", "python", "accelerate", "git", "pip", "ray", "cd", "cp")
ELSEWHERE = {"accelerate", "git", "pip", "ray", "cd", "cp"}  # programs of others, or of the shell


def iter_commands() -> Iterator[tuple[str, str]]:
    """Yield page and command: lines of shell blocks, and programs in backticks."""
    for page in PAGES:
        name = str(page.relative_to(ROOT)).removeprefix("docs/")
        if name in GENERATED:
            continue
        text = page.read_text()
        lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        inline = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", inline)]
        for line in lines:
            command = re.sub(r"\s+#.*|\\$", "", line).strip().removeprefix("$ ")
            command = re.sub(r"^(?:[A-Z_]+=(?:'[^']*'|\S*) +)+", "", command).removeprefix(".venv/bin/")
            if command.split(" ")[0] in PROGRAMS and (command in ("make",) or " " in command):
                yield name, command


COMMANDS = sorted(set(iter_commands()))


def find_program(command: str) -> str:
    return command.split(" ")[0]


def select(program: str) -> list[tuple[str, str]]:
    return [pair for pair in COMMANDS if find_program(pair[1]) == program]


def test_commands_of_every_program_are_found():
    assert {find_program(command) for _, command in COMMANDS} >= {"make", "dvc", "synesthesia", "python"}
    assert len(COMMANDS) > 60


@pytest.mark.parametrize(("page", "command"), select("make"))
def test_make_resolves(page, command):
    arguments = [
        re.sub(r"[<.].*", "paper", a) if "=" in a and re.search(r"<|\.\.\.", a) else a for a in shlex.split(command)
    ]
    done = subprocess.run([*arguments, "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def stage_items() -> set[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        names = {name for preset in ("embedded", "paper") for name, _, _ in presets.resolve_graph(preset)}
    return names | {name.split("@")[0] for name in names}


@pytest.mark.parametrize(("page", "command"), select("dvc"))
def test_dvc_accepts_the_command_and_knows_its_stages_and_parameters(page, command, stage_items, tmp_path):
    from dvc.cli import parse_args
    from dvc.utils.hydra import apply_overrides

    arguments = shlex.split(command)[1:]
    parse_args(arguments)
    if arguments[0] == "repro":
        targets = [a for a in arguments[1:] if not a.startswith("-") and "<" not in a and "my-" not in a]
        assert set(targets) <= stage_items
    values = [value for flag, value in pairwise(arguments) if flag in ("-S", "--set-param")]
    if values:
        file = tmp_path / "params.yaml"
        file.write_text((ROOT / "params/embedded.yaml").read_text())
        apply_overrides(str(file), values)
        config.load(file)


@pytest.mark.parametrize(("page", "command"), select("synesthesia"))
def test_the_console_script_has_the_subcommand_and_options(page, command, capsys):
    arguments = shlex.split(command)[1:]
    words = [a for a in arguments if re.fullmatch(r"[a-z][a-z-]*", a)]
    if not words:
        assert arguments == ["--help"]
        return
    with pytest.raises(SystemExit) as end:
        cli.main([*words[:2], "--help"] if words[0] in ("human-study", "preset") else [words[0], "--help"])
    assert not end.value.code
    text = capsys.readouterr().out
    assert [a for a in arguments if a.startswith("--") and a not in text] == []


@pytest.mark.parametrize(("page", "command"), select("python"))
def test_the_file_or_module_exists_and_has_the_options(page, command):
    arguments = shlex.split(command)[1:]
    if arguments[0] == "-m":
        spec = importlib.util.find_spec(arguments[1])
        assert spec is not None and spec.origin, arguments[1]
        file = Path(spec.origin)
        file = file.with_name("__main__.py") if file.name == "__init__.py" else file
        arguments = arguments[2:]
    else:
        file, arguments = ROOT / arguments[0], arguments[1:]
    assert file.exists(), file
    source = file.read_text()
    assert [a for a in arguments if a.startswith("--") and f'"{a.partition("=")[0]}"' not in source] == []
