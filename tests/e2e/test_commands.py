"""Makefile, CI workflow and locked packages."""

import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOW = ROOT / ".github/workflows/study.yml"
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))


def make(*arguments):
    """Run `make --dry-run` as if everything were installed."""
    command = ["make", "--no-print-directory", "--dry-run", "--old-file=.venv/.ready", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def workflow():
    return yaml.safe_load(WORKFLOW.read_text())


def steps(job):
    return workflow()["jobs"][job]["steps"]


def commands(job):
    return "\n".join(step.get("run", "") for step in steps(job))


def test_required_targets_exist_and_have_help():
    required = {
        "install", "test", "test-ray", "check", "data", "repro", "verify", "ui", "log", "plan", "lint", "types", "docs",
        "thresholds", "compare", "human-study", "import-humans", "bench", "bench-gpu", "rehearse", "pretrain", "lock",
        "clean", "help",
    }  # fmt: skip
    assert required <= TARGETS
    output = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert required <= {line.split()[1] for line in output.splitlines()}


@pytest.mark.parametrize("target", sorted(TARGETS - {"log", "help"}))
def test_target_can_be_resolved(target):
    result = make(target)
    assert result.returncode == 0, result.stderr


def test_default_target_runs_the_study():
    output = make().stdout
    assert "synesthesia.pipeline.presets check" in output
    assert output.index("synesthesia.pipeline.presets check") < output.index("dvc repro")
    assert "out/report/index.html" in output
    assert "presets use" not in output


def test_preset_is_activated_first():
    output = make("SIZE=paper").stdout
    assert output.index("presets use paper") < output.index("presets check") < output.index("dvc repro")


def test_plan_runs_only_the_plan_command():
    output = [line for line in make("plan", "SIZE=paper").stdout.splitlines() if line]
    assert output == [".venv/bin/python -m synesthesia.pipeline.presets plan paper"]


def test_tests_without_torch_run_first():
    output = make("test").stdout
    assert output.index('-m "not torch and not slow"') < output.index('-m "torch or slow"')


def test_ray_tests_run_only_in_their_own_target():
    assert "--ignore tests/integration/test_ray_executor.py" in make("test").stdout
    assert make("test-ray").stdout.rstrip().endswith("-m pytest tests/integration/test_ray_executor.py")


def test_mlflow_ui_listens_on_localhost_only():
    assert "--host 127.0.0.1" in make("ui").stdout


def test_ci_runs_the_tests_and_is_executable():
    text = (ROOT / ".ci/run").read_text()
    assert "set -euo pipefail" in text
    assert text.rstrip().endswith("make test\nmake test-ray")
    assert os.access(ROOT / ".ci/run", os.X_OK)
    subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=True)


def test_workflow_tests_every_push_and_pull_request():
    events = workflow()[True]  # YAML parses `on` as true
    assert set(events) == {"push", "pull_request"}
    assert "make test" in commands("test")
    assert "paths" not in (events["pull_request"] or {})


def test_workflow_runs_the_study_if_parameters_stages_or_code_changed():
    assert "params.yaml params dvc.yaml src" in commands("test")
    study = workflow()["jobs"]["study"]
    assert study["if"] == "needs.test.outputs.study == 'true'"
    assert study["needs"] == "test"
    assert any(step.get("run") == "make" for step in study["steps"])


def test_workflow_posts_the_comparison_and_fails_below_a_threshold():
    output = make("compare", "BASE=abc").stdout
    assert "metrics diff --md abc" in output
    assert "params diff --md abc" in output
    text = commands("study")
    assert "GITHUB_STEP_SUMMARY" in text
    assert "gh pr comment" in text
    assert steps("study")[-2]["run"] == "make thresholds"
    assert "dvc exp run -S" in steps("study")[-1]["run"], "after all that reads the study's own results"
    assert "synesthesia.analysis.thresholds" in make("thresholds").stdout


def test_workflow_uses_only_existing_targets():
    called = set()
    for job in workflow()["jobs"]:
        for line in commands(job).splitlines():
            words = shlex.split(line, comments=True) if line.strip().startswith("make") else []
            called |= {word for word in words[1:] if re.fullmatch("[a-z][a-z-]*", word)}
    assert {"test", "test-ray", "thresholds", "compare"} <= called <= TARGETS


@pytest.mark.parametrize("job", ["test", "study"])
def test_workflow_scripts_are_valid_bash(job):
    for step in steps(job):
        if "run" in step:
            text = re.sub(r"\$\{\{.*?\}\}", "x", step["run"])
            subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_every_dependency_is_locked_at_the_version_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dependencies = project["dependencies"] + project["optional-dependencies"]["dev"]
    locked = re.findall(r"^([\w.\-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert {
        tuple(re.sub(r"\[.*\]", "", dependency).replace("ruamel.", "ruamel-").split("=="))
        for dependency in dependencies
    } <= set(locked)


def test_locked_packages_have_hashes_and_no_file_names_a_registry():
    text = (ROOT / "requirements.lock").read_text()
    for block in re.split(r"\n(?=\S)", text):
        if "==" in block.split("\n")[0] and not block.startswith("#"):
            assert "--hash=sha256:" in block, block.split("\n")[0]
    for file in (ROOT / "requirements.lock", ROOT / "Makefile", ROOT / ".ci/run", WORKFLOW):
        content = file.read_text()
        assert not re.search(r"https?://|file://|--(?:extra-)?index-url|--find-links", content), file
