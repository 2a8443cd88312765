"""Endpoints against a local HTTP server: requests, parsing of replies, and every kind of failure."""

import base64
import io
import json
import math
import subprocess
import sys
import threading
import time
import wave
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from PIL import Image

from synesthesia import config, schemas
from synesthesia.data.store import StoreWriter
from synesthesia.evaluation import remote
from synesthesia.models import ModelError, load_text_model, openai_api
from synesthesia.models.text_model import EncodedClipInputs
from synesthesia.questions.prompt import format_prompt
from synesthesia.utils.wav import encode_wav

pytestmark = pytest.mark.slow  # servers that hang, stream slowly and refuse

OPTIONS = ["cat purring", "dog barking", "police car", "playing drums"]
NUM_QUESTIONS = 12


def completion(text="B", top=None, first="B"):
    """A chat completion as vLLM sends it; `top` is {token: log-probability} at the first token."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    if top is not None:
        listed = [{"token": k, "logprob": v, "bytes": None} for k, v in top.items()]
        choice["logprobs"] = {"content": [{"token": first, "logprob": 0.0, "top_logprobs": listed}]}
    return {"id": "x", "object": "chat.completion", "choices": [choice]}


class Server:
    """Sends what `respond(index of the request, body)` returns: (status, headers, bytes or object)."""

    def __init__(self):
        self.requests, self.headers, self.paths, self.times = [], [], [], []
        self.in_flight = self.max_in_flight = 0
        self.respond = lambda number, body: (200, {}, completion())
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(outer.requests)
                    outer.requests.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.paths.append(self.path)
                    outer.times.append(time.monotonic())
                    outer.in_flight += 1
                    outer.max_in_flight = max(outer.max_in_flight, outer.in_flight)
                try:
                    status, headers, content = outer.respond(number, body)
                finally:
                    with lock:
                        outer.in_flight -= 1
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(data)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    for chunk in [data[i : i + 8] for i in range(0, len(data), 8)] if headers.get("X-Slow") else [data]:
                        self.wfile.write(chunk)
                        self.wfile.flush()
                        time.sleep(0.1 if headers.get("X-Slow") else 0)
                except OSError:
                    pass  # the client closed the connection, as it should
                self.close_connection = headers.get("Connection") == "close"

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"


@pytest.fixture
def server():
    local_server = Server()
    thread = threading.Thread(target=local_server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield local_server
    local_server.http.shutdown()
    local_server.http.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch, tmp_path):
    """Limit the backoff to milliseconds and change to an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(openai_api, "MAX_BACKOFF", 0.01)


def load_endpoint(server, condition="audio", **changes):
    values = {"url": server.url, "model": "tiny", "attempts": 3, "timeout_seconds": 5.0, **changes}
    Path("endpoint.yaml").write_text(yaml.safe_dump(values))
    return load_text_model(make_entry(condition))


def make_entry(condition):
    return config.ModelConfig(
        title="served", family="endpoint", checkpoint="endpoint.yaml", condition=condition, batch_size=4, role="audio",
        splits=["test"],
    )  # fmt: skip


def clip(seed=0):
    rng = np.random.default_rng(seed)
    jpeg = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(jpeg, "JPEG")
    return EncodedClipInputs((rng.random(1600) - 0.5).astype(np.float32), (jpeg.getvalue(),) * 2)


def reply(server, respond=None, options=4, **changes):
    if respond:
        server.respond = respond
    return load_endpoint(server, **changes).reply(clip(), format_prompt(OPTIONS), options)


@contextmanager
def raises_model_error(match):
    with pytest.raises(ModelError, match=match):
        yield


def question_lines(body):
    """The question in a request, line by line."""
    return body["messages"][0]["content"][-1]["text"].split("\n")


def build_questions(count=NUM_QUESTIONS):
    clips, questions = [], []
    with StoreWriter("store", clips_per_shard=5) as writer:
        for i in range(count):
            clip_id = f"clip{i:02d}_000010"
            inputs = clip(i)
            shard, row = writer.add(clip_id, (inputs.audio * 32767).astype(np.int16), inputs.jpegs)
            clips.append({"clip_id": clip_id, "video_id": f"clip{i:02d}", "dataset": "vggsound", "split": "test",
                         "labels": [OPTIONS[i % 4]], "shard": shard, "row": row})  # fmt: skip
            questions.append({"question_id": f"{clip_id}-q", "clip_id": clip_id, "split": "test",
                          "options": OPTIONS[i % 4 :] + OPTIONS[: i % 4], "target": 0})  # fmt: skip
    return schemas.from_rows(clips, schemas.CLIP, "clips"), schemas.from_rows(questions, schemas.QUESTION, "questions")


