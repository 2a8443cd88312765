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
from synesthesia.human_study.db.responses import COMMENT_LENGTH, Answer, BadAnswer
from synesthesia.human_study.db.sessions import Refused
from synesthesia.human_study.stimuli import encode
from synesthesia.human_study.web import admin
from synesthesia.human_study.web.app_state import SESSION_SECONDS, STATIC, Site
from synesthesia.human_study.web.middleware import Guard
from synesthesia.human_study.web.security import same_origin
from synesthesia.questions import sampling as wording
from synesthesia.schemas import LETTERS

COOKIE = "study_session"
EXTERNAL = ("PROLIFIC_PID", "participant")  # parameters of the link that may name a participant elsewhere
LOG = logging.getLogger("synesthesia.human_study")


class Sent(BaseModel):
    """The body of an answer: strict types, no other fields, everything within bounds."""

    model_config = ConfigDict(extra="forbid", strict=True)
    number: Annotated[int, Field(ge=0, lt=1000)]
    key: Annotated[str, Field(pattern=r"^[0-9a-fA-F-]{8,36}$")]
    choice: Annotated[int, Field(ge=0, lt=10)] | None = None
    seconds: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 0.0
    replays: Annotated[int, Field(ge=0, le=1000)] = 0
    focus_lost: Annotated[int, Field(ge=0, le=100_000)] = 0
    load_failures: Annotated[int, Field(ge=0, le=100_000)] = 0
    unplayable: bool = False
    picks: Annotated[list[Annotated[int, Field(ge=0, lt=3)]], Field(max_length=12)] = []
    comment: Annotated[str, Field(max_length=COMMENT_LENGTH)] = ""

    def answer(self) -> Answer:
        """As the sessions want it."""
        return Answer(**self.model_dump(exclude={"picks"}), picks=tuple(self.picks))


class Agreed(BaseModel):
    """The body of joining."""

    model_config = ConfigDict(extra="forbid", strict=True)
    agreed: bool


def create(site: Site) -> FastAPI:
    """The application for a site."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    app.add_middleware(Guard, https=site.settings.https)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    _errors(app)
    _pages(app, site)
    _interface(app, site)
    admin.add(app, site)
    return app


def _errors(app: FastAPI) -> None:
    @app.exception_handler(DBAPIError)
    @app.exception_handler(PoolTimeout)
    def database_fails(request: Request, error: Exception) -> Response:
        LOG.error("%s", database.explain(error) if isinstance(error, DBAPIError) else error)
        return JSONResponse({"error": "busy"}, 503, {"Retry-After": "2"})

    @app.exception_handler(RequestValidationError)
    def wrong_fields(request: Request, error: RequestValidationError) -> Response:
        return JSONResponse({"error": "invalid", "fields": sorted({str(e["loc"][-1]) for e in error.errors()})}, 422)

    @app.exception_handler(BadAnswer)
    def wrong_answer(request: Request, error: BadAnswer) -> Response:
        return JSONResponse({"error": "invalid", "what": str(error)}, 422)

    @app.exception_handler(Denied)
    def denied(request: Request, error: Denied) -> Response:
        return JSONResponse({"error": error.word}, error.status, error.headers)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)
        page = request.app.state.site.page(
            "message", title="Not found", text="There is no such page in this study.", back="/"
        )
        return HTMLResponse(page, error.status_code, error.headers)


class Denied(Exception):
    """A request that is not answered: no session, a forged one, too many."""

    def __init__(self, status: int, word: str, headers: dict[str, str] | None = None):
        super().__init__(word)
        self.status, self.word, self.headers = status, word, headers


def address(request: Request) -> str:
    """The network address, for rate limits alone: it is never written anywhere."""
    return request.client.host if request.client else "?"


def _read(site: Site, request: Request) -> tuple[str, bytes | None] | None:
    """The browser's session and, where the link named one, the hash of an external id."""
    sealed = site.signer.unseal(request.cookies.get(COOKIE), "session", SESSION_SECONDS)
    if sealed is None:
        return None
    session, _, external = sealed.partition("|")
    return session, bytes.fromhex(external) if external else None


def _hash(session: str) -> bytes:
    return hashlib.sha256(session.encode()).digest()


def _changing(site: Site, request: Request, limit: str = "requests") -> tuple[str, bytes | None]:
    """The session of a request that changes something; raises Denied for forged ones and for too many."""
    read = _read(site, request)
    if read is None:
        raise Denied(401, "no session")
    if not same_origin(request.headers.get("origin"), request.headers.get("host")) or not site.signer.genuine(
        request.headers.get("x-study-token"), read[0]
    ):
        raise Denied(403, "forged")
    if not site.limits[limit].allows(read[0] if limit == "requests" else address(request)):
        raise Denied(429, "too many", {"Retry-After": "5"})
    return read


