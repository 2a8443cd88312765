"""The researcher's page under /admin: a password, then progress, pause and close, deletion on request, export."""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from synesthesia.human_study import data_quality, export
from synesthesia.human_study.web.app_state import ADMIN_SECONDS, Site
from synesthesia.human_study.web.progress import overview
from synesthesia.human_study.web.security import same_origin

COOKIE = "study_admin"
STATES = {"open": "open", "pause": "paused", "close": "closed"}


def add(app: FastAPI, site: Site) -> None:
    """Add the researcher's routes."""

    def signed_in(request: Request) -> str | None:
        sealed = site.signer.unseal(request.cookies.get(COOKIE), "admin", ADMIN_SECONDS)
        if sealed is None:
            return None
        session, _, password = sealed.partition("|")
        return session if hmac.compare_digest(password, _mark(site)) else None  # a new password ends old sessions

    async def form(request: Request) -> dict[str, str]:
        body = (await request.body()).decode("utf-8", "replace")
        return {name: values[-1] for name, values in parse_qs(body, max_num_fields=10).items()}

    async def checked(request: Request) -> dict[str, str] | Response:
        """The fields of a form that this page made for this researcher, or what to answer instead."""
        session = signed_in(request)
        if session is None:
            return RedirectResponse("/admin", 303)
        fields = await form(request)
        origin = same_origin(request.headers.get("origin"), request.headers.get("host"))
        if not origin or not site.signer.genuine(fields.get("token"), f"admin {session}"):
            return _message(
                site, "Not done", "This form has expired or came from another page. Go back and try again.", 403
            )
        return fields

    def set_cookie(response: Response, session: str) -> Response:
        sealed = site.signer.seal(f"{session}|{_mark(site)}", "admin")
        response.set_cookie(COOKIE, sealed, max_age=ADMIN_SECONDS, httponly=True, samesite="strict", path="/admin",
                            secure=site.settings.https)  # fmt: skip
        return response

    @app.get("/admin")
    def page(request: Request) -> Response:
        session = signed_in(request)
        if session is None:
            return HTMLResponse(site.page("login", wrong=False))
        site.sessions.close_late()
        return HTMLResponse(
            site.page("admin", progress=overview(site), token=site.signer.token(f"admin {session}"),
                      rules=data_quality.in_words(site.study.careless, site.study.slow_median_seconds),
                      ready=site.consent.ready)
        )  # fmt: skip

    @app.post("/admin/login")
    async def login(request: Request) -> Response:
        client = request.client.host if request.client else "?"
        if not site.limits["logins"].allows(client) or not site.limits["all logins"].allows("all"):
            return _message(site, "Too many tries", "Wait a minute, then try again.", 429)
        if not same_origin(request.headers.get("origin"), request.headers.get("host")):
            return _message(site, "Not done", "This form came from another page.", 403)
        given = (await form(request)).get("password", "")
        if not hmac.compare_digest(given.encode(), site.password.encode()):
            return HTMLResponse(site.page("login", wrong=True), 401)
        return set_cookie(RedirectResponse("/admin", 303), secrets.token_hex(16))

    @app.post("/admin/logout")
    async def logout(request: Request) -> Response:
        fields = await checked(request)
        if isinstance(fields, Response):
            return fields
        response = RedirectResponse("/admin", 303)
        response.delete_cookie(COOKIE, path="/admin")
        return response

    @app.post("/admin/state")
    async def state(request: Request) -> Response:
        fields = await checked(request)
        if isinstance(fields, Response):
            return fields
        if fields.get("do") not in STATES:
            return _message(site, "Not done", "A study can be opened, paused or closed.", 422)
        await run_in_threadpool(site.sessions.set_state, STATES[fields["do"]])
        return RedirectResponse("/admin", 303)

    @app.post("/admin/delete")
    async def delete(request: Request) -> Response:
        fields = await checked(request)
        if isinstance(fields, Response):
            return fields
        participant = fields.get("participant", "").strip()
        if not await run_in_threadpool(site.sessions.withdraw, participant):
            return _message(site, "Nothing deleted", f"There is no participant {participant!r}.", 404)
        return RedirectResponse("/admin", 303)

    @app.get("/admin/judgements.csv")
    def download(request: Request) -> Response:
        if signed_in(request) is None:
            return RedirectResponse("/admin", 303)
        content, _ = export.text(site.database, site.study)
        name = "simulated-judgements.csv" if site.row.simulated else "judgements.csv"
        return Response(content, media_type="text/csv; charset=utf-8",
                        headers={"Content-Disposition": f'attachment; filename="{name}"'})  # fmt: skip


def _mark(site: Site) -> str:
    """Tells passwords apart without telling them."""
    return site.signer.keyed("password", site.password).hex()[:16]


def _message(site: Site, title: str, text: str, status: int) -> HTMLResponse:
    return HTMLResponse(site.page("message", title=title, text=text, back="/admin"), status)
