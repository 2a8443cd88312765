"""Participant pages: consent, one page that shows the current step, and a JSON API behind it.

The page loads its step from `GET /api/session` and sends `POST /api/answer`; the reply to an answer holds the next
step, so a trial is one request, one stimulus, and one short transaction. An answer carries an idempotency key generated
in the browser: sent again after a lost reply, it counts once. While the database cannot write (a full disk), the reply
is 503, and the page keeps the answer and retries.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from typing import Annotated, NamedTuple
from urllib.parse import unquote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from synesthesia.human_study.db import connection
from synesthesia.human_study.db.responses import MAX_COMMENT_LENGTH, Answer, InvalidAnswerError
from synesthesia.human_study.db.sessions import JoinRefused
from synesthesia.human_study.stimuli import encode
from synesthesia.human_study.web import admin
from synesthesia.human_study.web.app_state import SESSION_MAX_AGE, STATIC_DIR, AppState
from synesthesia.human_study.web.middleware import SecurityMiddleware
from synesthesia.human_study.web.payload import step_payload
from synesthesia.human_study.web.security import is_same_origin

SESSION_COOKIE = "study_session"
EXTERNAL_ID_PARAMS = ("PROLIFIC_PID", "participant")  # query parameters with a recruiting platform's participant id
# what platforms replace by an id: {{%PROLIFIC_PID%}}, ${e://Field/PID}, [%RespondentID%], $$uid$$, [#UID#], <id>
PLACEHOLDER_PATTERN = re.compile(
    r"[{}\[\]<>$%]|^#.*#$|^__.*__$|^(?:undefined|null|none|nan|.*_not_available)$", re.IGNORECASE
)
LOGGER = logging.getLogger("synesthesia.human_study")


class AnswerRequest(BaseModel):
    """Body of `POST /api/answer`: strict types and ranges, no other fields."""

    model_config = ConfigDict(extra="forbid", strict=True)
    number: Annotated[int, Field(ge=0, lt=1000)]
    idempotency_key: Annotated[str, Field(pattern=r"^[0-9a-fA-F-]{8,36}$")]
    choice: Annotated[int, Field(ge=0, lt=10)] | None = None
    seconds: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 0.0
    replays: Annotated[int, Field(ge=0, le=1000)] = 0
    focus_lost: Annotated[int, Field(ge=0, le=100_000)] = 0
    load_failures: Annotated[int, Field(ge=0, le=100_000)] = 0
    is_unplayable: bool = False
    picks: Annotated[list[Annotated[int, Field(ge=0, lt=3)]], Field(max_length=12)] = []
    comment: Annotated[str, Field(max_length=MAX_COMMENT_LENGTH)] = ""

    def to_answer(self) -> Answer:
        """Convert to an `Answer`."""
        return Answer(**self.model_dump(exclude={"picks"}), picks=tuple(self.picks))


class JoinRequest(BaseModel):
    """Body of `POST /api/join`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    has_consented: bool


