"""ASGI middleware: security headers on responses, HEAD as GET without a body, and a size limit on request bodies."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synesthesia.human_study.web.security import SECURITY_HEADERS

MAX_BODY_BYTES = 16 * 1024


class SecurityMiddleware:
    """Adds security headers, forbids caching unless a response allows it, answers HEAD, and refuses long bodies.

    Args:
        app: The application.
        https: Whether to send Strict-Transport-Security.
    """

    def __init__(self, app: ASGIApp, https: bool = False) -> None:
        self.app = app
        headers = SECURITY_HEADERS | ({"Strict-Transport-Security": "max-age=31536000"} if https else {})
        self.headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection.

        Args:
            scope: ASGI scope.
            receive: Receives messages of the request.
            send: Sends messages of the response.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        is_head = scope["method"] == "HEAD"  # as monitors and link previews send it

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.body" and is_head:
                message = {**message, "body": b""}
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in self.headers if h[0] not in names)]
                if b"cache-control" not in names:
                    is_static = scope["path"].startswith("/static/")
                    message["headers"].append((b"cache-control", b"no-cache" if is_static else b"no-store"))
            await send(message)

        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            await _send_body_too_large(send_with_headers)
            return
        n_bytes = 0

        async def receive_limited() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > MAX_BODY_BYTES:  # a body without a declared length
                return {"type": "http.disconnect"}
            return message

        await self.app({**scope, "method": "GET"} if is_head else scope, receive_limited, send_with_headers)


async def _send_body_too_large(send: Send) -> None:
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"request body too large"})
