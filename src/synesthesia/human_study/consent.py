"""The consent page's text: a Markdown file the researcher edits, with the figures of the study filled in."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from synesthesia.config import HumanStudyConfig

SECONDS_PER_TRIAL = 17  # a clip of ten seconds, and reading ten options; only the stated duration depends on it
REQUIRED_PLACEHOLDERS = ("retention", "contact")


class ConsentError(ValueError):
    """A consent text that cannot be shown."""


@dataclass(frozen=True)
class Consent:
    """HTML to show (made from Markdown with raw HTML escaped), and the SHA-256 of the text agreed to."""

    html: str
    sha256: str
    has_contact: bool  # whether the contact has been filled in


def load_consent(config: HumanStudyConfig) -> Consent:
    """Read the file; raise ConsentError where it is missing, states no retention or contact, or has another blank."""
    path = Path(config.consent)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise ConsentError(f"study.consent: {path} cannot be read ({error}); it is the text people agree to") from None
    blanks = set(re.findall(r"\{(\w+)\}", text))
    for blank in REQUIRED_PLACEHOLDERS:
        if blank not in blanks:
            raise ConsentError(f"{path} must say {{{blank}}} somewhere: study.{blank} of the parameters is put there")
    values = {
        "retention": config.retention,
        "contact": config.contact,
        "trials": str(config.trials_per_participant),
        "minutes": str(estimate_minutes(config)),
    }
    if unknown := sorted(blanks - set(values)):
        raise ConsentError(f"{path}: {{{unknown[0]}}} is not known; there are {', '.join(sorted(values))}")
    filled = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], text)
    html = MarkdownIt("commonmark", {"html": False}).render(filled)
    return Consent(html, hashlib.sha256(filled.encode()).hexdigest(), "[" not in config.contact)


def estimate_minutes(config: HumanStudyConfig) -> int:
    """How long a session takes, to the next five minutes."""
    seconds = (
        SECONDS_PER_TRIAL * (config.trials_per_participant + config.practice_trials + config.attention_checks) + 120
    )
    return -(-seconds // 300) * 5
