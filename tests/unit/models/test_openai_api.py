"""Endpoints against a real server on this machine: what is sent, how answers are read, and every way it can fail."""

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

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synesthesia import config, schemas
from synesthesia.data.store import StoreWriter
from synesthesia.evaluation import remote
from synesthesia.models import ModelError, load_text_model, openai_api
from synesthesia.models.text_model import EncodedClipInputs
from synesthesia.questions.prompt import format_prompt
from synesthesia.utils.wav import encode_wav

pytestmark = pytest.mark.slow  # servers that hang, drip and refuse

OPTIONS = ["cat purring", "dog barking", "police car", "playing drums"]
COUNT = 12


def completion(text="B", top=None, first="B"):
    """A chat completion as vLLM sends it; `top` is {token: log-probability} at the first token."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    if top is not None:
        listed = [{"token": k, "logprob": v, "bytes": None} for k, v in top.items()]
        choice["logprobs"] = {"content": [{"token": first, "logprob": 0.0, "top_logprobs": listed}]}
    return {"id": "x", "object": "chat.completion", "choices": [choice]}


class Server:
    """Answers with what `behave(number of the request, body)` returns: (status, headers, bytes or object)."""

    def __init__(self):
        self.requests, self.headers, self.paths, self.times = [], [], [], []
        self.under_way = self.most_under_way = 0
        self.behave = lambda number, body: (200, {}, completion())
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
                    outer.under_way += 1
                    outer.most_under_way = max(outer.most_under_way, outer.under_way)
                try:
                    status, headers, said = outer.behave(number, body)
                finally:
                    with lock:
                        outer.under_way -= 1
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(data)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    for piece in [data[i : i + 8] for i in range(0, len(data), 8)] if headers.get("X-Drip") else [data]:
                        self.wfile.write(piece)
                        self.wfile.flush()
                        time.sleep(0.1 if headers.get("X-Drip") else 0)
                except OSError:
                    pass  # the client gave up, as it should
                self.close_connection = headers.get("Connection") == "close"

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Own pauses of milliseconds, and an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(openai_api, "LONGEST_PAUSE", 0.01)


def talker(server, condition="audio", **changes):
    values = {"url": server.url, "model": "tiny", "attempts": 3, "timeout_seconds": 5.0, **changes}
    Path("endpoint.yaml").write_text(yaml.safe_dump(values))
    entry = config.ModelConfig(
        title="served", family="endpoint", checkpoint="endpoint.yaml", condition=condition, batch_size=4, role="audio",
        splits=["test"],
    )  # fmt: skip
    return load_text_model(entry)


def clip(seed=0):
    random = np.random.default_rng(seed)
    picture = io.BytesIO()
    Image.fromarray(random.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(picture, "JPEG")
    return EncodedClipInputs((random.random(1600) - 0.5).astype(np.float32), (picture.getvalue(),) * 2)


def reply(server, behave=None, options=4, **changes):
    if behave:
        server.behave = behave
    return talker(server, **changes).reply(clip(), format_prompt(OPTIONS), options)


@contextmanager
def fails(match):
    with pytest.raises(ModelError, match=match):
        yield


def lines_of(body):
    """The question that was asked, line by line."""
    return body["messages"][0]["content"][-1]["text"].split("\n")


def study(count=COUNT):
    rows, asked = [], []
    with StoreWriter("store", clips_per_shard=5) as writer:
        for i in range(count):
            clip_id = f"clip{i:02d}_000010"
            made = clip(i)
            shard, row = writer.add(clip_id, (made.audio * 32767).astype(np.int16), made.jpegs)
            rows.append({"clip_id": clip_id, "video_id": f"clip{i:02d}", "dataset": "vggsound", "split": "test",
                         "labels": [OPTIONS[i % 4]], "shard": shard, "row": row})  # fmt: skip
            asked.append({"question_id": f"{clip_id}-q", "clip_id": clip_id, "split": "test",
                          "options": OPTIONS[i % 4 :] + OPTIONS[: i % 4], "target": 0})  # fmt: skip
    return schemas.from_rows(rows, schemas.CLIP, "clips"), schemas.from_rows(asked, schemas.QUESTION, "questions")


def answered(model, made=None, key="k", read="letter_logits"):
    clips, asked = made or study()
    return remote.answer_questions(
        model, asked, clips, "store", respondent="served", answer_mode=read, batch_size=4, cache_key=key
    )


# What is sent


def test_a_listener_gets_the_sound_as_wav_and_the_papers_question_after_it(server):
    reply(server)
    (body,) = server.requests
    *_, sound, text = body["messages"][0]["content"]
    assert server.paths == ["/v1/chat/completions"]
    assert text == {"type": "text", "text": format_prompt(OPTIONS)}
    assert sound["input_audio"]["format"] == "wav"
    with wave.open(io.BytesIO(base64.b64decode(sound["input_audio"]["data"]))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        heard = np.frombuffer(file.readframes(10**6), "<i2") / 32768
    np.testing.assert_allclose(heard, clip().audio, atol=2**-15)
    assert (body["model"], body["temperature"], body["logprobs"], body["top_logprobs"]) == ("tiny", 0, True, 20)


def test_a_viewer_gets_the_curated_jpegs_byte_for_byte(server):
    talker(server, "silent_video").reply(EncodedClipInputs(None, clip().jpegs), "Which?", 4)
    pictures = [p["image_url"]["url"] for p in server.requests[0]["messages"][0]["content"][:-1]]
    assert [base64.b64decode(p.removeprefix("data:image/jpeg;base64,")) for p in pictures] == list(clip().jpegs)


@pytest.mark.parametrize(
    "condition, kinds",
    [
        ("audio", ["input_audio", "text"]),
        ("silent_video", ["image_url", "image_url", "text"]),
        ("sounded_video", ["image_url", "image_url", "input_audio", "text"]),
    ],
)
def test_nobody_is_sent_a_sense_that_its_condition_lacks(server, condition, kinds):
    answered(talker(server, condition), study(1))
    assert [part["type"] for part in server.requests[0]["messages"][0]["content"]] == kinds


def test_extra_keys_are_added_and_null_takes_one_out(server):
    reply(server, top_logprobs=0, extra={"max_tokens": None, "max_completion_tokens": 9})
    assert {"max_tokens", "logprobs", "top_logprobs"}.isdisjoint(server.requests[0])
    assert server.requests[0]["max_completion_tokens"] == 9


def test_the_key_comes_from_the_environment_and_stands_in_no_message(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret")
    server.behave = lambda n, b: (401, {}, {"error": {"message": "Incorrect API key provided: sk-secret"}})
    with pytest.raises(ModelError, match=r"HTTP 401: .*Incorrect API key provided: \*\*\*") as raised:
        reply(server, api_key_variable="MY_KEY")
    assert "sk-secret" not in str(raised.value)
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"
    assert len(server.requests) == 1, "what cannot help is not tried again"


def test_without_its_key_nothing_is_asked_and_an_open_wire_gets_none(server, monkeypatch):
    with fails(r"environment variable NO_SUCH_KEY \(api_key_variable\)"):
        talker(server, api_key_variable="NO_SUCH_KEY")
    monkeypatch.setenv("MY_KEY", "sk-secret")
    with fails("url is http, and the key would travel in the open"):
        talker(server, url="http://example.org/v1", api_key_variable="MY_KEY")
    assert server.requests == []


@pytest.mark.parametrize(
    "text, said",
    [("url: ftp://x\nmodel: m", "url: "), ("url: http://x\nmodel: m\ntimeout: 3", "timeout: "), ("model: m", "url: "),
     ("[", "not a readable YAML"), ("url: http://x\nmodel: m\nconcurrency: 0", "concurrency: "), ("", "file: ")],
)  # fmt: skip
def test_a_wrong_endpoint_file_is_named_with_the_key(text, said):
    Path("e.yaml").write_text(text)
    entry = config.ModelConfig(title="t", family="endpoint", checkpoint="e.yaml", condition="audio", batch_size=1,
                         role="audio", splits=["test"])  # fmt: skip
    with pytest.raises(ModelError, match=r"e\.yaml") as raised:
        load_text_model(entry)
    assert said in str(raised.value)
    Path("e.yaml").unlink()
    with fails("no such file"):
        load_text_model(entry)


# How answers are read


def test_letters_come_from_the_log_probabilities_of_all_forms_of_a_letter(server):
    top = {"B": math.log(0.3), "A": math.log(0.25), " A": math.log(0.2), "The": math.log(0.1), "E": math.log(0.05)}
    found = reply(server, lambda n, b: (200, {}, completion("B", top)))
    assert found.text == "B"
    assert found.letter_logprobs == pytest.approx([math.log(0.45), math.log(0.3), math.log(0.05), math.log(0.05)])


def test_a_blank_first_token_is_passed_over():
    blank = {"token": "\n", "top_logprobs": [{"token": "A", "logprob": -0.1}]}
    letter = {"token": "C", "top_logprobs": [{"token": "C", "logprob": -0.2}, {"token": "x", "logprob": -3.0}]}
    assert openai_api.parse_letter_logprobs([blank, letter], 3) == pytest.approx((-3.0, -3.0, -0.2))


@pytest.mark.parametrize("top", [None, {}, {"The": -0.1, "E": -2.0}])
def test_without_log_probabilities_of_a_letter_there_are_none_and_the_text_decides(server, top):
    server.behave = lambda n, b: (
        200,
        {},
        completion("C. " + b["messages"][0]["content"][-1]["text"].split("\n")[3][3:], top),
    )
    found = answered(talker(server), study(3))
    assert found["choice"].to_pylist() == [2, 2, 2]
    assert found["letter_logits"].null_count == 3


@pytest.mark.parametrize("text", ["I hear a dog", "Z", "", None, "A or B", "E"])
def test_what_is_no_letter_is_unparseable_and_never_a_guess(server, text):
    server.behave = lambda n, b: (200, {}, completion(text))
    found = answered(talker(server), study(2))
    assert found["choice"].to_pylist() == [None, None]
    assert found["text"].to_pylist() == [text, text]


def test_read_as_text_log_probabilities_are_kept_but_do_not_choose(server):
    server.behave = lambda n, b: (200, {}, completion("D", {"A": -0.1, "B": -3.0}))
    by_letter, by_text = answered(talker(server), study(1), "a"), answered(talker(server), study(1), "b", read="text")
    assert (by_letter["choice"].to_pylist(), by_text["choice"].to_pylist()) == ([0], [3])
    assert by_letter["letter_logits"].equals(by_text["letter_logits"])


@pytest.mark.parametrize("code", openai_api.CONTENT_FILTER_CODES)
def test_a_content_filters_refusal_is_an_unparseable_answer_and_the_rest_goes_on(server, code):
    server.behave = lambda n, b: (400, {}, {"error": {"code": code}}) if n == 0 else (200, {}, completion("A"))
    found = answered(talker(server, concurrency=1))
    assert found["choice"].to_pylist() == [None] + [0] * (COUNT - 1)


LISTED = st.tuples(st.sampled_from(["A", " B", "C\n", "D", "x", "", "AB"]), st.floats(-1e4, 0.0) | st.just(-math.inf))


@given(st.lists(LISTED, max_size=20), st.integers(2, 10))
def test_letters_of_any_listing_are_finite_and_one_an_option(listed, options):
    found = openai_api.parse_letter_logprobs(
        [{"token": "A", "top_logprobs": [{"token": t, "logprob": p} for t, p in listed]}], options
    )
    named = [
        t.strip() for t, _ in listed if t.strip() and t.strip() in schemas.LETTERS[:options] and len(t.strip()) == 1
    ]
    assert (found is None) == (not named)
    if found is not None:
        assert len(found) == options
        assert all(math.isfinite(x) for x in found)


# How it fails


@pytest.mark.parametrize("status", sorted(openai_api.RETRY_STATUSES))
def test_what_may_pass_is_tried_again(server, status):
    found = reply(
        server, lambda n, b: (status, {}, {"error": {"message": "later"}}) if n < 2 else (200, {}, completion("A"))
    )
    assert found.text == "A"
    assert len(server.requests) == 3


def test_after_all_attempts_the_error_says_what_the_endpoint_said(server):
    with fails(
        r"endpoint\.yaml \(tiny at http://127.*HTTP 500: '.*out of memory.*', 3 times; finished answers are kept"
    ):
        reply(server, lambda n, b: (500, {}, {"error": {"message": "out of memory"}}))
    assert len(server.requests) == 3


def test_an_exhausted_quota_is_not_tried_again(server):
    with fails("HTTP 429"):
        reply(server, lambda n, b: (429, {}, {"error": {"code": "insufficient_quota"}}))
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 301])
def test_what_cannot_pass_ends_at_once(server, status):
    with fails(f"HTTP {status}"):
        reply(server, lambda n, b: (status, {"Location": "http://127.0.0.1:9/"}, {"error": {"message": "no"}}))
    assert len(server.requests) == 1


def test_retry_after_is_honoured_by_all_requests(server):
    server.behave = lambda n, b: (429, {"Retry-After": "0.4"}, {}) if n == 0 else (200, {}, completion("A"))
    answered(talker(server, concurrency=1), study(2))
    assert server.times[1] - server.times[0] >= 0.39


def test_retry_after_as_number_as_date_and_as_nonsense():
    assert openai_api.parse_retry_after("7") == 7.0
    assert openai_api.parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert openai_api.parse_retry_after("99999") == openai_api.MAX_RETRY_AFTER
    assert (
        openai_api.parse_retry_after("soon")
        is openai_api.parse_retry_after(None)
        is openai_api.parse_retry_after("nan")
        is None
    )


def test_a_hanging_endpoint_is_left_after_the_timeout(server):
    freed = threading.Event()
    server.behave = lambda n, b: freed.wait(10) and (200, {}, completion())
    with fails(r"no answer within 0\.2 s \(timeout_seconds\), 2 times"):
        reply(server, timeout_seconds=0.2, attempts=2)
    freed.set()


def test_an_endpoint_that_drips_ends_at_the_timeout_as_well(server):
    server.behave = lambda n, b: (200, {"X-Drip": "1"}, completion("A" * 200))
    with fails(r"no answer within 0\.3 s"):
        reply(server, timeout_seconds=0.3, attempts=1)


def test_a_refused_connection_is_said_after_all_attempts(server):
    with fails(r"the connection failed \(ConnectError: .*, 3 times"):
        reply(server, url="http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    "said",
    [b'{"choices": [{"mess', b"<html>hello</html>", b"", b"\xff\xfe", [], {"choices": []}, {"choices": [{}]},
     {"choices": [{"message": {"content": 7}}]}, {"choices": [{"message": None}]},
     {"choices": [{"message": {"content": "A"}, "logprobs": {"content": [{"top_logprobs": 3}]}}]}],
)  # fmt: skip
def test_nonsense_and_truncated_json_are_tried_again_and_then_said(server, said):
    with fails("that is no completion.*, 2 times"):
        reply(server, lambda n, b: (200, {}, said), attempts=2)
    server.requests.clear()
    assert reply(server, lambda n, b: (200, {}, said if n == 0 else completion("A")), attempts=2).text == "A"


def test_a_reply_cut_off_in_the_middle_is_tried_again(server):
    cut = lambda n, b: (200, {"Content-Length": "500", "Connection": "close"}, b'{"choices"')  # noqa: E731
    assert reply(server, lambda n, b: cut(n, b) if n == 0 else (200, {}, completion("A"))).text == "A"


def test_an_endless_reply_is_not_read_to_its_end(server, monkeypatch):
    monkeypatch.setattr(openai_api, "LARGEST_REPLY", 1000)
    with fails("longer than 1,000 bytes"):
        reply(server, lambda n, b: (200, {}, b" " * 5000))


# A whole split


def test_answers_stand_in_the_questions_order_whatever_the_order_of_the_replies(server):
    def slow_first(number, body):
        time.sleep(0.1 if number % 4 == 0 else 0)
        return 200, {}, completion(lines_of(body)[1])  # option A with its text

    server.behave = slow_first
    clips, asked = study()
    found = answered(talker(server, concurrency=4), (clips, asked))
    assert found["question_id"].to_pylist() == asked["question_id"].to_pylist()
    assert found["choice"].to_pylist() == [0] * COUNT
    assert [t[3:] for t in found["text"].to_pylist()] == [o[0] for o in asked["options"].to_pylist()]
    assert 2 <= server.most_under_way <= 4


def test_requests_keep_their_distance(server):
    answered(talker(server, concurrency=4, requests_per_minute=1200.0), study(6))
    assert max(server.times) - min(server.times) >= 0.2  # five pauses of 50 ms, less what the first was late


def test_finished_parts_are_kept_when_the_endpoint_dies_and_not_asked_again(server):
    made = study()
    expected = answered(talker(server), made, "whole")
    server.requests.clear()
    server.behave = lambda n, b: (200, {}, completion()) if n < 9 else (403, {}, {"error": {"message": "gone"}})
    with fails("gone"):
        answered(talker(server, concurrency=2), made, "dies")
    kept = sorted(p.name for p in (remote.CACHE_DIR / "answers/dies").iterdir())
    assert kept == ["part-00000.parquet", "part-00001.parquet"]
    server.requests.clear()
    server.behave = lambda n, b: (200, {}, completion())
    assert answered(talker(server), made, "dies").equals(expected)
    assert len(server.requests) == COUNT - 8


def test_one_failure_ends_the_waiting_of_all_others(server):
    server.behave = lambda n, b: (403, {}, {}) if n == 0 else (429, {"Retry-After": "300"}, {})
    begun = time.monotonic()
    with fails("HTTP 403"):
        answered(talker(server, concurrency=4))
    assert time.monotonic() - begun < 60


def test_the_whole_path_from_clips_to_answers_imports_no_torch(server):
    code = (
        "import sys\nfrom synesthesia import asking, models, params\n"
        "from synesthesia.pipeline import answer, ask, curate\n"
        "m = params.Model(title='t', family='endpoint', checkpoint='endpoint.yaml', condition='audio', batch_clips=1,"
        " role='audio', splits=['test'])\nt = answer.respondent(m, 't')\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    talker(server)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_stage_asks_an_endpoint_and_keeps_no_parts(server):
    from synesthesia.pipeline import evaluate as stage

    clips, asked = study()
    Path("out/curate").mkdir(parents=True)
    Path("store").rename(stage.STORE_DIR)
    schemas.write(clips, "out/curate/clips.parquet", schemas.CLIP)
    Path("out/make_questions").mkdir()
    schemas.write(asked, "out/make_questions/questions.parquet", schemas.QUESTION)
    given = config.load(Path(__file__).parents[3] / "params/embedded.yaml")
    stage.evaluate_splits(given, talker(server), "served", ["test"], Path("out/evaluate"), Path("endpoint.yaml"), 4)
    found = schemas.read("out/evaluate/test.parquet", schemas.ANSWER)
    assert set(found["respondent"].to_pylist()) == {"served"}
    assert found["choice"].to_pylist() == [1] * COUNT
    assert not list(remote.CACHE_DIR.rglob("*.parquet"))


def test_an_endpoint_cannot_learn():
    from synesthesia import models

    entry = config.ModelConfig(title="served", family="endpoint", checkpoint="e.yaml", condition="audio", batch_size=1,
                         role="audio", splits=["test"])  # fmt: skip
    with fails("only answers: it can neither learn nor be examined"):
        models.load_model(entry)


def test_wav_of_extremes_does_not_wrap():
    loud = np.array([-1.0, 1.0, 0.999, 0.0], np.float32)
    with wave.open(io.BytesIO(encode_wav(loud))) as file:
        assert np.frombuffer(file.readframes(9), "<i2").tolist() == [-32768, 32767, 32735, 0]
