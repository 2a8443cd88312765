"""The researcher's page under /admin: a password, then progress, pause and close, deletion on request, export."""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from synesthesia.human_study import data_quality, export
from synesthesia.human_study.web.app_state import ADMIN_MAX_AGE, AppState
from synesthesia.human_study.web.progress import load_progress
from synesthesia.human_study.web.security import is_same_origin

ADMIN_COOKIE = "study_admin"
STATE_BY_ACTION = {"open": "open", "pause": "paused", "close": "closed"}


def add_admin_routes(app: FastAPI, app_state: AppState) -> None:
    """Add the researcher's routes."""

    def signed_in(request: Request) -> str | None:
        sealed = app_state.signer.unsign(request.cookies.get(ADMIN_COOKIE), "admin", ADMIN_MAX_AGE)
        if sealed is None:
            return None
        session, _, password = sealed.partition("|")
        return (
            session if hmac.compare_digest(password, _password_digest(app_state)) else None
        )  # a new password ends old sessions

    async def form(request: Request) -> dict[str, str]:
        body = (await request.body()).decode("utf-8", "replace")
        return {name: values[-1] for name, values in parse_qs(body, max_num_fields=10).items()}

    async def checked(request: Request) -> dict[str, str] | Response:
        """The fields of a form that this page made for this researcher, or what to answer instead."""
        session = signed_in(request)
        if session is None:
            return RedirectResponse("/admin", 303)
        fields = await form(request)
        origin = is_same_origin(request.headers.get("origin"), request.headers.get("host"))
        if not origin or not app_state.signer.verify_csrf(fields.get("token"), f"admin {session}"):
            return _render_message(
                app_state, "Not done", "This form has expired or came from another page. Go back and try again.", 403
            )
        return fields

    def set_cookie(response: Response, session: str) -> Response:
        sealed = app_state.signer.sign(f"{session}|{_password_digest(app_state)}", "admin")
        response.set_cookie(ADMIN_COOKIE, sealed, max_age=ADMIN_MAX_AGE, httponly=True, samesite="strict", path="/admin",
                            secure=app_state.settings.https)  # fmt: skip
        return response

    @app.get("/admin")
    def page(request: Request) -> Response:
        session = signed_in(request)
        if session is None:
            return HTMLResponse(app_state.render_page("login", wrong=False))
        app_state.sessions.close_timed_out()
        return HTMLResponse(
            app_state.render_page("admin", progress=load_progress(app_state), token=app_state.signer.csrf_token(f"admin {session}"),
                      rules=data_quality.describe_criteria(app_state.config.inattention, app_state.config.slow_median_seconds),
                      ready=app_state.consent.has_contact)
        )  # fmt: skip

    @app.post("/admin/login")
    async def login(request: Request) -> Response:
        client = request.client.host if request.client else "?"
        if not app_state.rate_limiters["logins"].try_acquire(client) or not app_state.rate_limiters[
            "all logins"
        ].try_acquire("all"):
            return _render_message(app_state, "Too many tries", "Wait a minute, then try again.", 429)
        if not is_same_origin(request.headers.get("origin"), request.headers.get("host")):
            return _render_message(app_state, "Not done", "This form came from another page.", 403)
        given = (await form(request)).get("password", "")
        if not hmac.compare_digest(given.encode(), app_state.password.encode()):
            return HTMLResponse(app_state.render_page("login", wrong=True), 401)
        return set_cookie(RedirectResponse("/admin", 303), secrets.token_hex(16))

    @app.post("/admin/logout")
    async def logout(request: Request) -> Response:
        fields = await checked(request)
        if isinstance(fields, Response):
            return fields
        response = RedirectResponse("/admin", 303)
        response.delete_cookie(ADMIN_COOKIE, path="/admin")
        return response

    @app.post("/admin/state")
    async def state(request: Request) -> Response:
        fields = await checked(request)
        if isinstance(fields, Response):
            return fields
        if fields.get("do") not in STATE_BY_ACTION:
            return _render_message(app_state, "Not done", "A study can be opened, paused or closed.", 422)
        await run_in_threadpool(app_state.sessions.set_state, STATE_BY_ACTION[fields["do"]])
        return RedirectResponse("/admin", 303)

    @app.post("/admin/delete")
    async def delete(request: Request) -> Response:
        fields = await checked(request)
        if isinstance(fields, Response):
            return fields
        participant = fields.get("participant", "").strip()
        if not await run_in_threadpool(app_state.sessions.withdraw, participant):
            return _render_message(app_state, "Nothing deleted", f"There is no participant {participant!r}.", 404)
        return RedirectResponse("/admin", 303)

    @app.get("/admin/judgements.csv")
    def download(request: Request) -> Response:
        if signed_in(request) is None:
            return RedirectResponse("/admin", 303)
        content, _ = export.to_csv(app_state.database, app_state.config)
        name = "simulated-judgements.csv" if app_state.study_row.simulated else "judgements.csv"
        return Response(content, media_type="text/csv; charset=utf-8",
                        headers={"Content-Disposition": f'attachment; filename="{name}"'})  # fmt: skip


def _password_digest(app_state: AppState) -> str:
    """Tells passwords apart without telling them."""
    return app_state.signer.hmac_digest("password", app_state.password).hex()[:16]


def _render_message(app_state: AppState, title: str, text: str, status: int) -> HTMLResponse:
    return HTMLResponse(app_state.render_page("message", title=title, text=text, back="/admin"), status)