def answer(model, data=None, key="k", mode="letter_logits"):
    clips, questions = data or build_questions()
    return remote.answer_questions(
        model, questions, clips, "store", respondent="served", answer_mode=mode, batch_size=4, cache_key=key
    )


# Requests


def test_audio_request_contains_wav_then_the_papers_question(server):
    reply(server)
    (body,) = server.requests
    *_, audio, text = body["messages"][0]["content"]
    assert server.paths == ["/v1/chat/completions"]
    assert text == {"type": "text", "text": format_prompt(OPTIONS)}
    assert audio["input_audio"]["format"] == "wav"
    with wave.open(io.BytesIO(base64.b64decode(audio["input_audio"]["data"]))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        decoded = np.frombuffer(file.readframes(10**6), "<i2") / 32768
    np.testing.assert_allclose(decoded, clip().audio, atol=2**-15)
    assert (body["model"], body["temperature"], body["logprobs"], body["top_logprobs"]) == ("tiny", 0, True, 20)


def test_video_request_contains_the_curated_jpegs_byte_for_byte(server):
    load_endpoint(server, "silent_video").reply(EncodedClipInputs(None, clip().jpegs), "Which?", 4)
    urls = [p["image_url"]["url"] for p in server.requests[0]["messages"][0]["content"][:-1]]
    assert [base64.b64decode(p.removeprefix("data:image/jpeg;base64,")) for p in urls] == list(clip().jpegs)


@pytest.mark.parametrize(
    "condition, kinds",
    [
        ("audio", ["input_audio", "text"]),
        ("silent_video", ["image_url", "image_url", "text"]),
        ("sounded_video", ["image_url", "image_url", "input_audio", "text"]),
    ],
)
def test_requests_contain_only_the_modalities_of_the_condition(server, condition, kinds):
    answer(load_endpoint(server, condition), build_questions(1))
    assert [part["type"] for part in server.requests[0]["messages"][0]["content"]] == kinds


def test_extra_keys_are_added_and_null_removes_a_key(server):
    reply(server, top_logprobs=0, extra={"max_tokens": None, "max_completion_tokens": 9})
    assert {"max_tokens", "logprobs", "top_logprobs"}.isdisjoint(server.requests[0])
    assert server.requests[0]["max_completion_tokens"] == 9


def test_api_key_comes_from_the_environment_and_appears_in_no_message(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret")
    server.respond = lambda n, b: (401, {}, {"error": {"message": "Incorrect API key provided: sk-secret"}})
    with pytest.raises(ModelError, match=r"HTTP 401: .*Incorrect API key provided: \*\*\*") as raised:
        reply(server, api_key_variable="MY_KEY")
    assert "sk-secret" not in str(raised.value)
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"
    assert len(server.requests) == 1, "a permanent error is not retried"


def test_missing_key_and_unencrypted_url_raise_an_error_before_any_request(server, monkeypatch):
    with raises_model_error(r"environment variable NO_SUCH_KEY to the key \(api_key_variable\)"):
        load_endpoint(server, api_key_variable="NO_SUCH_KEY")
    monkeypatch.setenv("MY_KEY", "sk-secret")
    with raises_model_error("url is http, which would send the key unencrypted"):
        load_endpoint(server, url="http://example.org/v1", api_key_variable="MY_KEY")
    assert server.requests == []


@pytest.mark.parametrize(
    "text, message",
    [("url: ftp://x\nmodel: m", "url: "), ("url: http://x\nmodel: m\ntimeout: 3", "timeout: "), ("model: m", "url: "),
     ("[", "not valid YAML"), ("url: http://x\nmodel: m\nconcurrency: 0", "concurrency: "), ("", "file: ")],
)  # fmt: skip
def test_invalid_endpoint_file_is_named_with_the_key(text, message):
    Path("e.yaml").write_text(text)
    entry = config.ModelConfig(title="t", family="endpoint", checkpoint="e.yaml", condition="audio", batch_size=1,
                         role="audio", splits=["test"])  # fmt: skip
    with pytest.raises(ModelError, match=r"e\.yaml") as raised:
        load_text_model(entry)
    assert message in str(raised.value)
    Path("e.yaml").unlink()
    with raises_model_error("no such file"):
        load_text_model(entry)


# Parsing of replies


def test_letter_logprobs_sum_all_variants_of_a_letter(server):
    top = {"B": math.log(0.3), "A": math.log(0.25), " A": math.log(0.2), "The": math.log(0.1), "E": math.log(0.05)}
    result = reply(server, lambda n, b: (200, {}, completion("B", top)))
    assert result.text == "B"
    assert result.letter_logprobs == pytest.approx([math.log(0.45), math.log(0.3), math.log(0.05), math.log(0.05)])
    assert max(result.letter_logprobs[2:]) < math.log(0.05), "unlisted letters are below every listed token"


@pytest.mark.parametrize("top", [None, {}, {"The": -0.1, "E": -2.0}])
def test_without_letter_logprobs_the_text_decides(server, top):
    server.respond = lambda n, b: (
        200,
        {},
        completion("C. " + b["messages"][0]["content"][-1]["text"].split("\n")[3][3:], top),
    )
    answers = answer(load_endpoint(server), build_questions(3))
    assert answers["choice"].to_pylist() == [2, 2, 2]
    assert answers["letter_logits"].null_count == 3


@pytest.mark.parametrize("text", ["I hear a dog", "Z", "", None, "A or B", "E"])
def test_reply_without_a_letter_is_unparseable_and_never_guessed(server, text):
    server.respond = lambda n, b: (200, {}, completion(text))
    answers = answer(load_endpoint(server), build_questions(2))
    assert answers["choice"].to_pylist() == [None, None]
    assert answers["text"].to_pylist() == [text, text]


def test_text_mode_stores_logprobs_without_using_them(server):
    server.respond = lambda n, b: (200, {}, completion("D", {"A": -0.1, "B": -3.0}))
    by_letter, by_text = (
        answer(load_endpoint(server), build_questions(1), "a"),
        answer(load_endpoint(server), build_questions(1), "b", mode="text"),
    )
    assert (by_letter["choice"].to_pylist(), by_text["choice"].to_pylist()) == ([0], [3])
    assert by_letter["letter_logits"].equals(by_text["letter_logits"])


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation", "data_inspection_failed"])
def test_content_filter_refusal_is_an_unparseable_answer_and_the_run_continues(server, code):
    server.respond = lambda n, b: (400, {}, {"error": {"code": code}}) if n == 0 else (200, {}, completion("A"))
    answers = answer(load_endpoint(server, concurrency=1))
    assert answers["choice"].to_pylist() == [None] + [0] * (NUM_QUESTIONS - 1)


@pytest.mark.parametrize(
    "response",
    [
        (400, {"error": {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content"}}),
        (400, {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}),
        (400, {"error": {"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}, "message": "filtered"}}),
        (400, {"error": {"code": "invalid_request_error", "message": "Content Exists Risk"}}),
        (403, {"error": {"code": 403, "message": "Your chosen model requires moderation and your input was flagged"}}),
        (400, [{"error": {"code": 400, "message": "blocked: SAFETY", "status": "INVALID_ARGUMENT"}}]),
        (200, {"choices": []}),
        (200, {"choices": None, "usage": {}}),
        (200, {"choices": [{"message": None, "finish_reason": "content_filter"}]}),
        (200, {"choices": [{"message": {"content": None}, "finish_reason": "PROHIBITED_CONTENT"}]}),
        (200, {"choices": [{"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"}]}),
        (200, {"choices": [{"message": {"content": ""}, "finish_reason": "sensitive"}]}),
    ],
)
def test_refusals_of_every_vendor_are_unparseable_and_the_run_continues(server, response):
    status, refusal = response
    server.respond = lambda n, b: (status, {}, refusal) if n % 4 == 1 else (200, {}, completion("A"))
    answers = answer(load_endpoint(server, concurrency=1))
    assert answers["choice"].to_pylist() == [None if n % 4 == 1 else 0 for n in range(NUM_QUESTIONS)]
    assert len(server.requests) == NUM_QUESTIONS, "a refusal is not retried"


def test_a_letter_that_begins_a_sentence_is_no_answer(server):
    server.respond = lambda n, b: (200, {}, completion("I think it is B", {"I": -0.1, "B": -3.0}))
    answers = answer(load_endpoint(server), build_questions(1))
    assert answers["choice"].to_pylist() == [None]
    assert answers["letter_logits"].null_count == 1


# Failures


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524, 529, 530])
def test_transient_errors_are_retried(server, status):
    result = reply(
        server, lambda n, b: (status, {}, {"error": {"message": "later"}}) if n < 2 else (200, {}, completion("A"))
    )
    assert result.text == "A"
    assert len(server.requests) == 3


def test_final_error_contains_the_endpoints_message(server):
    with raises_model_error(
        r"endpoint\.yaml \(tiny at http://127.*HTTP 500: '.*out of memory.*', 3 times; finished answers are kept"
    ):
        reply(server, lambda n, b: (500, {}, {"error": {"message": "out of memory"}}))
    assert len(server.requests) == 3


def test_exhausted_quota_is_not_retried(server):
    with raises_model_error("HTTP 429"):
        reply(server, lambda n, b: (429, {}, {"error": {"code": "insufficient_quota"}}))
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 301])
def test_permanent_errors_end_the_run_at_once(server, status):
    with raises_model_error(f"HTTP {status}"):
        reply(server, lambda n, b: (status, {"Location": "http://127.0.0.1:9/"}, {"error": {"message": "no"}}))
    assert len(server.requests) == 1


def test_retry_after_is_honored_by_all_requests(server):
    server.respond = lambda n, b: (429, {"Retry-After": "0.4"}, {}) if n == 0 else (200, {}, completion("A"))
    answer(load_endpoint(server, concurrency=1), build_questions(2))
    assert server.times[1] - server.times[0] >= 0.39


def test_retry_after_is_parsed_as_number_or_date():
    assert openai_api.parse_retry_after("7") == 7.0
    assert openai_api.parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert openai_api.parse_retry_after("99999") == openai_api.MAX_RETRY_AFTER
    assert (
        openai_api.parse_retry_after("soon")
        is openai_api.parse_retry_after(None)
        is openai_api.parse_retry_after("nan")
        is None
    )


def test_hanging_endpoint_raises_an_error_after_the_timeout(server):
    released = threading.Event()
    server.respond = lambda n, b: released.wait(10) and (200, {}, completion())
    with raises_model_error(r"no answer within 0\.2 s \(timeout_seconds\), 2 times"):
        reply(server, timeout_seconds=0.2, attempts=2)
    released.set()


def test_slow_stream_raises_an_error_after_the_timeout(server):
    server.respond = lambda n, b: (200, {"X-Slow": "1"}, completion("A" * 200))
    with raises_model_error(r"no answer within 0\.3 s"):
        reply(server, timeout_seconds=0.3, attempts=1)


def test_refused_connection_is_reported_after_all_attempts(server):
    with raises_model_error(r"the connection failed \(ConnectError: .*, 3 times"):
        reply(server, url="http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    "content",
    [b'{"choices": [{"mess', b"<html>hello</html>", b"", b"\xff\xfe", [], {"choices": [{}]}, {"choices": 3},
     {"choices": [{"message": {"content": 7}}]}, {"choices": [7]}, {"id": "x"}],
)  # fmt: skip
def test_invalid_completions_are_retried_and_then_reported(server, content):
    with raises_model_error("the response is not a completion.*, 2 times"):
        reply(server, lambda n, b: (200, {}, content), attempts=2)
    server.requests.clear()
    assert reply(server, lambda n, b: (200, {}, content if n == 0 else completion("A")), attempts=2).text == "A"


@pytest.mark.parametrize(
    ("error", "is_retried"),
    [({"code": 502, "message": "bad gateway"}, True), ({"message": "overloaded"}, True), ("busy", True),
     ({"code": "insufficient_quota"}, False), ({"code": 401, "message": "no auth"}, False),
     ({"type": "invalid_request_error"}, False)],
)  # fmt: skip
def test_an_error_inside_of_status_200_is_treated_as_its_code_says(server, error, is_retried):
    respond = lambda n, b: (200, {}, {"error": error}) if n == 0 else (200, {}, completion("A"))  # noqa: E731
    if is_retried:
        assert reply(server, respond).text == "A"
    else:
        with raises_model_error("an error inside of a response with status 200"):
            reply(server, respond)


def test_thinking_cut_by_the_token_limit_stops_the_run_and_names_the_parameter(server):
    cut = completion(None)
    cut["choices"][0]["message"]["reasoning_content"] = "The sound is"
    cut["choices"][0]["finish_reason"] = "length"
    with raises_model_error(r"cut at the limit of tokens .*finish_reason: length.*raise max_tokens"):
        reply(server, lambda n, b: (200, {}, cut))
    assert len(server.requests) == 1
    unclosed = completion("<think>It could be A")
    unclosed["choices"][0]["finish_reason"] = "length"
    with raises_model_error("raise max_tokens"):
        reply(server, lambda n, b: (200, {}, unclosed))


def test_a_first_batch_that_nothing_can_be_read_from_stops_the_run(server):
    server.respond = lambda n, b: (200, {}, completion("Sure! Here is"))
    with raises_model_error(r"none of the first 4 replies names a letter: 'Sure! Here is'"):
        answer(load_endpoint(server, concurrency=1))
    assert len(server.requests) <= 5


def test_a_run_that_is_refused_from_the_start_stops_and_says_so(server):
    server.respond = lambda n, b: (200, {}, {"choices": []})
    with raises_model_error(r"none of the first 32 replies names a letter: '\(refused\)'"):
        answer(load_endpoint(server, concurrency=1), build_questions(40))
    assert len(server.requests) <= 33


def test_streamed_completions_are_joined(server):
    top = [{"token": "B", "logprob": -0.1}, {"token": "A", "logprob": -3.0}]
    chunks = [
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {"content": "B"}, "logprobs": {"content": [{"token": "B", "top_logprobs": top}]}}]},
        {"choices": [{"delta": {"content": "."}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"total_tokens": 7}},
    ]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    stream = lambda n, b: (200, {"Content-Type": "text/event-stream"}, f": ping\n\n{body}".encode())  # noqa: E731
    result = reply(server, stream, extra={"stream": True})
    assert server.requests[0]["stream"] is True
    assert (result.text, int(np.argmax(result.letter_logprobs))) == ("B.", 1)


def test_an_error_in_a_stream_is_retried(server):
    failed = b'data: {"error": {"message": "engine died", "code": 500}}\n\n'
    assert reply(server, lambda n, b: (200, {}, failed if n == 0 else completion("A"))).text == "A"


def test_frames_can_be_sent_as_one_video(server):
    model = load_endpoint(server, "silent_video", frames_as="video")
    model.frames_per_second = 2.0
    model.reply(EncodedClipInputs(None, clip().jpegs), "Which?", 4)
    (video,) = [p["video_url"]["url"] for p in server.requests[0]["messages"][0]["content"][:-1]]
    data = base64.b64decode(video.removeprefix("data:video/mp4;base64,"))
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 2
    expected = np.asarray(Image.open(io.BytesIO(clip().jpegs[0])).convert("RGB"))
    assert [frame.shape for frame in frames] == [(32, 32, 3)] * 2
    assert abs(frames[0].mean() - expected.mean()) < 5


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"SSL_CERT_FILE": "/opt/conda/ssl/cacert.pem"},
            r"SSL_CERT_FILE \(/opt/conda/ssl/cacert\.pem\) cannot be read",
        ),
        ({"MY_KEY": "“sk-abc”"}, "environment variable MY_KEY has a character .*left double quotation mark"),
        ({"MY_KEY": "sk\nabc"}, "environment variable MY_KEY has a character"),
        ({"HTTP_PROXY": "socks9://x"}, r"proxy of HTTP_PROXY \(socks9://x\) cannot be used"),
    ],
)
def test_a_fault_of_the_environment_names_the_variable(server, monkeypatch, variables, message):
    monkeypatch.setenv("MY_KEY", "sk")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with raises_model_error(message):
        load_endpoint(server, api_key_variable="MY_KEY")


