"""The environment of an endpoint's client: key, certificates, and proxies; each fault names the variable."""

from __future__ import annotations

import os
import ssl
import unicodedata
import urllib.request
from urllib.parse import urlsplit

import httpx

from synesthesia.models.endpoint_config import EndpointConfig
from synesthesia.models.errors import ModelError

CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def read_key(endpoint: EndpointConfig, name: str) -> str | None:
    """Read the key from the environment variable that the endpoint's file names.

    Args:
        endpoint: The endpoint.
        name: Its file, for error messages.

    Returns:
        The key; None if the endpoint needs none.

    Raises:
        ModelError: The variable is not set, its value cannot be sent, or it would be sent unencrypted.
    """
    variable = endpoint.api_key_variable
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ModelError(f"{name}: set the environment variable {variable} to the key (api_key_variable)")
    for position, character in enumerate(key, 1):
        if not "!" <= character <= "~":
            description = unicodedata.name(character, f"U+{ord(character):04X}").lower()
            raise ModelError(
                f"{name}: the environment variable {variable} has a character that no HTTP header can carry: "
                f"{description}, at position {position}; copy the key again without it"
            )
    parts = urlsplit(endpoint.url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ModelError(f"{name}: url is http, which would send the key unencrypted: use https")
    return key


def make_client(endpoint: EndpointConfig, key: str | None, name: str) -> httpx.Client:
    """Create the HTTP client.

    Args:
        endpoint: The endpoint.
        key: The key, or None.
        name: The endpoint's file, for error messages.

    Returns:
        The client.

    Raises:
        ModelError: An environment variable of certificates or proxies has a value that cannot be used.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        return httpx.Client(headers=headers, timeout=endpoint.timeout_seconds, follow_redirects=False)
    except (OSError, ssl.SSLError) as error:
        set_variables = [v for v in CERTIFICATE_VARIABLES if os.environ.get(v)]
        variables = [v for v in set_variables if not os.path.exists(os.environ[v])] or set_variables
        values = " and ".join(f"{v} ({os.environ[v]})" for v in variables) or "the system's certificates"
        raise ModelError(
            f"{name}: the certificates of {values} cannot be read: {error}; correct the variable or unset it"
        ) from None
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        values = " and ".join(f"{variable} ({value})" for variable, value in _proxy_variables().items())
        raise ModelError(
            f"{name}: the proxy of {values} cannot be used: {error}; correct the variable or unset it"
        ) from None


def explain_connection_error(error: Exception, url: str) -> str:
    """Say which environment variable stands between this machine and the endpoint, if one does.

    Args:
        error: Why the connection failed.
        url: URL of the endpoint.

    Returns:
        A text for the message, empty if no variable is involved.
    """
    parts = urlsplit(url)
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        used = [v for v in CERTIFICATE_VARIABLES if os.environ.get(v)]
        return f": {' and '.join(used)} set the accepted certificates" if used else ""
    try:
        is_bypassed = urllib.request.proxy_bypass(parts.netloc)
    except (OSError, ValueError):
        is_bypassed = False
    if is_bypassed:
        return ""
    for variable, value in _proxy_variables().items():
        if variable.lower() in (f"{parts.scheme}_proxy", "all_proxy"):
            host = urlsplit(value).hostname or value
            return (
                f" through the proxy {host} of the environment variable {variable}; to reach the endpoint directly, "
                f"set NO_PROXY={parts.hostname}"
            )
    return ""


def _proxy_variables() -> dict[str, str]:
    names = ("http_proxy", "https_proxy", "all_proxy")
    return {v: os.environ[v] for name in names for v in (name, name.upper()) if os.environ.get(v)}
