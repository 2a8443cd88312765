"""OpenAI-compatible endpoints that take audio or frames: vLLM, SGLang, llama.cpp, hosted models.

The "checkpoint" is a YAML file (schema: `EndpointConfig`), which the answers depend on as on weights:

    url: http://127.0.0.1:8000/v1            # /chat/completions is appended
    model: Qwen/Qwen2.5-Omni-7B
    api_key_variable: VLLM_API_KEY           # the NAME of an environment variable; null: no key
    concurrency: 8                           # requests in flight
    requests_per_minute: 600                 # null: no limit
    timeout_seconds: 60.0                    # per request
    attempts: 6
    top_logprobs: 20                         # 0: request none, parse letters from the text
    extra: {max_completion_tokens: 16, max_tokens: null}   # added to each request; null removes a key

Letters come from the log-probabilities of the first non-blank token if the endpoint returns them, else from the text.
A reply without a letter counts as wrong and is never guessed. Refusals by a content filter are such replies. Every
other error is retried with exponential backoff (`Retry-After` is honored) or, if a retry cannot help, ends the run with
one message.
"""

from __future__ import annotations

import base64
import email.utils
import json
import math
import os
import random
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import yaml
from pydantic import Field, ValidationError

from synesthesia.config import ModelConfig, PositiveFloat, PositiveInt, StrictModel
from synesthesia.models.errors import ModelError
from synesthesia.models.text_model import EncodedClipInputs, Reply, TextOnlyModel
from synesthesia.schemas import LETTERS
from synesthesia.utils.wav import encode_wav

RETRY_STATUSES = {408, 409, 425, 429, 500, 502, 503, 504, 529}  # transient
CONTENT_FILTER_CODES = ("content_filter", "content_policy_violation")
MAX_BACKOFF = 60.0  # seconds, without a Retry-After header
MAX_RETRY_AFTER = 600.0  # seconds
MAX_RESPONSE_BYTES = 4 * 2**20  # a letter and its log-probabilities take some hundreds of bytes


