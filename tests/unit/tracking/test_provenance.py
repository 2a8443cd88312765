"""Provenance: the code of a run can be restored from its tags and its patch."""

import subprocess
from pathlib import Path

import pytest

from synesthesia.tracking import provenance


def git(*arguments, cwd="."):
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@somewhere"]
    return subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    monkeypatch.chdir(folder)
    git("init", "--quiet")
    Path("src/a.py").write_text("a = 1\n")
    Path("src/deleted.py").write_text("x\n")
    Path("dvc.lock").write_text("schema: '2.0'\n")
    git("add", "--all")
    git("commit", "--quiet", "--message", "start")
    return folder


def test_a_clean_clone_has_a_commit_and_no_patch(repository):
    tags, patch = provenance.code_tags_and_patch()
    assert tags["git.commit"] == git("rev-parse", "HEAD").strip()
    assert (tags["git.dirty"], patch) == ("false", "")


def test_commit_and_patch_restore_edited_new_binary_and_deleted_files(repository, tmp_path):
    Path("src/a.py").write_text("a = 2  # é\n")
    Path("src/latin.txt").write_bytes(b"caf\xe9\n")
    Path("src/new.bin").write_bytes(bytes(range(256)))
    Path("src/deleted.py").unlink()
    tags, patch = provenance.code_tags_and_patch()
    assert tags["git.dirty"] == "true"

    clone = tmp_path / "clone"
    git("clone", "--quiet", str(repository), str(clone))
    git("checkout", "--quiet", tags["git.commit"], cwd=clone)
    (tmp_path / "uncommitted.patch").write_text(patch, "utf-8", "surrogateescape")
    git("apply", str(tmp_path / "uncommitted.patch"), cwd=clone)

    def content(folder):
        return {p.name: p.read_bytes() for p in (folder / "src").iterdir()}

    assert content(clone) == content(repository)


def test_files_that_dvc_rewrites_are_no_edit(repository):
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    assert provenance.code_tags_and_patch()[0]["git.dirty"] == "false"


def test_new_files_outside_the_code_stay_private(repository):
    Path("notes.txt").write_text("password")
    assert provenance.code_tags_and_patch()[1] == ""


def test_without_git_the_commit_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.code_tags_and_patch() == ({"git.commit": "none"}, "")
