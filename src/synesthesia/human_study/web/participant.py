"""The participant's side: consent, one page that shows the current step, and a small JSON interface behind it.

The page asks `GET /api/now` what to show and sends `POST /api/answer`; the reply to an answer is what to show next, so
a trial is one request, one stimulus and one short transaction. An answer carries a key of the browser's making: sent
again after a lost reply it is recognised, and counted once. A database that cannot write just now (a full disk) is
503, and the page keeps the answer and tries again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from typing import Annotated

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from synesthesia.human_study.db import connection as database
from synesthesia.human_study.db.responses import MAX_COMMENT_LENGTH, Answer, InvalidAnswerError
from synesthesia.human_study.db.sessions import JoinRefused
from synesthesia.human_study.stimuli import encode
from synesthesia.human_study.web import admin
from synesthesia.human_study.web.app_state import SESSION_MAX_AGE, STATIC_DIR, AppState
from synesthesia.human_study.web.middleware import SecurityMiddleware
from synesthesia.human_study.web.security import is_same_origin
from synesthesia.questions import sampling as wording
from synesthesia.schemas import LETTERS

SESSION_COOKIE = "study_session"
EXTERNAL_ID_PARAMS = ("PROLIFIC_PID", "participant")  # parameters of the link that may name a participant elsewhere
LOGGER = logging.getLogger("synesthesia.human_study")


class AnswerRequest(BaseModel):
    """The body of an answer: strict types, no other fields, everything within bounds."""

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
        """As the sessions want it."""
        return Answer(**self.model_dump(exclude={"picks"}), picks=tuple(self.picks))


class JoinRequest(BaseModel):
    """The body of joining."""

    model_config = ConfigDict(extra="forbid", strict=True)
    has_consented: bool


def create_app(app_state: AppState) -> FastAPI:
    """The application for a site."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = app_state
    app.add_middleware(SecurityMiddleware, https=app_state.settings.https)
    app.mount("/static", StaticFiles(directory=STATIC_DIR), name="static")
    _add_error_handlers(app)
    _add_page_routes(app, app_state)
    _add_api_routes(app, app_state)
    admin.add_admin_routes(app, app_state)
    return app


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(DBAPIError)
    @app.exception_handler(PoolTimeout)
    def database_fails(request: Request, error: Exception) -> Response:
        LOGGER.error("%s", database.explain_error(error) if isinstance(error, DBAPIError) else error)
        return JSONResponse({"error": "busy"}, 503, {"Retry-After": "2"})

    @app.exception_handler(RequestValidationError)
    def wrong_fields(request: Request, error: RequestValidationError) -> Response:
        return JSONResponse({"error": "invalid", "fields": sorted({str(e["loc"][-1]) for e in error.errors()})}, 422)

    @app.exception_handler(InvalidAnswerError)
    def wrong_answer(request: Request, error: InvalidAnswerError) -> Response:
        return JSONResponse({"error": "invalid", "what": str(error)}, 422)

    @app.exception_handler(RequestDenied)
    def denied(request: Request, error: RequestDenied) -> Response:
        return JSONResponse({"error": error.error_code}, error.status, error.headers)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)
        page = request.app.state.site.page(
            "message", title="Not found", text="There is no such page in this study.", back="/"
        )
        return HTMLResponse(page, error.status_code, error.headers)


class RequestDenied(Exception):
    """A request that is not answered: no session, a forged one, too many."""

    def __init__(self, status: int, error_code: str, headers: dict[str, str] | None = None):
        super().__init__(error_code)
        self.status, self.error_code, self.headers = status, error_code, headers


def client_address(request: Request) -> str:
    """The network address, for rate limits alone: it is never written anywhere."""
    return request.client.host if request.client else "?"


