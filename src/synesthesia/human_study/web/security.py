"""Security: secrets, signed cookies, CSRF tokens, rate limits, headers, and the researcher's password."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from collections import OrderedDict
from pathlib import Path

from itsdangerous import BadSignature, URLSafeTimedSerializer

SECRET_BYTES = 32
SECRET_ENV = "SYNESTHESIA_HUMAN_STUDY_SECRET"
PASSWORD_ENV = "SYNESTHESIA_ADMIN_PASSWORD"
MIN_PASSWORD_LENGTH = 12
COMMON_PASSWORD_WORDS = ("password", "synesthesia", "changeme", "change-me", "administrator", "admin", "letmein",
                         "qwerty", "123456", "welcome", "secret", "iloveyou", "default", "study")  # fmt: skip

# 'self' only: no script, style, or media of other servers, nothing inline, no frame around the page, no form to other
# servers. Media are blobs, because the page loads them completely to know when loading ends.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with "no-referrer", browsers send Origin: null from forms
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityError(ValueError):
    """A secret or password is too weak; the message gives a remedy."""


def load_secret(path: Path) -> bytes:
    """Load the study's secret from SYNESTHESIA_HUMAN_STUDY_SECRET or a file, which is created if missing (mode 600).

    Names of stimuli, cookies, and hashes of external ids depend on it: losing it ends the running sessions.

    Args:
        path: The file.

    Returns:
        The secret.

    Raises:
        SecurityError: The secret is shorter than `SECRET_BYTES`.
    """
    from_env = os.environ.get(SECRET_ENV)
    if from_env is not None:
        if len(from_env) < SECRET_BYTES:
            raise SecurityError(f"{SECRET_ENV} has {len(from_env)} characters, but needs at least {SECRET_BYTES}: "
                                "unset it to have a secret generated")  # fmt: skip
        return from_env.encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes().strip()
        if len(secret) < SECRET_BYTES:
            raise SecurityError(f"{path} is too short for a secret: restore the old one, or delete it to have one "
                                "generated (this ends running sessions and recreates stimuli)") from None  # fmt: skip
        return secret
    with os.fdopen(descriptor, "wb") as file:
        secret = secrets.token_hex(SECRET_BYTES).encode()
        file.write(secret)
    return secret


def check_password(password: str) -> str:
    """Check the researcher's password.

    Args:
        password: The password.

    Returns:
        The password.

    Raises:
        SecurityError: The password is short or common.
    """
    remainder = password.casefold()
    for word in COMMON_PASSWORD_WORDS:
        remainder = remainder.replace(word, "")
    if len(password) < MIN_PASSWORD_LENGTH:
        raise SecurityError(f"{PASSWORD_ENV} has {len(password)} characters, but needs {MIN_PASSWORD_LENGTH}; unset it "
                            "to have a password generated and printed")  # fmt: skip
    if len(set(remainder.strip("0123456789!?.-_ "))) < 4:
        raise SecurityError(f"{PASSWORD_ENV} is a common password: choose another, or unset it to have one generated "
                            "and printed")  # fmt: skip
    return password


def generate_password() -> str:
    """Generate a password of 128 random bits."""
    return secrets.token_urlsafe(16)


class Signer:
    """Signed cookie values, CSRF tokens, and keyed hashes, separated by purpose.

    Args:
        secret: The study's secret.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._serializer = URLSafeTimedSerializer(
            secret, salt="cookie", signer_kwargs={"digest_method": hashlib.sha256}
        )

    def sign(self, value: str, purpose: str) -> str:
        """Sign a cookie value.

        Args:
            value: The value.
            purpose: What the cookie is for; `unsign` checks it.

        Returns:
            The signed value with a timestamp.
        """
        serialized = self._serializer.dumps([purpose, value])
        return serialized if isinstance(serialized, str) else serialized.decode()

    def unsign(self, cookie: str | None, purpose: str, max_age: int) -> str | None:
        """Verify a signed cookie value.

        Args:
            cookie: The signed value.
            purpose: The purpose given to `sign`.
            max_age: Maximum age in seconds.

        Returns:
            The value, or None if the signature, purpose, or age is wrong.
        """
        if not cookie or len(cookie) > 500:
            return None
        try:
            signed_purpose, value = self._serializer.loads(cookie, max_age=max_age)
        except (BadSignature, ValueError, TypeError):
            return None
        return value if signed_purpose == purpose and isinstance(value, str) else None

    def csrf_token(self, session: str) -> str:
        """Compute a session's CSRF token.

        Args:
            session: The session.

        Returns:
            64 hexadecimal digits.
        """
        return self.hmac_digest("csrf", session).hex()

    def verify_csrf(self, token: str | None, session: str) -> bool:
        """Verify a CSRF token.

        Args:
            token: The token of the request.
            session: The session.

        Returns:
            Whether the token is the session's.
        """
        return hmac.compare_digest((token or "").encode(), self.csrf_token(session).encode())

    def hmac_digest(self, purpose: str, value: str) -> bytes:
        """Compute a keyed hash.

        Args:
            purpose: Separates hashes of equal values.
            value: The value.

        Returns:
            HMAC-SHA256, 32 bytes.
        """
        return hmac.new(self._secret, f"{purpose}\0{value}".encode(), hashlib.sha256).digest()


