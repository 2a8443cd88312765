"""Around every request: security headers on the way out, a limit to the body on the way in."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synesthesia.human_study.web.security import SECURITY_HEADERS

MAX_BODY_BYTES = 16 * 1024


class SecurityMiddleware:
    """ASGI middleware: adds the headers, forbids caching unless a response says otherwise, refuses long bodies."""

    def __init__(self, app: ASGIApp, https: bool = False):
        self.app = app
        headers = SECURITY_HEADERS | ({"Strict-Transport-Security": "max-age=31536000"} if https else {})
        self.headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in self.headers if h[0] not in given)]
                if b"cache-control" not in given:
                    fixed = scope["path"].startswith("/static/")
                    message["headers"].append((b"cache-control", b"no-cache" if fixed else b"no-store"))
            await send(message)

        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            await _send_body_too_large(guarded, receive)
            return
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MAX_BODY_BYTES:  # a body that did not announce its length
                return {"type": "http.disconnect"}
            return message

        await self.app(scope, limited, guarded)


async def _send_body_too_large(send: Send, receive: Receive) -> None:
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"too long"})
