"""Consent text: a Markdown file that the researcher edits, with placeholders for the study's parameters."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from synesthesia.config import HumanStudyConfig

SECONDS_PER_TRIAL = 17  # a ten-second clip plus reading ten options; only the estimated duration depends on it
REQUIRED_PLACEHOLDERS = ("retention", "contact")


class ConsentError(ValueError):
    """The consent text cannot be shown."""


@dataclass(frozen=True)
class Consent:
    """A rendered consent text.

    Attributes:
        html: HTML rendered from Markdown, with raw HTML escaped.
        sha256: SHA-256 hex digest of the text that participants agree to.
        has_contact: Whether the contact is filled in, that is, holds no "[...]".
    """

    html: str
    sha256: str
    has_contact: bool


def load_consent(config: HumanStudyConfig) -> Consent:
    """Load, fill in, and render the consent text.

    Args:
        config: Study parameters; `config.consent` names the Markdown file.

    Returns:
        The rendered text.

    Raises:
        ConsentError: The file is missing or not UTF-8, lacks a required placeholder, or has an unknown one.
    """
    path = Path(config.consent)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise ConsentError(
            f"human_study.consent: cannot read {path} ({error}); it is the text that participants agree to"
        ) from None
    placeholders = set(re.findall(r"\{(\w+)\}", text))
    for name in REQUIRED_PLACEHOLDERS:
        if name not in placeholders:
            raise ConsentError(f"{path} must contain {{{name}}}: it is replaced with human_study.{name}")
    values = {
        "retention": config.retention,
        "contact": config.contact,
        "trials": str(config.trials_per_participant),
        "minutes": str(estimate_minutes(config)),
    }
    if unknown := sorted(placeholders - set(values)):
        raise ConsentError(f"{path}: unknown placeholder {{{unknown[0]}}}; available: {', '.join(sorted(values))}")
    filled = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], text)
    html = MarkdownIt("commonmark", {"html": False}).render(filled)
    return Consent(html, hashlib.sha256(filled.encode()).hexdigest(), "[" not in config.contact)


def estimate_minutes(config: HumanStudyConfig) -> int:
    """Estimate the duration of a session.

    Args:
        config: Study parameters.

    Returns:
        Minutes, rounded up to a multiple of five: `SECONDS_PER_TRIAL` per trial, practice trial, and attention check,
        plus two minutes.
    """
    n_trials = config.trials_per_participant + config.practice_trials + config.attention_checks
    seconds = SECONDS_PER_TRIAL * n_trials + 120
    return -(-seconds // 300) * 5