class RateLimiter:
    """In-memory token buckets, one per key, full at first.

    Keys may be network addresses: they are hashed under a key that ends with the process, and dropped once their bucket
    is full again or `max_keys` newer ones exist.

    Args:
        max_requests: Bucket size; also the number of requests allowed per window.
        window_seconds: Window in seconds.
        max_keys: Maximum number of buckets.
    """

    def __init__(self, max_requests: int, window_seconds: float, max_keys: int = 20_000) -> None:
        self.max_requests, self.window_seconds, self.max_keys = max_requests, window_seconds, max_keys
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        self._hash_key, self._lock = secrets.token_bytes(16), threading.Lock()

    def try_acquire(self, key: str, now: float | None = None) -> bool:
        """Take a token from a bucket.

        Args:
            key: The bucket's key.
            now: Time in seconds; the monotonic clock by default.

        Returns:
            False if the bucket is empty.
        """
        now = time.monotonic() if now is None else now
        name = hashlib.blake2b(key.encode(), key=self._hash_key, digest_size=16).digest()
        with self._lock:
            level, updated_at = self._buckets.pop(name, (float(self.max_requests), now))
            refill = (now - updated_at) * self.max_requests / self.window_seconds
            level = min(float(self.max_requests), level + refill)
            is_allowed = level >= 1
            self._buckets[name] = (level - 1 if is_allowed else level, now)
            while self._buckets:
                oldest, (_, updated_at) = next(iter(self._buckets.items()))
                if updated_at > now - self.window_seconds and len(self._buckets) <= self.max_keys:
                    break
                del self._buckets[oldest]
            return is_allowed


def is_same_origin(origin: str | None, host: str | None) -> bool:
    """Check a request's Origin header.

    Args:
        origin: The header, if the browser sends it.
        host: The Host header.

    Returns:
        Whether the request comes from this server's pages, or has no Origin header. Capital letters and a default
        port, as some proxies write them, make no difference.
    """
    if origin is None:
        return True
    scheme, _, authority = origin.partition("://")
    return scheme.lower() in ("http", "https") and _normalize(authority) in {_normalize(host or "")} - {None}


def _normalize(authority: str) -> str | None:
    """Return a host and its port in one spelling, without a default port; None if it is no host and port.

    A proxy that ends TLS may name the port of either side, so both default ports count for both schemes.
    """
    match = re.fullmatch(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?", authority.strip(), re.ASCII)
    if match is None:
        return None
    host, port = match[1].lower().removesuffix("."), match[2]
    return host if port in (None, "", "80", "443") else f"{host}:{port}"