class RequestDenied(Exception):
    """A request without a session, with a wrong CSRF token, or above a rate limit."""

    def __init__(self, status: int, error_code: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(error_code)
        self.status, self.error_code, self.headers = status, error_code, headers


def create_app(app_state: AppState) -> FastAPI:
    """Create the application.

    Args:
        app_state: State of the server process.

    Returns:
        The application with participant and researcher routes.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(SecurityMiddleware, https=app_state.settings.https)
    app.mount("/static", StaticFiles(directory=STATIC_DIR), name="static")
    _add_error_handlers(app, app_state)
    _add_page_routes(app, app_state)
    _add_api_routes(app, app_state)
    admin.add_admin_routes(app, app_state)
    return app


def _add_error_handlers(app: FastAPI, app_state: AppState) -> None:
    @app.exception_handler(DBAPIError)
    @app.exception_handler(PoolTimeout)
    def handle_database_error(request: Request, error: Exception) -> Response:
        LOGGER.error("%s", connection.explain_error(error) if isinstance(error, DBAPIError) else error)
        return JSONResponse({"error": "busy"}, 503, {"Retry-After": "2"})

    @app.exception_handler(RequestValidationError)
    def handle_validation_error(request: Request, error: RequestValidationError) -> Response:
        return JSONResponse({"error": "invalid", "fields": sorted({str(e["loc"][-1]) for e in error.errors()})}, 422)

    @app.exception_handler(InvalidAnswerError)
    def handle_invalid_answer(request: Request, error: InvalidAnswerError) -> Response:
        return JSONResponse({"error": "invalid", "message": str(error)}, 422)

    @app.exception_handler(RequestDenied)
    def handle_request_denied(request: Request, error: RequestDenied) -> Response:
        return JSONResponse({"error": error.error_code}, error.status, error.headers)

    @app.exception_handler(HTTPException)
    def handle_http_error(request: Request, error: HTTPException) -> Response:
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)
        page = app_state.render_page(
            "message", title="Not found", text="There is no such page in this study.", back_url="/"
        )
        return HTMLResponse(page, error.status_code, error.headers)


def client_address(request: Request) -> str:
    """Return the client's network address, for rate limits only: it is never stored.

    Args:
        request: The request.

    Returns:
        The address, or "?" if unknown.
    """
    return request.client.host if request.client else "?"


def find_external_id(request: Request) -> str | None:
    """Find the participant id that a recruiting platform has put into the link.

    Args:
        request: The request.

    Returns:
        The id, or None without one: a placeholder that the platform has not replaced is nobody's id.
    """
    for name in EXTERNAL_ID_PARAMS:
        value = request.query_params.get(name, "").strip()
        if value and value not in EXTERNAL_ID_PARAMS and not PLACEHOLDER_PATTERN.search(unquote(value)):
            return value
    return None


class _Cookie(NamedTuple):
    """What the browser's cookie holds.

    Attributes:
        session: The session in use.
        external_id_hash: Hash of the external id that the session is for, as hexadecimal digits; empty without one.
        browser: A random number that each external id of this browser has its own session from.
    """

    session: str
    external_id_hash: str
    browser: str


def _make_cookie(app_state: AppState, previous: _Cookie | None, external_id: str | None) -> _Cookie:
    """Return the cookie of a visit: each external id has its own session, the same one whenever it returns."""
    if external_id is None:
        return previous or _Cookie(browser := secrets.token_hex(16), "", browser)
    digest = app_state.signer.hmac_digest("external", external_id).hex()
    if previous and previous.external_id_hash == digest:
        return previous
    browser = previous.browser if previous else secrets.token_hex(16)
    return _Cookie(app_state.signer.hmac_digest("session", f"{browser}|{digest}").hex()[:32], digest, browser)


def _read_cookie(app_state: AppState, request: Request) -> _Cookie | None:
    """Return what the browser's cookie holds; None without a valid one."""
    value = app_state.signer.unsign(request.cookies.get(SESSION_COOKIE), "session", SESSION_MAX_AGE)
    if value is None:
        return None
    session, external_id_hash, browser, *_ = [*value.split("|"), "", ""]
    return _Cookie(session, external_id_hash, browser or session)


def _hash_session(session: str) -> bytes:
    return hashlib.sha256(session.encode()).digest()


def _rate_limited() -> RequestDenied:
    return RequestDenied(429, "rate_limited", {"Retry-After": "5"})


def _require_session(app_state: AppState, request: Request, limiter_name: str = "requests") -> _Cookie:
    """Return the cookie of a request that changes something; raise RequestDenied if forged or above the limit."""
    cookie = _read_cookie(app_state, request)
    if cookie is None:
        raise RequestDenied(401, "no_session")
    is_own_page = is_same_origin(request.headers.get("origin"), request.headers.get("host"))
    if not is_own_page or not app_state.signer.verify_csrf(request.headers.get("x-csrf-token"), cookie.session):
        raise RequestDenied(403, "csrf_failed")
    limiter_key = cookie.session if limiter_name == "requests" else client_address(request)
    if not app_state.rate_limiters[limiter_name].try_acquire(limiter_key):
        raise _rate_limited()
    return cookie


def _add_page_routes(app: FastAPI, app_state: AppState) -> None:
    @app.get("/")
    def show_consent(request: Request) -> Response:
        if not app_state.rate_limiters["pages"].try_acquire(client_address(request)):
            raise _rate_limited()
        previous = _read_cookie(app_state, request)
        cookie = _make_cookie(app_state, previous, find_external_id(request))
        has_joined = app_state.sessions.find_participant(_hash_session(cookie.session)) is not None
        if cookie == previous and (has_joined or request.url.query):
            return RedirectResponse("/study" if has_joined else "/", 303)
        # No redirect sets the cookie: Safari drops it there if the link is on another site. The page's script removes
        # the id from the address instead, and the cookie carries the id's hash.
        render = _render_study if has_joined else _render_consent
        response = HTMLResponse(render(app_state, cookie.session))
        if cookie != previous:
            response.set_cookie(SESSION_COOKIE, app_state.signer.sign("|".join(cookie), "session"),
                                max_age=SESSION_MAX_AGE, httponly=True, samesite="lax",
                                secure=app_state.settings.https)  # fmt: skip
        return response

    @app.get("/study")
    def show_study(request: Request) -> Response:
        cookie = _read_cookie(app_state, request)
        if cookie is None or not app_state.sessions.find_participant(_hash_session(cookie.session)):
            return RedirectResponse("/", 303)
        return HTMLResponse(_render_study(app_state, cookie.session))

    @app.get("/health")
    def check_health() -> Response:
        with app_state.database.read() as transaction:
            transaction.exec_driver_sql("SELECT 1")
        return PlainTextResponse("ok")

    @app.get("/stimuli/{name}")
    def send_stimulus(name: str, request: Request) -> Response:
        if not encode.FILENAME_PATTERN.fullmatch(name) or not (path := app_state.stimuli_dir / name).is_file():
            raise HTTPException(404, "no such stimulus")
        media_type = "audio/wav" if name.endswith(".wav") else "video/mp4"
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        if "range" in request.headers:
            return FileResponse(path, media_type=media_type, headers=headers)
        # the page requests complete files: one read, no chunks
        return Response(path.read_bytes(), media_type=media_type, headers=headers)


def _render_consent(app_state: AppState, session: str) -> str:
    return app_state.render_page(
        "consent",
        consent_html=app_state.consent.html,
        csrf_token=app_state.signer.csrf_token(session),
        minutes=app_state.estimated_minutes,
    )


def _render_study(app_state: AppState, session: str) -> str:
    csrf_token = app_state.signer.csrf_token(session)
    return app_state.render_page("study", csrf_token=csrf_token, minutes=app_state.estimated_minutes)


def _add_api_routes(app: FastAPI, app_state: AppState) -> None:
    @app.post("/api/join")
    def join(request: Request, body: JoinRequest) -> Response:
        cookie = _require_session(app_state, request, "joins")
        if not body.has_consented:
            raise RequestDenied(422, "consent_required")
        try:
            external_id_hash = bytes.fromhex(cookie.external_id_hash) or None
            app_state.sessions.join(_hash_session(cookie.session), external_id_hash, app_state.consent.sha256)
        except JoinRefused as refusal:
            return JSONResponse({"error": refusal.reason}, 409)
        return JSONResponse({"joined": True})

    @app.get("/api/session")
    def get_session(request: Request) -> Response:
        cookie = _read_cookie(app_state, request)
        if cookie is None:
            raise RequestDenied(401, "no_session")
        if not app_state.rate_limiters["requests"].try_acquire(cookie.session):
            raise _rate_limited()
        participant = app_state.find_participant(_hash_session(cookie.session), use_cache=False)
        if participant is None:
            return JSONResponse({"state": "none"})
        return JSONResponse(step_payload(app_state, participant, app_state.sessions.load_state(participant)))

    @app.post("/api/answer")
    def submit_answer(request: Request, body: AnswerRequest) -> Response:
        session_hash = _hash_session(_require_session(app_state, request).session)
        participant = app_state.find_participant(session_hash)
        if participant is None:
            raise RequestDenied(409, "not_joined")
        status, step, session_state = app_state.sessions.submit_answer(participant, body.to_answer())
        current = participant
        if session_state.state == "none":  # deleted; perhaps the browser has joined again
            current = app_state.find_participant(session_hash, use_cache=False)
        if current not in (None, participant):
            participant = current
            status, step, session_state = app_state.sessions.submit_answer(participant, body.to_answer())
        reply = step_payload(app_state, participant, session_state) | {"status": status}
        is_accepted = status in ("saved", "duplicate") and not body.is_unplayable
        if step is not None and step.kind == "practice" and is_accepted:
            reply["feedback"] = {"target": app_state.questions[step.question_id].target}
        return JSONResponse(reply)

    @app.post("/api/withdraw")
    def withdraw(request: Request) -> Response:
        session = _require_session(app_state, request).session
        participant = app_state.sessions.find_participant(_hash_session(session))
        is_withdrawn = participant is not None and app_state.sessions.withdraw(participant)
        response = JSONResponse({"withdrawn": is_withdrawn})
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax", secure=app_state.settings.https)
        return response
