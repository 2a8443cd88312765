"""Parsing of chat completions: text, letters' log-probabilities, refusals, truncated replies, and faults.

Servers agree on the format of a good reply and on little else. What is a filter, a passing fault, or an error inside of
a response with status 200 follows the vendors' documentation; each rule names whose it is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from synesthesia.models.text_model import Reply
from synesthesia.questions.parsing import clean_token, parse_letter_token

RETRY_STATUSES = {408, 409, 425, 429}  # and all from 500 on: standard ones, Cloudflare's 520 to 530, Anthropic's 529
PERMANENT_CODES = re.compile(  # retries cannot help, whatever the status
    r"insufficient_(?:user_)?quota|billing|arrearage|invalid_api_key|model_not_found|authentication|permission|"
    r"context_length|invalid_request|unsupported",
    re.IGNORECASE,
)
FILTER_CODES = re.compile(  # codes and reasons for the end of a reply
    r"content[ _]?filter|content[ _]?policy|responsible ?ai ?policy|"  # OpenAI, Azure
    r"data_?inspection|"  # Alibaba
    r"safety|prohibited_content|blocklist|recitation|spii|"  # Google
    r"sensitive|"  # Zhipu, MiniMax
    r"guardrail|"  # Amazon
    r"moderation|"  # OpenAI, OpenRouter
    r"^refusal$",  # Anthropic
    re.IGNORECASE,
)
FILTER_MESSAGES = re.compile(  # whole phrases: "model names are case-sensitive" is no refusal
    r"content exists risk|"  # DeepSeek
    r"inappropriate content|"  # Alibaba
    r"content[ _]?filter|content management policy|"  # Azure
    r"\bflagged\b|requires moderation|"  # OpenAI, OpenRouter
    r"violat\w+ .{0,40}(?:usage|content) (?:policy|policies|guidelines)|"  # OpenAI, xAI
    r"blocked\W.{0,40}\b(?:safety|prohibited_content|blocklist|recitation|spii)\b|"  # Google
    r"sensitive (?:content|information|words)",  # Zhipu
    re.IGNORECASE,
)
FILTER_STATUSES = {200, 400, 403, 422, 451, 500}
TRUNCATED = {"length", "max_tokens", "model_length"}
MAX_ROUNDING = 1e-3  # log-probabilities above 0 by rounding; larger ones are impossible
FILTERED = {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]}


class RetryableError(Exception):
    """A transient error; `retry_after`: seconds that the endpoint asks to wait, or None."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(Exception):
    """An error that a retry cannot help."""


def parse_response(status: int, body: bytes, retry_after: float | None = None) -> dict[str, Any]:
    """Parse the response to a request for a completion.

    Args:
        status: HTTP status.
        body: JSON, or server-sent events of a streamed completion.
        retry_after: Seconds that the response asks to wait.

    Returns:
        A completion with at least one choice; `FILTERED` if a content filter has refused the question.

    Raises:
        RetryableError: The fault may pass.
        PermanentError: It will not.
    """
    content = _parse_body(body)
    if isinstance(content, list) and len(content) == 1:  # Google's errors
        content = content[0]
    content = content if isinstance(content, dict) else {}
    error = _find_error(content)
    choices = content.get("choices")
    if status == 200 and error is None:
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            return content
        if "choices" in content and not choices:  # Google: a filtered prompt has none
            return FILTERED
        raise RetryableError(f"the response is not a completion: {excerpt(body)}")
    code = " ".join(_iter_codes(error))
    is_filter = FILTER_CODES.search(code) or FILTER_MESSAGES.search(_error_message(error))
    if status in FILTER_STATUSES and is_filter:
        return FILTERED
    if status == 200:
        status = next((int(c) for c in code.split() if re.fullmatch(r"[1-5]\d\d", c)), 500)
        message = f"an error inside of a response with status 200: {excerpt(body)}"
    else:
        message = f"HTTP {status}: {excerpt(body)}"
    if (status in RETRY_STATUSES or status >= 500) and not PERMANENT_CODES.search(code):
        raise RetryableError(message, retry_after)
    raise PermanentError(message)


def parse_completion(completion: dict[str, Any], num_options: int) -> Reply:
    """Parse the reply of a completion.

    Args:
        completion: The response, a JSON object with at least one choice.
        num_options: Number of options, 2 to 10.

    Returns:
        The reply; its text is None if a filter or the model itself refused.

    Raises:
        RetryableError: The object is not a completion.
        PermanentError: The reply was cut before it said anything.
    """
    try:
        choice = completion["choices"][0]
        message = choice["message"]
        reason = str(choice.get("finish_reason") or "").lower()
        if error := choice.get("error"):  # OpenRouter: the provider behind it failed
            raise RetryableError(f"an error inside of a completion: {error!r:.300}")
        text = _message_text(message)
    except (KeyError, IndexError, TypeError, AttributeError) as fault:
        raise RetryableError(f"the response is not a completion ({type(fault).__name__}: {fault})") from None
    is_unfinished = text is not None and "<think>" in text and "</think>" not in text
    if reason in TRUNCATED and (text is None or not text.strip() or is_unfinished):
        raise PermanentError(
            f"the reply was cut at the limit of tokens before it said anything (finish_reason: {reason}); a model that "
            "thinks first needs more: raise max_tokens in the endpoint's file, or turn its thinking off with `extra`"
        )
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    is_refused = message is None or bool(message.get("refusal")) or FILTER_CODES.search(reason) is not None
    return Reply(text, parse_letter_logprobs(tokens if isinstance(tokens, list) else (), num_options), is_refused)