def _read_session(app_state: AppState, request: Request) -> tuple[str, bytes | None] | None:
    """The browser's session and, where the link named one, the hash of an external id."""
    sealed = app_state.signer.unsign(request.cookies.get(SESSION_COOKIE), "session", SESSION_MAX_AGE)
    if sealed is None:
        return None
    session, _, external = sealed.partition("|")
    return session, bytes.fromhex(external) if external else None


def _hash_session(session: str) -> bytes:
    return hashlib.sha256(session.encode()).digest()


def _require_session(app_state: AppState, request: Request, limiter_name: str = "requests") -> tuple[str, bytes | None]:
    """The session of a request that changes something; raises Denied for forged ones and for too many."""
    read = _read_session(app_state, request)
    if read is None:
        raise RequestDenied(401, "no session")
    if not is_same_origin(
        request.headers.get("origin"), request.headers.get("host")
    ) or not app_state.signer.verify_csrf(request.headers.get("x-study-token"), read[0]):
        raise RequestDenied(403, "forged")
    if not app_state.rate_limiters[limiter_name].try_acquire(
        read[0] if limiter_name == "requests" else client_address(request)
    ):
        raise RequestDenied(429, "too many", {"Retry-After": "5"})
    return read


def _add_page_routes(app: FastAPI, app_state: AppState) -> None:
    @app.get("/")
    def consent(request: Request) -> Response:
        if not app_state.rate_limiters["pages"].try_acquire(client_address(request)):
            raise RequestDenied(429, "too many", {"Retry-After": "5"})
        read = _read_session(app_state, request)
        external = next((v for name in EXTERNAL_ID_PARAMS if (v := request.query_params.get(name))), None)
        if read is None or external:
            session = read[0] if read else secrets.token_hex(16)
            hashed = app_state.signer.hmac_digest("external", external[:200]).hex() if external else ""
            # with an id in the address: to the same page without it, the cookie carries its hash
            response = RedirectResponse("/", 303) if external else HTMLResponse(_render_consent(app_state, session))
            sealed = app_state.signer.sign(f"{session}|{hashed}", "session")
            response.set_cookie(SESSION_COOKIE, sealed, max_age=SESSION_MAX_AGE, httponly=True, samesite="lax",
                                secure=app_state.settings.https)  # fmt: skip
            return response
        if app_state.sessions.find_participant(_hash_session(read[0])):
            return RedirectResponse("/study", 303)
        return HTMLResponse(_render_consent(app_state, read[0]))

    @app.get("/study")
    def session_page(request: Request) -> Response:
        read = _read_session(app_state, request)
        if read is None or not app_state.sessions.find_participant(_hash_session(read[0])):
            return RedirectResponse("/", 303)
        return HTMLResponse(
            app_state.render_page(
                "study", token=app_state.signer.csrf_token(read[0]), minutes=app_state.estimated_minutes
            )
        )

    @app.get("/health")
    def health() -> Response:
        with app_state.database.read() as connection:
            connection.exec_driver_sql("SELECT 1")
        return PlainTextResponse("ok")

    @app.get("/stimuli/{name}")
    def stimulus(name: str, request: Request) -> Response:
        if not encode.FILENAME_PATTERN.fullmatch(name) or not (path := app_state.stimuli_dir / name).is_file():
            raise HTTPException(404, "no such stimulus")
        kind = "audio/wav" if name.endswith(".wav") else "video/mp4"
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        if "range" in request.headers:
            return FileResponse(path, media_type=kind, headers=headers)
        return Response(
            path.read_bytes(), media_type=kind, headers=headers
        )  # the page asks for all: one read, no chunks


def _render_consent(app_state: AppState, session: str) -> str:
    return app_state.render_page(
        "consent",
        consent=app_state.consent.html,
        token=app_state.signer.csrf_token(session),
        minutes=app_state.estimated_minutes,
    )


