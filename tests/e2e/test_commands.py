"""The commands around the study: Makefile, CI, the locked packages."""

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
    """`make` that only prints, as if everything were installed."""
    command = ["make", "--no-print-directory", "--dry-run", "--old-file=.venv/.ready", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def workflow():
    return yaml.safe_load(WORKFLOW.read_text())


def steps(job):
    return workflow()["jobs"][job]["steps"]


def commands(job):
    return "\n".join(step.get("run", "") for step in steps(job))


def test_every_target_that_the_issue_asks_for_is_there_and_explained():
    asked = {"install", "test", "check", "data", "ui", "log", "dry", "lint", "bench", "pretrain", "clean", "help"}
    assert asked <= TARGETS
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert asked <= {line.split()[1] for line in shown.splitlines()}


@pytest.mark.parametrize("target", sorted(TARGETS - {"log", "help"}))
def test_a_target_can_be_resolved(target):
    result = make(target)
    assert result.returncode == 0, result.stderr


def test_plain_make_is_the_study():
    said = make().stdout
    assert "synesthesia.pipeline.presets check" in said
    assert said.index("synesthesia.pipeline.presets check") < said.index("dvc repro")
    assert "out/report/index.html" in said
    assert "sizes use" not in said


def test_a_size_is_put_in_place_before_anything_else():
    said = make("SIZE=paper").stdout
    assert said.index("sizes use paper") < said.index("sizes check") < said.index("dvc repro")


def test_a_dry_run_runs_nothing_but_itself():
    said = [line for line in make("dry", "SIZE=paper").stdout.splitlines() if line]
    assert said == [".venv/bin/python -m synesthesia.pipeline.presets dry paper"]


def test_tests_without_torch_run_first():
    said = make("test").stdout
    assert said.index('-m "not torch and not slow"') < said.index('-m "torch or slow"')


def test_rays_tests_are_run_by_their_own_command_alone():
    assert "--ignore tests/integration/test_ray_executor.py" in make("test").stdout
    assert make("test-ray").stdout.rstrip().endswith("-m pytest tests/integration/test_ray_executor.py")


def test_the_user_interface_stays_on_this_machine():
    assert "--host 127.0.0.1" in make("ui").stdout


def test_ci_runs_the_tests_and_is_executable():
    text = (ROOT / ".ci/run").read_text()
    assert "set -euo pipefail" in text
    assert text.rstrip().endswith("make test\nmake test-ray")
    assert os.access(ROOT / ".ci/run", os.X_OK)
    subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=True)


def test_the_workflow_tests_every_push_and_pull_request():
    events = workflow()[True]  # YAML reads `on` as true
    assert set(events) == {"push", "pull_request"}
    assert "make test" in commands("test")
    assert "paths" not in (events["pull_request"] or {})


def test_the_study_runs_when_parameters_stages_or_code_changed():
    assert "params.yaml params dvc.yaml src" in commands("test")
    study = workflow()["jobs"]["study"]
    assert study["if"] == "needs.test.outputs.study == 'true'"
    assert study["needs"] == "test"
    assert any(step.get("run") == "make" for step in study["steps"])


def test_the_study_posts_what_changed_and_fails_below_a_bound():
    said = make("compare", "BASE=abc").stdout
    assert "metrics diff --md abc" in said
    assert "params diff --md abc" in said
    text = commands("study")
    assert "GITHUB_STEP_SUMMARY" in text
    assert "gh pr comment" in text
    assert steps("study")[-1]["run"] == "make bounds"
    assert "synesthesia.analysis.thresholds" in make("bounds").stdout


def test_the_workflow_calls_only_targets_that_exist():
    called = set()
    for job in workflow()["jobs"]:
        for line in commands(job).splitlines():
            words = shlex.split(line, comments=True) if line.strip().startswith("make") else []
            called |= {word for word in words[1:] if re.fullmatch("[a-z][a-z-]*", word)}
    assert {"test", "test-ray", "bounds", "compare"} <= called <= TARGETS


@pytest.mark.parametrize("job", ["test", "study"])
def test_the_workflows_scripts_are_valid_bash(job):
    for step in steps(job):
        if "run" in step:
            text = re.sub(r"\$\{\{.*?\}\}", "x", step["run"])
            subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_every_dependency_that_make_installs_is_locked_at_the_projects_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    locked = re.findall(r"^([\w.\-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert {tuple(re.sub(r"\[.*\]", "", want).replace("ruamel.", "ruamel-").split("==")) for want in wanted} <= set(
        locked
    )


def test_every_locked_package_has_hashes_and_no_registry_is_named():
    text = (ROOT / "requirements.lock").read_text()
    for block in re.split(r"\n(?=\S)", text):
        if "==" in block.split("\n")[0] and not block.startswith("#"):
            assert "--hash=sha256:" in block, block.split("\n")[0]
    for file in (ROOT / "requirements.lock", ROOT / "Makefile", ROOT / ".ci/run", WORKFLOW):
        content = file.read_text()
        assert not re.search(r"https?://|file://|--(?:extra-)?index-url|--find-links", content), file
