"""What one server process knows: parameters, database, secrets, consent text, and the pages' templates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from synesthesia.config import Study
from synesthesia.human_study import consent
from synesthesia.human_study.db import connection as database
from synesthesia.human_study.db import stored_plan
from synesthesia.human_study.db.sessions import Sessions
from synesthesia.human_study.design import steps
from synesthesia.human_study.stimuli.encode import Names
from synesthesia.human_study.web.security import Limiter, Signer

SESSION_SECONDS = 14 * 24 * 3600
ADMIN_SECONDS = 12 * 3600
PAGES = Environment(
    loader=PackageLoader("synesthesia.human_study.web", "pages"), autoescape=True, undefined=StrictUndefined
)
STATIC = Path(str(files("synesthesia.human_study.web") / "static"))


@dataclass(frozen=True)
class Settings:
    """How a server was started; goes to worker processes as JSON."""

    params: str
    database: str
    folder: str  # stimuli lie in its folder `stimuli`
    https: bool = False  # reached through TLS: cookies are then sent over TLS alone


@dataclass
class Site:
    """A study being served."""

    settings: Settings
    study: Study
    secret: bytes
    password: str
    limits: dict[str, Limiter] = field(init=False)

    def __post_init__(self) -> None:
        self.database = database.Database(self.settings.database)
        self.row = stored_plan.open_study(self.database)
        self.questions = stored_plan.questions(self.database)
        self.practised = steps.practised(self.questions)
        self.sessions = Sessions(self.database, self.study, self.questions)
        self._known: dict[bytes, str] = {}
        self.layout = lru_cache(4096)(self.sessions.layout)
        self.signer, self.names = Signer(self.secret), Names(self.secret)
        self.consent = consent.load(self.study)
        self.stimuli = Path(self.settings.folder) / "stimuli"
        self.limits = {
            "requests": Limiter(self.study.requests_a_minute, 60),
            "joins": Limiter(self.study.joins_an_hour, 3600),
            "pages": Limiter(self.study.requests_a_minute, 60),
            "logins": Limiter(5, 60),
            "all logins": Limiter(30, 60),
        }

    def who(self, session: bytes) -> str | None:
        """The participant of a browser's session; remembered, since it never becomes another one."""
        known = self._known.get(session)
        if known is None and (known := self.sessions.of(session)) is not None:
            if len(self._known) > 20_000:
                self._known.clear()
            self._known[session] = known
        return known

    @cached_property
    def minutes(self) -> int:
        """What the consent page says a session takes."""
        return consent.minutes(self.study)

    def page(self, name: str, **values) -> str:
        """A page as HTML."""
        common = {"simulated": self.row.simulated, "study": self.study}
        return PAGES.get_template(f"{name}.html.jinja").render(common | values)
