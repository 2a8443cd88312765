"""The `synesthesia` command: subcommands, help, and lazy imports."""

import subprocess
import sys
import types

import pytest

from synesthesia import cli
from synesthesia.pipeline import log_runs, presets


def parse_help(capsys, *arguments):
    with pytest.raises(SystemExit) as error:
        cli.main([*arguments, "--help"])
    assert error.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["check"], ["check"]),
        (["preset", "use", "paper"], ["use", "paper"]),
        (["preset", "use", "paper", "--force"], ["use", "paper", "--force"]),
        (["plan"], ["plan"]),
        (["plan", "paper"], ["plan", "paper"]),
    ],
)
def test_preset_commands_run_the_presets_module(monkeypatch, argv, expected):
    calls = []
    monkeypatch.setattr(presets, "main", calls.append)
    cli.main(argv)
    assert calls == [expected]


def test_log_runs_the_log_module(monkeypatch):
    calls = []
    monkeypatch.setattr(log_runs, "main", lambda: calls.append("log"))
    cli.main(["log"])
    assert calls == ["log"]


@pytest.mark.parametrize("command", cli.FORWARDED_COMMANDS)
@pytest.mark.parametrize("arguments", [[], ["serve", "--port", "8080"], ["--help"], ["folder", "--out=x", "-h"]])
def test_forwarded_command_receives_its_arguments(monkeypatch, command, arguments):
    calls = []
    module = types.SimpleNamespace(main=lambda: calls.append(sys.argv[1:]))
    imported = []
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: imported.append(name) or module)
    monkeypatch.setattr(sys, "argv", [])
    cli.main([command, *arguments])
    assert calls == [arguments]
    assert imported == [cli.FORWARDED_COMMANDS[command][0]]


@pytest.mark.parametrize(("returned", "code"), [(None, None), (0, None), (2, 2)])
def test_exit_code_of_a_forwarded_command_is_kept(monkeypatch, returned, code):
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: types.SimpleNamespace(main=lambda: returned))
    monkeypatch.setattr(sys, "argv", [])
    if code is None:
        cli.main(["thresholds"])
        return
    with pytest.raises(SystemExit) as error:
        cli.main(["thresholds"])
    assert error.value.code == code


@pytest.mark.parametrize("argv", [["check", "extra"], ["plan", "paper", "--force"], ["preset"], ["nonsense"], []])
def test_wrong_usage_exits_with_code_2(argv, capsys):
    with pytest.raises(SystemExit) as error:
        cli.main(argv)
    assert error.value.code == 2
    assert "usage: synesthesia" in capsys.readouterr().err


def test_help_has_an_example_of_every_command(capsys):
    text = parse_help(capsys)
    commands = {"check", "preset", "plan", "log", *cli.FORWARDED_COMMANDS}
    examples = [line.split() for line in text.split("\nExamples:\n")[1].split("\n\n")[0].splitlines()]
    assert {words[1] for words in examples if words[0] == "synesthesia"} == commands
    assert "--force" in parse_help(capsys, "preset", "use")


def test_wrong_preset_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"no preset 'paper'; available: none: run this command in the project's root"):
        cli.main(["preset", "use", "paper"])


@pytest.mark.parametrize("module", [module for module, _ in cli.FORWARDED_COMMANDS.values()])
def test_forwarded_modules_have_a_main_function(module):
    import importlib.util

    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    with open(spec.origin, encoding="utf-8") as file:
        assert "\ndef main(" in file.read()


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom synesthesia import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print({'torch', 'mlflow', 'pandas', 'pydantic', 'dvc'} & set(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr == "set()\n"


def test_console_script_is_declared():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"synesthesia": "synesthesia.cli:main"}