def _pages(app: FastAPI, site: Site) -> None:
    @app.get("/")
    def consent(request: Request) -> Response:
        if not site.limits["pages"].allows(address(request)):
            raise Denied(429, "too many", {"Retry-After": "5"})
        read = _read(site, request)
        external = next((v for name in EXTERNAL if (v := request.query_params.get(name))), None)
        if read is None or external:
            session = read[0] if read else secrets.token_hex(16)
            hashed = site.signer.keyed("external", external[:200]).hex() if external else ""
            # with an id in the address: to the same page without it, the cookie carries its hash
            response = RedirectResponse("/", 303) if external else HTMLResponse(_consent(site, session))
            sealed = site.signer.seal(f"{session}|{hashed}", "session")
            response.set_cookie(COOKIE, sealed, max_age=SESSION_SECONDS, httponly=True, samesite="lax",
                                secure=site.settings.https)  # fmt: skip
            return response
        if site.sessions.of(_hash(read[0])):
            return RedirectResponse("/study", 303)
        return HTMLResponse(_consent(site, read[0]))

    @app.get("/study")
    def session_page(request: Request) -> Response:
        read = _read(site, request)
        if read is None or not site.sessions.of(_hash(read[0])):
            return RedirectResponse("/", 303)
        return HTMLResponse(site.page("study", token=site.signer.token(read[0]), minutes=site.minutes))

    @app.get("/health")
    def health() -> Response:
        with site.database.read() as connection:
            connection.exec_driver_sql("SELECT 1")
        return PlainTextResponse("ok")

    @app.get("/stimuli/{name}")
    def stimulus(name: str, request: Request) -> Response:
        if not encode.NAME.fullmatch(name) or not (path := site.stimuli / name).is_file():
            raise HTTPException(404, "no such stimulus")
        kind = "audio/wav" if name.endswith(".wav") else "video/mp4"
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        if "range" in request.headers:
            return FileResponse(path, media_type=kind, headers=headers)
        return Response(
            path.read_bytes(), media_type=kind, headers=headers
        )  # the page asks for all: one read, no chunks


def _consent(site: Site, session: str) -> str:
    return site.page("consent", consent=site.consent.html, token=site.signer.token(session), minutes=site.minutes)


def _interface(app: FastAPI, site: Site) -> None:
    @app.post("/api/join")
    def join(request: Request, body: Agreed) -> Response:
        session, external = _changing(site, request, "joins")
        if not body.agreed:
            raise Denied(422, "not agreed")
        try:
            site.sessions.join(_hash(session), external, site.consent.sha256)
        except Refused as refused:
            return JSONResponse({"error": refused.reason}, 409)
        return JSONResponse({"joined": True})

    @app.get("/api/now")
    def now(request: Request) -> Response:
        read = _read(site, request)
        if read is None:
            raise Denied(401, "no session")
        if not site.limits["requests"].allows(read[0]):
            raise Denied(429, "too many", {"Retry-After": "5"})
        participant = site.who(_hash(read[0]))
        if participant is None:
            return JSONResponse({"state": "none"})
        return JSONResponse(view(site, participant, site.sessions.current(participant)))

    @app.post("/api/answer")
    def answer(request: Request, body: Sent) -> Response:
        session, _ = _changing(site, request)
        participant = site.who(_hash(session))
        if participant is None:
            raise Denied(409, "none")
        status, step, then = site.sessions.answer(participant, body.answer())
        reply = view(site, participant, then) | {"status": status}
        if step is not None and step.kind == "practice" and status in ("saved", "repeated") and not body.unplayable:
            reply["feedback"] = {"answer": site.questions[step.question_id].answer}
        return JSONResponse(reply)

    @app.post("/api/withdraw")
    def withdraw(request: Request) -> Response:
        session, _ = _changing(site, request)
        participant = site.sessions.of(_hash(session))
        gone = participant is not None and site.sessions.withdraw(participant)
        response = JSONResponse({"withdrawn": gone})
        response.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=site.settings.https)
        return response


def view(site: Site, participant: str, now) -> dict:
    """What the page needs to show the current step, and nothing that tells an answer, a label or a clip's id."""
    if now.state == "finished":
        code = site.study.completion_code or site.signer.keyed("completion", participant).hex()[:8].upper()
        return {"state": "finished", "code": code, "link": site.study.completion_link}
    if now.step is None:
        return {"state": now.state}
    step = now.step
    shown: dict = {"number": step.number, "kind": step.kind, "condition": step.condition}
    if step.block is not None:
        blocks = site.layout(participant)
        in_block, first = blocks[step.block]
        shown |= {"block": step.block, "blocks": len(blocks), "in_block": in_block,
                  "total": sum(n for n, _ in blocks.values()), "place": first if step.place is None else step.place,
                  "place_in_block": 0 if step.place is None else step.place - first}  # fmt: skip
    if step.kind in ("trial", "practice"):
        question = site.questions[step.question_id]
        shown |= {"question": _question(question.options), "replays": site.study.replays,
                  "stimulus": site.names.of(question.clip_id, step.condition)}  # fmt: skip
        if step.kind == "practice":
            shown |= {"place_in_block": question.practice_place, "in_block": len(site.practised)}
    elif step.kind == "check":
        detail = json.loads(step.detail)
        shown["question"] = _question(detail["options"])
        shown["instructed"] = f"{LETTERS[detail['answer']]}. {detail['options'][detail['answer']]}"
    elif step.kind == "sound":
        shown["stimulus"] = site.names.check(json.loads(step.detail)["tones"])
    elif step.kind == "headphones":
        shown |= {"stimuli": site.names.headphones(), "again": bool(step.replays)}
    return {"state": "active", "step": shown}


def _question(options) -> dict:
    """The models' prompt, line by line."""
    head, *listed, tail = wording.prompt(options).splitlines()
    return {"head": head, "options": listed, "tail": tail}
