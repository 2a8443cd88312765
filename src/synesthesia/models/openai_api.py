"""OpenAI-compatible endpoints that take audio or frames: vLLM, SGLang, llama.cpp, hosted models.

`endpoint_config.py` describes the endpoint's file. Letters come from the log-probabilities of the first token that is
not blank if the endpoint returns them and the likeliest one is a letter, else from the text. A reply without a letter
counts as wrong and is never guessed. Refusals by a content filter are such replies. Every other error is retried with
exponential backoff (`Retry-After` is honored) or, if a retry cannot help, ends the run with one message.
"""

from __future__ import annotations

import base64
import email.utils
import io
import math
import random
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import httpx

from synesthesia.config import ModelConfig
from synesthesia.models import completions, endpoint_environment
from synesthesia.models.completions import PermanentError, RetryableError
from synesthesia.models.endpoint_config import EndpointConfig
from synesthesia.models.errors import ModelError
from synesthesia.models.text_model import EncodedClipInputs, Reply, TextOnlyModel
from synesthesia.utils.wav import encode_wav

MAX_BACKOFF = 60.0  # seconds, without a Retry-After header
MAX_RETRY_AFTER = 600.0  # seconds
MAX_RESPONSE_BYTES = 4 * 2**20  # a letter and its log-probabilities take some hundreds of bytes


class OpenAICompatibleModel(TextOnlyModel):
    """A model behind an endpoint, with the modalities of the entry's `condition`; frames are the store's JPEGs."""

    def __init__(self, endpoint: EndpointConfig, condition: str, name: str = "endpoint") -> None:
        self.endpoint, self.condition, self.name = endpoint, condition, name
        self.concurrency = endpoint.concurrency
        self._api_key = endpoint_environment.read_key(endpoint, name)
        self._client = endpoint_environment.make_client(endpoint, self._api_key, name)
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
        endpoint = EndpointConfig.load(model_config.checkpoint)
        return cls(endpoint, model_config.condition, model_config.checkpoint)

    def build_request(self, clip: EncodedClipInputs, prompt: str) -> dict[str, Any]:
        """Build the body of the request: one user message of the media, then the paper's question.

        Args:
            clip: Media of the clip.
            prompt: The question.

        Returns:
            A JSON object for /chat/completions.
        """
        content: list[dict] = []
        if clip.jpegs and self.endpoint.frames_as == "video":
            video = encode_mp4(clip.jpegs, self.frames_per_second)
            url = f"data:video/mp4;base64,{_encode_base64(video)}"
            content.append({"type": "video_url", "video_url": {"url": url}})
        else:
            for jpeg in clip.jpegs or ():
                url = f"data:image/jpeg;base64,{_encode_base64(jpeg)}"
                content.append({"type": "image_url", "image_url": {"url": url}})
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
                return completions.parse_completion(self._post(body), num_options)
            except PermanentError as error:
                raise self._model_error(str(error)) from None
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
            cause = endpoint_environment.explain_connection_error(error, url)
            raise RetryableError(f"the connection failed{cause} ({type(error).__name__}: {error})") from None
        except (httpx.InvalidURL, UnicodeError) as error:
            raise self._model_error(f"url is not valid: {error}") from None
        retry_after = parse_retry_after(response.headers.get("Retry-After"))
        return completions.parse_response(response.status_code, bytes(received), retry_after)

    def _model_error(self, message: str) -> ModelError:
        redacted = message.replace(self._api_key, "***") if self._api_key else message
        return ModelError(f"{self.name} ({self.endpoint.model} at {self.endpoint.url}): {redacted}")


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


def encode_mp4(jpegs: Sequence[bytes], frames_per_second: float) -> bytes:
    """Encode frames as an H.264 video without sound, for servers that take `video_url`.

    Args:
        jpegs: Frames of one size as JPEG files. Odd sizes lose their last row or column: H.264 stores even sizes.
        frames_per_second: Rate at which they were sampled.

    Returns:
        An MP4 file.
    """
    import av
    from PIL import Image

    file, frames = io.BytesIO(), [Image.open(io.BytesIO(jpeg)).convert("RGB") for jpeg in jpegs]
    width, height = (size - size % 2 for size in frames[0].size)
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(frames_per_second).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "12", "threads": "1"}  # next to no loss beyond the JPEGs'
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame.crop((0, 0, width, height)))))
        container.mux(stream.encode())
    return file.getvalue()


def _encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
