"""Fixtures of the human study's tests."""

from tests.helpers.human_study_fixtures import *  # noqa: F403 - pytest finds fixtures by name
