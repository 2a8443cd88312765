"""What keeps the study safe: secrets, signed cookies, CSRF tokens, rate limits, headers, the researcher's password."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
import time
from collections import OrderedDict
from pathlib import Path

from itsdangerous import BadSignature, URLSafeTimedSerializer

SECRET_BYTES = 32
MIN_PASSWORD_LENGTH = 12
COMMON_PASSWORD_WORDS = ("password", "synesthesia", "changeme", "change-me", "administrator", "admin", "letmein", "qwerty", "123456",
          "welcome", "secret", "iloveyou", "default", "study")  # fmt: skip

# 'self' alone: no script, style or media from elsewhere, nothing inline, no frame around the page, no form sent away.
# Media come as blobs, since the page fetches them whole to know when loading ended.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # not "no-referrer": with it, browsers send Origin: null from forms
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityError(ValueError):
    """A secret or password that would not protect anything; the message says what to do."""


def load_secret(path: Path) -> bytes:
    """The study's secret: SYNESTHESIA_STUDY_SECRET, or the file, which is made (mode 600) where it is missing.

    Names of stimuli, cookies and hashes of external ids hang on it: losing it ends the running sessions.
    """
    given = os.environ.get("SYNESTHESIA_STUDY_SECRET")
    if given is not None:
        if len(given) < SECRET_BYTES:
            raise SecurityError(f"SYNESTHESIA_STUDY_SECRET has {len(given)} characters, at least {SECRET_BYTES} are "
                                "needed: leave it unset to have one made")  # fmt: skip
        return given.encode()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes().strip()
        if len(secret) < SECRET_BYTES:
            raise SecurityError(f"{path} is too short for a secret: put the old one back, or remove it to have one "
                                "made (running sessions then end, and stimuli are made again)") from None  # fmt: skip
        return secret
    with os.fdopen(handle, "wb") as file:
        secret = secrets.token_hex(SECRET_BYTES).encode()
        file.write(secret)
    return secret


def check_password(password: str) -> str:
    """The researcher's password, if it is one to protect with; raise SecurityError for short and well-known ones."""
    bare = password.casefold()
    for word in COMMON_PASSWORD_WORDS:
        bare = bare.replace(word, "")
    if len(password) < MIN_PASSWORD_LENGTH:
        raise SecurityError(f"SYNESTHESIA_ADMIN_PASSWORD has {len(password)} characters, {MIN_PASSWORD_LENGTH} "
                            "are needed; leave it unset to have one made and printed")  # fmt: skip
    if len(set(bare.strip("0123456789!?.-_ "))) < 4:
        raise SecurityError("SYNESTHESIA_ADMIN_PASSWORD is one that everybody tries first: choose another, or leave it "
                            "unset to have one made and printed")  # fmt: skip
    return password


def generate_password() -> str:
    """A password nobody guesses: 128 random bits."""
    return secrets.token_urlsafe(16)


class Signer:
    """Signed values for cookies, tokens against forged requests, and keyed hashes, each under a key of its own."""

    def __init__(self, secret: bytes):
        self._secret = secret
        self._serializer = URLSafeTimedSerializer(
            secret, salt="cookie", signer_kwargs={"digest_method": hashlib.sha256}
        )

    def sign(self, value: str, purpose: str) -> str:
        """A cookie's value."""
        return self._serializer.dumps([purpose, value])

    def unsign(self, cookie: str | None, purpose: str, max_age: int) -> str | None:
        """The value of a cookie that this study made for this purpose within the last `seconds`, else None."""
        if not cookie or len(cookie) > 500:
            return None
        try:
            made_for, value = self._serializer.loads(cookie, max_age=max_age)
        except (BadSignature, ValueError, TypeError):
            return None
        return value if made_for == purpose and isinstance(value, str) else None

    def csrf_token(self, session: str) -> str:
        """The token that pages of a session send back with every change."""
        return self.hmac_digest("csrf", session).hex()

    def verify_csrf(self, token: str | None, session: str) -> bool:
        """Whether a token is this session's."""
        return hmac.compare_digest((token or "").encode(), self.csrf_token(session).encode())

    def hmac_digest(self, purpose: str, value: str) -> bytes:
        """HMAC-SHA256, 32 bytes: the same for the same value, and without the secret nobody can tell of what."""
        return hmac.new(self._secret, f"{purpose}\0{value}".encode(), hashlib.sha256).digest()


class RateLimiter:
    """A token bucket a key: `rate` requests in `seconds`, a full bucket at first. In memory only.

    Keys may be network addresses; they are hashed under a key that dies with the process, and forgotten when their
    bucket is full again or `most` others have come.
    """

    def __init__(self, max_requests: int, window_seconds: float, max_keys: int = 20_000):
        self.max_requests, self.window_seconds, self.max_keys = max_requests, window_seconds, max_keys
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        self._hash_key, self._lock = secrets.token_bytes(16), threading.Lock()

    def try_acquire(self, key: str, now: float | None = None) -> bool:
        """Take one from the key's bucket; False where it is empty."""
        now = time.monotonic() if now is None else now
        name = hashlib.blake2b(key.encode(), key=self._hash_key, digest_size=16).digest()
        with self._lock:
            level, at = self._buckets.pop(name, (float(self.max_requests), now))
            level = min(float(self.max_requests), level + (now - at) * self.max_requests / self.window_seconds)
            allowed = level >= 1
            self._buckets[name] = (level - 1 if allowed else level, now)
            while self._buckets:
                oldest, (_, last) = next(iter(self._buckets.items()))
                if last > now - self.window_seconds and len(self._buckets) <= self.max_keys:
                    break
                del self._buckets[oldest]
            return allowed


def is_same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a request's Origin header, where the browser sends one, is this server."""
    return origin is None or origin.split("://", 1)[-1] == host
