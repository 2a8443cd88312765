"""State of a server process: parameters, database, secrets, consent text, and page templates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from synesthesia.config import HumanStudyConfig
from synesthesia.human_study import consent
from synesthesia.human_study.db import stored_plan
from synesthesia.human_study.db.connection import Database
from synesthesia.human_study.db.sessions import Sessions
from synesthesia.human_study.design import steps
from synesthesia.human_study.stimuli.encode import StimulusNames
from synesthesia.human_study.web.security import RateLimiter, Signer

SESSION_MAX_AGE = 14 * 24 * 3600  # s
ADMIN_MAX_AGE = 12 * 3600  # s
MAX_CACHED_PARTICIPANTS = 20_000
TEMPLATES = Environment(
    loader=PackageLoader("synesthesia.human_study.web", "pages"), autoescape=True, undefined=StrictUndefined
)
STATIC_DIR = Path(str(files("synesthesia.human_study.web") / "static"))


@dataclass(frozen=True)
class ServerSettings:
    """Settings of a server; passed to worker processes as JSON.

    Attributes:
        params_path: Path of the parameter file.
        database_url: SQLAlchemy URL.
        folder: Folder of the secret and of `stimuli/`.
        https: Whether participants connect through TLS; cookies are then sent over TLS only.
    """

    params_path: str
    database_url: str
    folder: str
    https: bool = False


@dataclass
class AppState:
    """State of a server process.

    Attributes:
        settings: Settings of the server.
        config: Study parameters.
        secret: The study's secret.
        password: The researcher's password.
        rate_limiters: Rate limiters by name.
    """

    settings: ServerSettings
    config: HumanStudyConfig
    secret: bytes
    password: str
    rate_limiters: dict[str, RateLimiter] = field(init=False)

    def __post_init__(self) -> None:
        self.database = Database(self.settings.database_url)
        self.study_row = stored_plan.load_study(self.database)
        self.questions = stored_plan.load_questions(self.database)
        self.practice_questions = steps.select_practice_questions(self.questions)
        self.sessions = Sessions(self.database, self.config, self.questions)
        self._participants: dict[bytes, str] = {}
        self.block_layout: Callable[[str], dict[int, tuple[int, int]]] = lru_cache(4096)(self.sessions.block_layout)
        self.signer, self.stimulus_names = Signer(self.secret), StimulusNames(self.secret)
        self.consent = consent.load_consent(self.config)
        self.stimuli_dir = Path(self.settings.folder) / "stimuli"
        self.rate_limiters = {
            "requests": RateLimiter(self.config.requests_per_minute, 60),
            "joins": RateLimiter(self.config.joins_per_hour, 3600),
            "pages": RateLimiter(self.config.requests_per_minute, 60),
            "logins": RateLimiter(5, 60),
            "all_logins": RateLimiter(30, 60),
        }

    def find_participant(self, session_hash: bytes, use_cache: bool = True) -> str | None:
        """Find the participant of a browser's session.

        Args:
            session_hash: SHA-256 of the browser's session.
            use_cache: Accept the last result, which is outdated if that participant was deleted and joined again.

        Returns:
            The participant id, or None if the browser has not joined.
        """
        cached = self._participants.get(session_hash) if use_cache else None
        if cached is None and (cached := self.sessions.find_participant(session_hash)) is not None:
            if len(self._participants) > MAX_CACHED_PARTICIPANTS:
                self._participants.clear()
            self._participants[session_hash] = cached
        return cached

    @cached_property
    def estimated_minutes(self) -> int:
        """Estimated duration of a session in minutes, as the consent page states it."""
        return consent.estimate_minutes(self.config)

    def render_page(self, name: str, **values: object) -> str:
        """Render a page.

        Args:
            name: Name of the template without its extension.
            **values: Variables of the template.

        Returns:
            HTML.
        """
        common = {"is_simulated": self.study_row.is_simulated, "config": self.config}
        return TEMPLATES.get_template(f"{name}.html.jinja").render(common | values)