def test_a_dead_proxy_is_named(server, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with raises_model_error(r"through the proxy 127\.0\.0\.1 of the environment variable HTTP_PROXY.*NO_PROXY=127"):
        reply(server, attempts=1)


def test_truncated_response_is_retried(server):
    truncated = lambda n, b: (200, {"Content-Length": "500", "Connection": "close"}, b'{"choices"')  # noqa: E731
    assert reply(server, lambda n, b: truncated(n, b) if n == 0 else (200, {}, completion("A"))).text == "A"


def test_oversized_response_is_not_read_to_its_end(server, monkeypatch):
    monkeypatch.setattr(openai_api, "MAX_RESPONSE_BYTES", 1000)
    with raises_model_error("longer than 1,000 bytes"):
        reply(server, lambda n, b: (200, {}, b" " * 5000))


# A full split


def test_answers_keep_the_order_of_the_questions(server):
    def slow_first(number, body):
        time.sleep(0.1 if number % 4 == 0 else 0)
        return 200, {}, completion(question_lines(body)[1])  # option A with its text

    server.respond = slow_first
    clips, questions = build_questions()
    answers = answer(load_endpoint(server, concurrency=4), (clips, questions))
    assert answers["question_id"].to_pylist() == questions["question_id"].to_pylist()
    assert answers["choice"].to_pylist() == [0] * NUM_QUESTIONS
    assert [t[3:] for t in answers["text"].to_pylist()] == [o[0] for o in questions["options"].to_pylist()]
    assert 2 <= server.max_in_flight <= 4


def test_requests_respect_the_rate_limit(server):
    model, data = load_endpoint(server, concurrency=4, requests_per_minute=1200.0), build_questions(6)
    start = time.monotonic()
    answer(model, data)
    assert time.monotonic() - start >= 5 * 0.05, "the sixth request starts five intervals after the first"


def test_finished_parts_survive_a_failing_endpoint_and_are_not_requested_again(server):
    data = build_questions()
    expected = answer(load_endpoint(server), data, "whole")
    server.requests.clear()
    server.respond = lambda n, b: (200, {}, completion()) if n < 9 else (403, {}, {"error": {"message": "gone"}})
    with raises_model_error("gone"):
        answer(load_endpoint(server, concurrency=2), data, "dies")
    parts = sorted(p.name for p in (remote.CACHE_DIR / "answers/dies").iterdir())
    assert parts == ["part-00000.parquet", "part-00001.parquet"]
    server.requests.clear()
    server.respond = lambda n, b: (200, {}, completion())
    assert answer(load_endpoint(server), data, "dies").equals(expected)
    assert len(server.requests) == NUM_QUESTIONS - 8


def test_one_failure_ends_all_waiting_requests(server):
    server.respond = lambda n, b: (403, {}, {}) if n == 0 else (429, {"Retry-After": "300"}, {})
    start = time.monotonic()
    with raises_model_error("HTTP 403"):
        answer(load_endpoint(server, concurrency=4))
    assert time.monotonic() - start < 60


def test_path_from_clips_to_answers_imports_no_torch(server):
    code = (
        "import sys\nfrom synesthesia import config, models\nfrom synesthesia.evaluation import remote\n"
        "from synesthesia.pipeline import curate, evaluate, make_questions\n"
        "m = config.ModelConfig(title='t', family='endpoint', checkpoint='endpoint.yaml', condition='audio',"
        " batch_size=1, role='audio', splits=['test'])\nt = evaluate.load_respondent(m, 't')\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    load_endpoint(server)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_stage_queries_an_endpoint_and_removes_its_parts(server):
    from synesthesia.pipeline import evaluate as stage

    clips, questions = build_questions()
    Path("out/curate").mkdir(parents=True)
    Path("store").rename(stage.STORE_DIR)
    schemas.write(clips, "out/curate/clips.parquet", schemas.CLIP)
    Path("out/make_questions").mkdir()
    schemas.write(questions, "out/make_questions/questions.parquet", schemas.QUESTION)
    embedded = config.load(Path(__file__).parents[3] / "params/embedded.yaml")
    model = load_endpoint(server)
    stage.evaluate_splits(embedded, model, "served", ["test"], Path("out/evaluate"), make_entry("audio"))
    answers = schemas.read("out/evaluate/test.parquet", schemas.ANSWER)
    assert set(answers["respondent"].to_pylist()) == {"served"}
    assert answers["choice"].to_pylist() == [1] * NUM_QUESTIONS
    assert not list(remote.CACHE_DIR.rglob("*.parquet"))


def test_endpoint_cannot_be_trained():
    from synesthesia import models

    entry = config.ModelConfig(title="served", family="endpoint", checkpoint="e.yaml", condition="audio", batch_size=1,
                         role="audio", splits=["test"])  # fmt: skip
    with raises_model_error("returns text only: it can neither be trained nor evaluated as a student"):
        models.load_model(entry)


def test_wav_of_extreme_samples_does_not_wrap():
    samples = np.array([-1.0, 1.0, 0.999, 0.0], np.float32)
    with wave.open(io.BytesIO(encode_wav(samples))) as file:
        assert np.frombuffer(file.readframes(9), "<i2").tolist() == [-32768, 32767, 32735, 0]