def parse_letter_logprobs(tokens: Sequence[Any], num_options: int) -> tuple[float, ...] | None:
    """Parse the letters' log-probabilities at the first token that is not blank.

    They count only if the likeliest token there is a letter. Probabilities of all spellings of one letter ("A", " a",
    "ĠA", "A.") are summed. A letter that is not listed is less likely than every listed token, and its probability is
    at most what the listed ones leave: it gets the smaller of the two bounds, strictly below every listed letter.

    Args:
        tokens: `logprobs.content` of a completion. Entries with null, NaN, or impossible values are passed over.
        num_options: Number of options, 2 to 10.

    Returns:
        Log-probabilities (options,), finite, or None.
    """
    first = next((t for t in tokens if isinstance(t, dict) and _is_visible(t.get("token"))), None)
    if first is None:
        return None
    top = first.get("top_logprobs")
    listed: dict[str, float] = {}
    for token in top if isinstance(top, list) else ():
        logprob = _valid_logprob(token)
        if logprob is not None:
            listed[token["token"]] = max(logprob, listed.get(token["token"], -math.inf))
    if not listed:
        return None
    spellings: dict[int, list[float]] = {}
    for token, logprob in listed.items():
        letter = parse_letter_token(token, num_options)
        if letter is not None:
            spellings.setdefault(letter, []).append(logprob)
    if parse_letter_token(max(listed, key=lambda t: listed[t]), num_options) is None:
        return None
    letters = {letter: min(float(np.logaddexp.reduce(values)), 0.0) for letter, values in spellings.items()}
    rest = max(1.0 - math.fsum(math.exp(min(value, 0.0)) for value in listed.values()), 1e-30)
    bound = min(min(listed.values()), math.log(rest), min(letters.values()))
    unlisted = float(np.nextafter(np.float32(bound), np.float32(-math.inf)))  # as the answers' float32 column keeps it
    return tuple(letters.get(letter, unlisted) for letter in range(num_options))


def excerpt(body: bytes) -> str:
    """Return the beginning of a response, for messages.

    Args:
        body: The response.
    """
    return repr(body[:300].decode("utf-8", "replace"))


def _parse_body(body: bytes) -> Any:
    text = body.decode("utf-8", "replace").lstrip("\ufeff \r\n\t")
    try:
        if re.match(r"(?:data|event|id|retry)?:", text):
            return _join_events(text)
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _join_events(text: str) -> dict[str, Any]:
    """Join the chunks of a streamed completion (server-sent events) into the completion that is not streamed."""
    message: dict[str, Any] = {"content": None}
    choice: dict[str, Any] = {"message": message, "finish_reason": None, "logprobs": {"content": []}}
    for line in text.splitlines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data in ("", "[DONE]"):
            continue
        chunk = json.loads(data)
        if not isinstance(chunk, dict) or _find_error(chunk) is not None:
            return chunk
        choices = chunk.get("choices")
        part = choices[0] if isinstance(choices, list) and choices else None  # the last chunk has usage alone
        if not isinstance(part, dict):
            continue
        delta = part.get("delta")
        for key, value in delta.items() if isinstance(delta, dict) else ():
            if isinstance(value, str) and key in ("content", "refusal", "reasoning_content"):
                message[key] = (message.get(key) or "") + value
        logprobs = part.get("logprobs")
        tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
        choice["logprobs"]["content"] += tokens if isinstance(tokens, list) else []
        choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]
    return {"choices": [choice]}


def _find_error(content: dict[str, Any]) -> Any:
    """Return the error of a response: an object or a text; None if there is none."""
    if content.get("error"):
        return content["error"]
    if "choices" in content:
        return None
    if content.get("object") == "error" or "code" in content or "detail" in content:  # vLLM, Alibaba, FastAPI
        return content
    return None


def _iter_codes(error: Any) -> Iterator[str]:
    for key in ("code", "type", "status"):
        if isinstance(error, dict) and isinstance(error.get(key), str | int):
            yield str(error[key])
    for key in ("innererror", "metadata"):  # Azure, OpenRouter
        if isinstance(error, dict) and isinstance(error.get(key), dict):
            yield from _iter_codes(error[key])


def _error_message(error: Any) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""


def _message_text(message: Any) -> str | None:
    """Return the text of a message; None if it has none (a refusal, or a filter)."""
    if message is None:
        return None
    content = message.get("content")
    if isinstance(content, list):  # some servers return parts, thinking among them
        parts = [part.get("text") for part in content if part.get("type", "text") in ("text", "output_text")]
        content = "".join(part for part in parts if isinstance(part, str)) or None
    if content is not None and not isinstance(content, str):
        raise TypeError("content is not text")
    return None if content is None else content.encode("utf-8", "replace").decode("utf-8")  # lone surrogates


def _is_visible(token: Any) -> bool:
    return isinstance(token, str) and bool(clean_token(token).strip())


def _valid_logprob(token: Any) -> float | None:
    value = token.get("logprob") if isinstance(token, dict) and isinstance(token.get("token"), str) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    if math.isnan(value) or value > MAX_ROUNDING:
        return None
    return max(value, -100.0)  # some servers list minus infinity