class EndpointConfig(StrictModel):
    """Schema of the endpoint's file; the module docstring describes the keys."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    model: str
    api_key_variable: str | None = None
    concurrency: PositiveInt = 4
    requests_per_minute: PositiveFloat | None = None
    timeout_seconds: PositiveFloat = 60.0
    attempts: PositiveInt = 6
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 20
    max_tokens: PositiveInt = 16
    extra: dict[str, Any] = Field(default_factory=dict)


class RetryableError(Exception):
    """A transient error; `retry_after`: seconds that the endpoint asks to wait, or None."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OpenAICompatibleModel(TextOnlyModel):
    """A model behind an endpoint, with the modalities of the entry's `condition`; frames are the store's JPEGs."""

    def __init__(self, endpoint: EndpointConfig, condition: str, name: str = "endpoint") -> None:
        self.endpoint, self.condition, self.name = endpoint, condition, name
        self.concurrency = endpoint.concurrency
        self._api_key = self._read_key()
        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        self._client = httpx.Client(headers=headers, timeout=endpoint.timeout_seconds, follow_redirects=False)
        self._schedule_lock, self._next_start, self._hold_until = threading.Lock(), 0.0, 0.0
        self._stopped = threading.Event()

    @classmethod
    def load(cls, model_config: ModelConfig) -> OpenAICompatibleModel:
        """Read the endpoint's file.

        Args:
            model_config: Its entry in params.yaml; `checkpoint` is the file.

        Returns:
            The model, ready to answer.

        Raises:
            ModelError: The file cannot be used; the message names the key.
        """
        try:
            values = yaml.safe_load(Path(model_config.checkpoint).read_text(encoding="utf-8"))
            return cls(EndpointConfig.model_validate(values), model_config.condition, model_config.checkpoint)
        except FileNotFoundError:
            raise ModelError(
                f"{model_config.checkpoint}: no such file; models/openai_api.py describes its keys"
            ) from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ModelError(f"{model_config.checkpoint} is not a readable YAML file: {error}") from None
        except ValidationError as error:
            details = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
            raise ModelError(f"{model_config.checkpoint}: {details}") from None

    def _read_key(self) -> str | None:
        variable = self.endpoint.api_key_variable
        if variable is None:
            return None
        key = os.environ.get(variable, "").strip()
        if not key:
            raise ModelError(f"{self.name}: set the environment variable {variable} to the key (api_key_variable)")
        parts = urlsplit(self.endpoint.url)
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ModelError(f"{self.name}: url is http, which would send the key unencrypted: use https")
        return key

    def build_request(self, clip: EncodedClipInputs, prompt: str) -> dict[str, Any]:
        """Build the body of the request: one user message of the media, then the paper's question.

        Args:
            clip: Media of the clip.
            prompt: The question.

        Returns:
            A JSON object for /chat/completions.
        """
        content: list[dict] = []
        for jpeg in clip.jpegs or ():
            content.append(
                {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_encode_base64(jpeg)}"}}
            )
        if clip.audio is not None:
            audio = {"data": _encode_base64(encode_wav(clip.audio)), "format": "wav"}
            content.append({"type": "input_audio", "input_audio": audio})
        content.append({"type": "text", "text": prompt})
        body = {
            "model": self.endpoint.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.endpoint.max_tokens,
            "temperature": 0,
        }
        if self.endpoint.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": self.endpoint.top_logprobs}
        return {k: v for k, v in {**body, **self.endpoint.extra}.items() if v is not None}

    def reply(self, clip: EncodedClipInputs, prompt: str, num_options: int) -> Reply:
        """Ask one question under the rate limit, with up to `attempts` attempts.

        Args:
            clip: Media of the clip.
            prompt: The question.
            num_options: Number of options, 2 to 10.

        Returns:
            The reply.

        Raises:
            ModelError: A retry cannot help, or the last attempt failed.
        """
        body = self.build_request(clip, prompt)
        for attempt in range(1, self.endpoint.attempts + 1):
            self._wait_for_slot()
            try:
                return parse_completion(self._post(body), num_options)
            except RetryableError as error:
                if attempt == self.endpoint.attempts:
                    raise self._model_error(
                        f"{error}, {attempt} times; finished answers are kept: run the same command again to continue"
                    ) from None
                backoff = min(MAX_BACKOFF, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)
                if error.retry_after is not None:
                    self._hold(error.retry_after)
                else:
                    self._stopped.wait(backoff)
        raise AssertionError("attempts is at least 1")

    def stop(self) -> None:
        """Wake waiting threads and start no further request."""
        self._stopped.set()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _wait_for_slot(self) -> None:
        """Wait until this request may start, by `requests_per_minute` and the endpoint's last Retry-After."""
        interval = 60.0 / self.endpoint.requests_per_minute if self.endpoint.requests_per_minute else 0.0
        with self._schedule_lock:
            start = max(time.monotonic(), self._next_start)
            self._next_start = start + interval
        while not self._stopped.is_set() and (delay := max(start, self._hold_until) - time.monotonic()) > 0:
            self._stopped.wait(delay)
        if self._stopped.is_set():
            raise self._model_error("stopped after another request failed")

    def _hold(self, seconds: float) -> None:
        self._hold_until = max(self._hold_until, time.monotonic() + seconds)

    def _post(self, body: dict) -> dict:
        """Send one request; raise RetryableError for transient errors, ModelError for permanent ones."""
        url = self.endpoint.url.rstrip("/") + "/chat/completions"
        deadline, received = time.monotonic() + self.endpoint.timeout_seconds, bytearray()
        try:
            with self._client.stream("POST", url, json=body) as response:
                for chunk in response.iter_bytes():  # httpx's timeout is per read: a slow stream needs its own limit
                    received += chunk
                    if time.monotonic() > deadline:
                        raise httpx.ReadTimeout("")
                    if len(received) > MAX_RESPONSE_BYTES:
                        raise self._model_error(f"its reply is longer than {MAX_RESPONSE_BYTES:,} bytes")
        except httpx.TimeoutException:
            raise RetryableError(f"no answer within {self.endpoint.timeout_seconds:g} s (timeout_seconds)") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise RetryableError(f"the connection failed ({type(error).__name__}: {error})") from None
        return self._parse_response(response, bytes(received))

    def _parse_response(self, response: httpx.Response, body: bytes) -> dict:
        try:
            content = json.loads(body)
        except ValueError:
            content = None
        if response.status_code == 200:
            if not isinstance(content, dict) or not isinstance(content.get("choices"), list) or not content["choices"]:
                raise RetryableError(f"the response is not a completion: {_excerpt(body)}")
            return content
        error = content.get("error") if isinstance(content, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        if code in CONTENT_FILTER_CODES:
            return {"choices": [{"message": {"content": None}, "finish_reason": CONTENT_FILTER_CODES[0]}]}
        message = f"HTTP {response.status_code}: {_excerpt(body)}"
        if response.status_code in RETRY_STATUSES and code != "insufficient_quota":
            raise RetryableError(message, parse_retry_after(response.headers.get("Retry-After")))
        raise self._model_error(message)

    def _model_error(self, message: str) -> ModelError:
        redacted = message.replace(self._api_key, "***") if self._api_key else message
        return ModelError(f"{self.name} ({self.endpoint.model} at {self.endpoint.url}): {redacted}")


def parse_completion(completion: dict, num_options: int) -> Reply:
    """Parse the reply of a completion.

    Args:
        completion: The response, a JSON object.
        num_options: Number of options, 2 to 10.

    Returns:
        The reply.

    Raises:
        RetryableError: The object is not a completion.
    """
    try:
        choice = completion["choices"][0]
        text = choice["message"].get("content")
        if isinstance(text, list):  # some servers return parts
            text = "".join(part.get("text", "") for part in text)
        if text is not None and not isinstance(text, str):
            raise TypeError("content is not text")
        return Reply(text, parse_letter_logprobs((choice.get("logprobs") or {}).get("content") or (), num_options))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RetryableError(f"the response is not a completion ({type(error).__name__}: {error})") from None


def parse_letter_logprobs(tokens: Sequence[dict], num_options: int) -> tuple[float, ...] | None:
    """Parse the letters' log-probabilities at the first non-blank token.

    Probabilities of the variants of one letter ("A", " A") are summed. A letter outside the top tokens is less likely
    than each of them and gets the minimum of their log-probabilities, an upper bound.

    Args:
        tokens: `logprobs.content` of a completion.
        num_options: Number of options, 2 to 10.

    Returns:
        Log-probabilities (options,), or None if no letter is among the top tokens.
    """
    first = next((t for t in tokens if t["token"].strip()), None)
    top = [] if first is None else (first.get("top_logprobs") or [])
    probabilities: dict[str, float] = {}
    for token in top:
        letter, logprob = token["token"].strip(), float(token["logprob"])
        if len(letter) == 1 and letter in LETTERS[:num_options] and not math.isnan(logprob):
            probabilities[letter] = probabilities.get(letter, 0.0) + math.exp(min(logprob, 0.0))
    if not probabilities:
        return None
    floor = max(min(float(t["logprob"]) for t in top), -100.0)  # finite: some servers list minus infinity
    return tuple(
        max(math.log(probabilities[x]), floor) if probabilities.get(x) else floor for x in LETTERS[:num_options]
    )


def parse_retry_after(value: str | None) -> float | None:
    """Parse a Retry-After header, a number or a date (RFC 9110, section 10.2.3).

    Args:
        value: The header, or None.

    Returns:
        Seconds, at most `MAX_RETRY_AFTER`; None if there is no valid header.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (email.utils.parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if math.isfinite(seconds) else None


def _encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _excerpt(body: bytes) -> str:
    return repr(body[:300].decode("utf-8", "replace"))