def _add_api_routes(app: FastAPI, app_state: AppState) -> None:
    @app.post("/api/join")
    def join(request: Request, body: JoinRequest) -> Response:
        session, external = _require_session(app_state, request, "joins")
        if not body.has_consented:
            raise RequestDenied(422, "not agreed")
        try:
            app_state.sessions.join(_hash_session(session), external, app_state.consent.sha256)
        except JoinRefused as refused:
            return JSONResponse({"error": refused.reason}, 409)
        return JSONResponse({"joined": True})

    @app.get("/api/now")
    def now(request: Request) -> Response:
        read = _read_session(app_state, request)
        if read is None:
            raise RequestDenied(401, "no session")
        if not app_state.rate_limiters["requests"].try_acquire(read[0]):
            raise RequestDenied(429, "too many", {"Retry-After": "5"})
        participant = app_state.find_participant(_hash_session(read[0]))
        if participant is None:
            return JSONResponse({"state": "none"})
        return JSONResponse(step_payload(app_state, participant, app_state.sessions.load_state(participant)))

    @app.post("/api/answer")
    def answer(request: Request, body: AnswerRequest) -> Response:
        session, _ = _require_session(app_state, request)
        participant = app_state.find_participant(_hash_session(session))
        if participant is None:
            raise RequestDenied(409, "none")
        status, step, then = app_state.sessions.submit_answer(participant, body.to_answer())
        reply = step_payload(app_state, participant, then) | {"status": status}
        if step is not None and step.kind == "practice" and status in ("saved", "repeated") and not body.is_unplayable:
            reply["feedback"] = {"answer": app_state.questions[step.question_id].target}
        return JSONResponse(reply)

    @app.post("/api/withdraw")
    def withdraw(request: Request) -> Response:
        session, _ = _require_session(app_state, request)
        participant = app_state.sessions.find_participant(_hash_session(session))
        gone = participant is not None and app_state.sessions.withdraw(participant)
        response = JSONResponse({"withdrawn": gone})
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax", secure=app_state.settings.https)
        return response


def step_payload(app_state: AppState, participant: str, session_state) -> dict:
    """What the page needs to show the current step, and nothing that tells an answer, a label or a clip's id."""
    if session_state.state == "finished":
        code = (
            app_state.config.completion_code
            or app_state.signer.hmac_digest("completion", participant).hex()[:8].upper()
        )
        return {"state": "finished", "code": code, "link": app_state.config.completion_link}
    if session_state.step is None:
        return {"state": session_state.state}
    step = session_state.step
    shown: dict = {"number": step.number, "kind": step.kind, "condition": step.condition}
    if step.block is not None:
        blocks = app_state.block_layout(participant)
        in_block, first = blocks[step.block]
        shown |= {"block": step.block, "blocks": len(blocks), "in_block": in_block,
                  "total": sum(n for n, _ in blocks.values()), "place": first if step.place is None else step.place,
                  "place_in_block": 0 if step.place is None else step.place - first}  # fmt: skip
    if step.kind in ("trial", "practice"):
        question = app_state.questions[step.question_id]
        shown |= {"question": _question_payload(question.options), "replays": app_state.config.max_replays,
                  "stimulus": app_state.stimulus_names.filename(question.clip_id, step.condition)}  # fmt: skip
        if step.kind == "practice":
            shown |= {"place_in_block": question.practice_position, "in_block": len(app_state.practice_questions)}
    elif step.kind == "check":
        detail = json.loads(step.detail)
        shown["question"] = _question_payload(detail["options"])
        shown["instructed"] = f"{LETTERS[detail['answer']]}. {detail['options'][detail['answer']]}"
    elif step.kind == "sound":
        shown["stimulus"] = app_state.stimulus_names.sound_check(json.loads(step.detail)["tones"])
    elif step.kind == "headphones":
        shown |= {"stimuli": app_state.stimulus_names.headphone_check(), "again": bool(step.replays)}
    return {"state": "active", "step": shown}


def _question_payload(options) -> dict:
    """The models' prompt, line by line."""
    head, *listed, tail = wording.format_prompt(options).splitlines()
    return {"head": head, "options": listed, "tail": tail}
