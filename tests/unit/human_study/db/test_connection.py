"""Database URLs: files and folders of any name, passwords, and what cannot be a URL."""

import os
from urllib.parse import quote

import pytest

from synesthesia.human_study.__main__ import main
from synesthesia.human_study.db.connection import Database, DatabaseError, parse_url, redact_password

pytestmark = pytest.mark.slow  # real databases

FOLDERS = [
    "a b",
    "what?",
    "no. #1",
    "100%",
    "a%20b",
    "a%2Fb",
    "50%25",
    "日本語 😀",
    "x=1&y?z=2",
    "it's; a@b:c",
    "é" * 40,
]


def create_table(url):
    database = Database(url)
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
    database.close()


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("is_quoted", [False, True])
def test_a_file_in_a_folder_of_any_name_is_created_there(tmp_path, folder, is_quoted):
    (tmp_path / folder).mkdir()
    path = f"{tmp_path}/{folder}/study.sqlite"
    create_table(f"sqlite:///{quote(path) if is_quoted else path}")
    assert [p.name for p in tmp_path.iterdir()] == [folder]
    assert os.listdir(tmp_path / folder) == ["study.sqlite"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_relative_url_is_relative_to_a_project_of_any_name(tmp_path, monkeypatch, folder):
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    create_table("sqlite:///humans/study.sqlite")
    assert (tmp_path / folder / "humans/study.sqlite").is_file()
    assert [p.name for p in tmp_path.iterdir()] == [folder]


def test_a_missing_folder_is_created_by_its_decoded_name(tmp_path):
    create_table(f"sqlite:///{tmp_path}/new%20folder/study.sqlite")
    assert (tmp_path / "new folder/study.sqlite").is_file()


def test_options_of_sqlite_are_no_part_of_the_name(tmp_path):
    create_table(f"sqlite:///{tmp_path}/study.sqlite?timeout=7")
    assert os.listdir(tmp_path) == ["study.sqlite"]
    create_table(f"sqlite:///file:{tmp_path}/other.sqlite?uri=true&mode=rwc")
    assert sorted(os.listdir(tmp_path)) == ["other.sqlite", "study.sqlite"]


def test_parts_of_a_url_may_be_quoted_and_the_password_is_never_shown():
    url = parse_url("postgresql+psycopg://u%40x:p%40s%2Fs%25@host:5432/my%20study%3F")
    assert (url.username, url.password, url.database) == ("u@x", "p@s/s%", "my study?")
    assert "p%40s" not in redact_password("postgresql+psycopg://u:p%40s@host/study")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("humans/study.sqlite", "is not a database URL; examples: sqlite:///humans"),
        ("postgresql+psycopg://u:geheim@host:port/study", "is not a database URL"),
        ("postgresql+psycopg://u:ge@heim@host/study", "has two @: write %40 for an @ in the password"),
        ("sqlite://", "a study in memory would be lost"),
        ("sqlite:///:memory:", "a study in memory would be lost"),
        ("nosuch://host/study", "the driver is not installed"),
    ],
)
def test_what_is_no_url_is_one_sentence_without_the_password(monkeypatch, tmp_path, capsys, url, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatabaseError, match=message) as error:
        Database(url)
    assert "heim" not in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_serves_a_study_in_a_project_of_any_name(copy_study, tmp_path, monkeypatch, capsys):
    folder = copy_study().rename(tmp_path / "日本? #1 100%")
    monkeypatch.chdir(folder)
    main(["plan"])
    main(["plan", "--database", f"sqlite:///{folder}/humans/another.sqlite"])
    main(["export"])
    assert capsys.readouterr().out.count(" trials, up to 6 per participant") == 2
    assert {"human_study.sqlite", "another.sqlite", "responses.csv"} <= set(os.listdir(folder / "humans"))
