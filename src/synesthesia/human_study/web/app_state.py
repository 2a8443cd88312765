"""What one server process knows: parameters, database, secrets, consent text, and the pages' templates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from synesthesia.config import HumanStudyConfig
from synesthesia.human_study import consent
from synesthesia.human_study.db import connection as database
from synesthesia.human_study.db import stored_plan
from synesthesia.human_study.db.sessions import Sessions
from synesthesia.human_study.design import steps
from synesthesia.human_study.stimuli.encode import StimulusNames
from synesthesia.human_study.web.security import RateLimiter, Signer

SESSION_MAX_AGE = 14 * 24 * 3600
ADMIN_MAX_AGE = 12 * 3600
TEMPLATES = Environment(
    loader=PackageLoader("synesthesia.human_study.web", "pages"), autoescape=True, undefined=StrictUndefined
)
STATIC_DIR = Path(str(files("synesthesia.human_study.web") / "static"))


@dataclass(frozen=True)
class ServerSettings:
    """How a server was started; goes to worker processes as JSON."""

    params_path: str
    database_url: str
    folder: str  # stimuli lie in its folder `stimuli`
    https: bool = False  # reached through TLS: cookies are then sent over TLS alone


@dataclass
class AppState:
    """A study being served."""

    settings: ServerSettings
    config: HumanStudyConfig
    secret: bytes
    password: str
    rate_limiters: dict[str, RateLimiter] = field(init=False)

    def __post_init__(self) -> None:
        self.database = database.Database(self.settings.database_url)
        self.study_row = stored_plan.load_study(self.database)
        self.questions = stored_plan.load_questions(self.database)
        self.practice_questions = steps.select_practice_questions(self.questions)
        self.sessions = Sessions(self.database, self.config, self.questions)
        self._known: dict[bytes, str] = {}
        self.block_layout = lru_cache(4096)(self.sessions.block_layout)
        self.signer, self.stimulus_names = Signer(self.secret), StimulusNames(self.secret)
        self.consent = consent.load_consent(self.config)
        self.stimuli_dir = Path(self.settings.folder) / "stimuli"
        self.rate_limiters = {
            "requests": RateLimiter(self.config.requests_per_minute, 60),
            "joins": RateLimiter(self.config.joins_per_hour, 3600),
            "pages": RateLimiter(self.config.requests_per_minute, 60),
            "logins": RateLimiter(5, 60),
            "all logins": RateLimiter(30, 60),
        }

    def find_participant(self, session_hash: bytes) -> str | None:
        """The participant of a browser's session; remembered, since it never becomes another one."""
        known = self._known.get(session_hash)
        if known is None and (known := self.sessions.find_participant(session_hash)) is not None:
            if len(self._known) > 20_000:
                self._known.clear()
            self._known[session_hash] = known
        return known

    @cached_property
    def estimated_minutes(self) -> int:
        """What the consent page says a session takes."""
        return consent.estimate_minutes(self.config)

    def render_page(self, name: str, **values) -> str:
        """A page as HTML."""
        common = {"simulated": self.study_row.simulated, "study": self.config}
        return TEMPLATES.get_template(f"{name}.html.jinja").render(common | values)
