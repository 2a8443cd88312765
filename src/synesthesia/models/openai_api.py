"""Any OpenAI-compatible endpoint that takes sound or frames: vLLM, SGLang, llama.cpp, hosted models.

Its "checkpoint" is a small YAML file (typed: `Endpoint`), which the answers depend on as on weights:

    url: http://127.0.0.1:8000/v1            # /chat/completions is added
    model: Qwen/Qwen2.5-Omni-7B
    api_key_variable: VLLM_API_KEY           # the NAME of an environment variable; null: no key
    concurrency: 8                           # requests at a time
    requests_per_minute: 600                 # null: no limit
    timeout_seconds: 60.0                    # for a whole request
    attempts: 6
    top_logprobs: 20                         # 0: do not ask for any, letters are read from the text
    extra: {max_completion_tokens: 16, max_tokens: null}   # added to each request; null takes a key out

Letters come from the log-probabilities of the first word where the endpoint gives them, else from its text. What is
no letter is counted as wrong, never guessed. Refusals by a content filter are such answers; every other error is tried
again with growing pauses (`Retry-After` is honoured) or, where that cannot help, ends the run in one sentence.
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

RETRY_STATUSES = {408, 409, 425, 429, 500, 502, 503, 504, 529}  # statuses that may pass
CONTENT_FILTER_CODES = ("content_filter", "content_policy_violation")
MAX_BACKOFF = 60.0  # seconds, of our own; the endpoint's Retry-After may ask for up to ten minutes
MAX_RETRY_AFTER = 600.0
MAX_RESPONSE_BYTES = 4 * 2**20  # bytes; a letter and its log-probabilities take some hundreds


class EndpointConfig(StrictModel):
    """What the endpoint's file says."""

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
    """A fault that may pass; `after`: seconds that the endpoint asks to wait."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OpenAICompatibleModel(TextOnlyModel):
    """Hears, sees or both, as the entry's `condition` says; frames are sent as the JPEGs that curation kept."""

    def __init__(self, endpoint: EndpointConfig, condition: str, name: str = "endpoint") -> None:
        self.endpoint, self.condition, self.name = endpoint, condition, name
        self.concurrency = endpoint.concurrency
        self._api_key = self._read_key()
        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        self._client = httpx.Client(headers=headers, timeout=endpoint.timeout_seconds, follow_redirects=False)
        self._turns, self._next_turn, self._hold_until = threading.Lock(), 0.0, 0.0
        self._stopped = threading.Event()

    @classmethod
    def load(cls, model_config: ModelConfig) -> OpenAICompatibleModel:
        """Read the endpoint's file; raise ModelError, naming the key, where it cannot be used."""
        try:
            values = yaml.safe_load(Path(model_config.checkpoint).read_text(encoding="utf-8"))
            return cls(EndpointConfig.model_validate(values), model_config.condition, model_config.checkpoint)
        except FileNotFoundError:
            raise ModelError(
                f"{model_config.checkpoint}: no such file; see models/endpoint.py for what it says"
            ) from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ModelError(f"{model_config.checkpoint} is not a readable YAML file: {error}") from None
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
            raise ModelError(f"{model_config.checkpoint}: {wrong}") from None

    def _read_key(self) -> str | None:
        variable = self.endpoint.api_key_variable
        if variable is None:
            return None
        key = os.environ.get(variable, "").strip()
        if not key:
            raise ModelError(f"{self.name}: put the key into the environment variable {variable} (api_key_variable)")
        where = urlsplit(self.endpoint.url)
        if where.scheme == "http" and where.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ModelError(f"{self.name}: url is http, and the key would travel in the open: use https")
        return key

    def build_request(self, clip: EncodedClipInputs, prompt: str) -> dict[str, Any]:
        """The body of the request: media first, then the paper's question, as one message of the user."""
        content: list[dict] = []
        for jpeg in clip.jpegs or ():
            content.append(
                {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_encode_base64(jpeg)}"}}
            )
        if clip.audio is not None:
            sound = {"data": _encode_base64(encode_wav(clip.audio)), "format": "wav"}
            content.append({"type": "input_audio", "input_audio": sound})
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
        """Ask one question, in its turn and as often as `attempts` says."""
        body = self.build_request(clip, prompt)
        for attempt in range(1, self.endpoint.attempts + 1):
            self._wait_for_turn()
            try:
                return parse_completion(self._post(body), num_options)
            except RetryableError as fault:
                if attempt == self.endpoint.attempts:
                    raise self._model_error(
                        f"{fault}, {attempt} times; finished answers are kept: run the same command again to go on"
                    ) from None
                own = min(MAX_BACKOFF, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)
                if fault.retry_after is not None:
                    self._hold(fault.retry_after)
                else:
                    self._stopped.wait(own)
        raise AssertionError("attempts is at least 1")

    def stop(self) -> None:
        """Let waiting threads end soon: no further request starts."""
        self._stopped.set()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _wait_for_turn(self) -> None:
        """Until this request may start: `requests_per_minute` apart, and not before the endpoint said it may."""
        pace = 60.0 / self.endpoint.requests_per_minute if self.endpoint.requests_per_minute else 0.0
        with self._turns:
            turn = max(time.monotonic(), self._next_turn)
            self._next_turn = turn + pace
        while not self._stopped.is_set() and (left := max(turn, self._hold_until) - time.monotonic()) > 0:
            self._stopped.wait(left)
        if self._stopped.is_set():
            raise self._model_error("stopped after another request failed")

    def _hold(self, seconds: float) -> None:
        self._hold_until = max(self._hold_until, time.monotonic() + seconds)

    def _post(self, body: dict) -> dict:
        """One request; raise Busy for what may pass, ModelError for what will not."""
        url = self.endpoint.url.rstrip("/") + "/chat/completions"
        deadline, received = time.monotonic() + self.endpoint.timeout_seconds, bytearray()
        try:
            with self._client.stream("POST", url, json=body) as response:
                for piece in response.iter_bytes():  # httpx limits each read; an endpoint that drips must end as well
                    received += piece
                    if time.monotonic() > deadline:
                        raise httpx.ReadTimeout("")
                    if len(received) > MAX_RESPONSE_BYTES:
                        raise self._model_error(f"its reply is longer than {MAX_RESPONSE_BYTES:,} bytes")
        except httpx.TimeoutException:
            raise RetryableError(f"no answer within {self.endpoint.timeout_seconds:g} s (timeout_seconds)") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise RetryableError(f"the connection failed ({type(error).__name__}: {error})") from None
        return self._understand(response, bytes(received))

    def _understand(self, response: httpx.Response, received: bytes) -> dict:
        try:
            said = json.loads(received)
        except ValueError:
            said = None
        if response.status_code == 200:
            if not isinstance(said, dict) or not isinstance(said.get("choices"), list) or not said["choices"]:
                raise RetryableError(f"it answered with something that is no completion: {_excerpt(received)}")
            return said
        error = said.get("error") if isinstance(said, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        if code in CONTENT_FILTER_CODES:
            return {"choices": [{"message": {"content": None}, "finish_reason": CONTENT_FILTER_CODES[0]}]}
        what = f"HTTP {response.status_code}: {_excerpt(received)}"
        if response.status_code in RETRY_STATUSES and code != "insufficient_quota":
            raise RetryableError(what, parse_retry_after(response.headers.get("Retry-After")))
        raise self._model_error(what)

    def _model_error(self, message: str) -> ModelError:
        shown = message.replace(self._api_key, "***") if self._api_key else message
        return ModelError(f"{self.name} ({self.endpoint.model} at {self.endpoint.url}): {shown}")


def parse_completion(completion: dict, num_options: int) -> Reply:
    """The reply in a completion; raise Busy where it has not the form of one."""
    try:
        choice = completion["choices"][0]
        text = choice["message"].get("content")
        if isinstance(text, list):  # some servers answer in parts
            text = "".join(part.get("text", "") for part in text)
        if text is not None and not isinstance(text, str):
            raise TypeError("content is no text")
        return Reply(text, parse_letter_logprobs((choice.get("logprobs") or {}).get("content") or (), num_options))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RetryableError(
            f"it answered with something that is no completion ({type(error).__name__}: {error})"
        ) from None


def parse_letter_logprobs(tokens: Sequence[dict], num_options: int) -> tuple[float, ...] | None:
    """Log-probabilities (options,) of the letters at the first token that is not blank, or None where none is listed.

    Forms of one letter ("A", " A") are added up. A letter that is not among the listed tokens is less likely than each
    of them, and gets the least of their log-probabilities: a bound from above.
    """
    first = next((t for t in tokens if t["token"].strip()), None)
    listed = [] if first is None else (first.get("top_logprobs") or [])
    chances: dict[str, float] = {}
    for token in listed:
        letter, chance = token["token"].strip(), float(token["logprob"])
        if len(letter) == 1 and letter in LETTERS[:num_options] and not math.isnan(chance):
            chances[letter] = chances.get(letter, 0.0) + math.exp(min(chance, 0.0))
    if not chances:
        return None
    floor = max(min(float(t["logprob"]) for t in listed), -100.0)  # finite: some servers list minus infinity
    return tuple(max(math.log(chances[x]), floor) if chances.get(x) else floor for x in LETTERS[:num_options])


def parse_retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, a number or a date (RFC 9110, 10.2.3), ten minutes at most; None: no such."""
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


def _excerpt(received: bytes) -> str:
    return repr(received[:300].decode("utf-8", "replace"))
