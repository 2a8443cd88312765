"""Researcher pages under /admin: sign-in, progress, study state, deletion on request, export."""

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
    """Add the researcher's routes.

    Args:
        app: The application.
        app_state: State of the server process.
    """

    def read_session(request: Request) -> str | None:
        value = app_state.signer.unsign(request.cookies.get(ADMIN_COOKIE), "admin", ADMIN_MAX_AGE)
        if value is None:
            return None
        session, _, digest = value.partition("|")
        # a new password ends existing sessions
        return session if hmac.compare_digest(digest, _password_digest(app_state)) else None

    async def read_form(request: Request) -> dict[str, str]:
        body = (await request.body()).decode("utf-8", "replace")
        return {name: values[-1] for name, values in parse_qs(body, max_num_fields=10).items()}

    async def read_checked_form(request: Request) -> dict[str, str] | Response:
        """Return the fields of a form from this page and session, or the response that refuses it."""
        session = read_session(request)
        if session is None:
            return RedirectResponse("/admin", 303)
        fields = await read_form(request)
        is_own_page = is_same_origin(request.headers.get("origin"), request.headers.get("host"))
        if not is_own_page or not app_state.signer.verify_csrf(fields.get("csrf_token"), f"admin {session}"):
            return _render_message(
                app_state, "Not done", "This form has expired or came from another page. Go back and try again.", 403
            )
        return fields

    def set_cookie(response: Response, session: str) -> Response:
        signed = app_state.signer.sign(f"{session}|{_password_digest(app_state)}", "admin")
        response.set_cookie(ADMIN_COOKIE, signed, max_age=ADMIN_MAX_AGE, httponly=True, samesite="strict",
                            path="/admin", secure=app_state.settings.https)  # fmt: skip
        return response

    @app.get("/admin")
    def show_admin(request: Request) -> Response:
        session = read_session(request)
        if session is None:
            return HTMLResponse(app_state.render_page("login", is_wrong_password=False))
        app_state.sessions.close_timed_out()
        config = app_state.config
        page = app_state.render_page(
            "admin",
            progress=load_progress(app_state),
            csrf_token=app_state.signer.csrf_token(f"admin {session}"),
            quality_criteria=data_quality.describe_criteria(config.inattention, config.slow_median_seconds),
            has_contact=app_state.consent.has_contact,
        )
        return HTMLResponse(page)

    @app.post("/admin/login")
    async def log_in(request: Request) -> Response:
        address = request.client.host if request.client else "?"
        limiters = app_state.rate_limiters
        if not limiters["logins"].try_acquire(address) or not limiters["all_logins"].try_acquire("all"):
            return _render_message(app_state, "Too many attempts", "Wait a minute, then try again.", 429)
        if not is_same_origin(request.headers.get("origin"), request.headers.get("host")):
            return _render_message(app_state, "Not done", "This form came from another page.", 403)
        password = (await read_form(request)).get("password", "")
        if not hmac.compare_digest(password.encode(), app_state.password.encode()):
            return HTMLResponse(app_state.render_page("login", is_wrong_password=True), 401)
        return set_cookie(RedirectResponse("/admin", 303), secrets.token_hex(16))

    @app.post("/admin/logout")
    async def log_out(request: Request) -> Response:
        fields = await read_checked_form(request)
        if isinstance(fields, Response):
            return fields
        response = RedirectResponse("/admin", 303)
        response.delete_cookie(ADMIN_COOKIE, path="/admin")
        return response

    @app.post("/admin/state")
    async def set_state(request: Request) -> Response:
        fields = await read_checked_form(request)
        if isinstance(fields, Response):
            return fields
        if fields.get("action") not in STATE_BY_ACTION:
            return _render_message(app_state, "Not done", "A study can be opened, paused, or closed.", 422)
        await run_in_threadpool(app_state.sessions.set_state, STATE_BY_ACTION[fields["action"]])
        return RedirectResponse("/admin", 303)

    @app.post("/admin/delete")
    async def delete_participant(request: Request) -> Response:
        fields = await read_checked_form(request)
        if isinstance(fields, Response):
            return fields
        participant = fields.get("participant", "").strip()
        if not await run_in_threadpool(app_state.sessions.withdraw, participant):
            return _render_message(app_state, "Nothing deleted", f"There is no participant {participant!r}.", 404)
        return RedirectResponse("/admin", 303)

    @app.get("/admin/responses.csv")
    def download_responses(request: Request) -> Response:
        if read_session(request) is None:
            return RedirectResponse("/admin", 303)
        content, _ = export.to_csv(app_state.database, app_state.config)
        name = export.csv_name(app_state.study_row.is_simulated)
        return Response(content, media_type="text/csv; charset=utf-8",
                        headers={"Content-Disposition": f'attachment; filename="{name}"'})  # fmt: skip


def _password_digest(app_state: AppState) -> str:
    """Compute a digest that changes with the password."""
    return app_state.signer.hmac_digest("password", app_state.password).hex()[:16]


def _render_message(app_state: AppState, title: str, text: str, status: int) -> HTMLResponse:
    return HTMLResponse(app_state.render_page("message", title=title, text=text, back_url="/admin"), status)
