"""Files and replies from outside, damaged at random: each is read, or refused with an error of this project.

`make test` tries some of them, `make fuzz` ten thousand of each kind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synesthesia import config, schemas
from synesthesia.data.catalogs import audioset, vggsound
from synesthesia.data.catalogs.rows import CatalogError
from synesthesia.evaluation import csv_import
from synesthesia.models import ModelError, completions
from synesthesia.models.endpoint_config import EndpointConfig
from synesthesia.questions.parsing import parse_letter

ROOT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("SYNESTHESIA_FUZZ_EXAMPLES", "40"))
fuzz = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)

SCALARS = [
    "",
    "~",
    "null",
    "off",
    "1e-3",
    "-0",
    ".inf",
    ".nan",
    "9" * 400,
    "017",
    "12:30",
    "2026-99-99",
    "[a",
    "{",
    "&a",
]
SCALARS += ["*a", "!!int x", "!!binary x", "!!python/object:os.system x", "<<", "? x", "|", ">-", "'", '"', "#", "---"]
SCALARS += [
    "%YAML 1.1",
    "\t",
    "\x00",
    "\ud7ff",
    "\ufeff",
    "é",
    "１",
    ",",
    ";",
    '""',
    "a,b",
    '"a\n',
    "=1+1",
    "-1",
    "J",
    "True",
]
EDITS = st.lists(
    st.tuples(st.sampled_from(["delete", "repeat", "insert", "replace", "cut", "byte"]), st.floats(0, 1),
              st.sampled_from(SCALARS) | st.text(max_size=6), st.binary(min_size=1, max_size=3)),
    min_size=1, max_size=6,
)  # fmt: skip


def damage(text: str, edits: list[tuple[str, float, str, bytes]]) -> bytes:
    """Apply edits to lines, to values behind a separator, and finally to bytes."""
    lines, noise = text.splitlines(), []
    for kind, position, value, raw in edits:
        index = min(int(position * len(lines)), len(lines) - 1)
        if not lines or kind == "byte":
            noise.append((position, raw))
        elif kind == "delete":
            del lines[index]
        elif kind == "repeat":
            lines.insert(index, lines[index])
        elif kind == "insert":
            lines.insert(index, value)
        elif kind == "replace":
            separator = ":" if ":" in lines[index] else ","
            lines[index] = lines[index].rpartition(separator)[0] + separator + " " + value
        else:
            lines[index] = lines[index][: len(lines[index]) // 2]
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    for position, raw in noise:
        at = int(position * len(data))
        data = data[:at] + raw + data[at:]
    return data


def read_or_refuse(read: Callable[[], object], *errors: type[Exception]) -> None:
    try:
        read()
    except errors as error:
        assert str(error).strip(), "a refusal says why"


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "file"


PARAMETERS = (ROOT / "params/embedded.yaml").read_text()


@fuzz
@given(EDITS)
def test_parameter_files(file, edits):
    file.write_bytes(damage(PARAMETERS, edits))
    read_or_refuse(lambda: config.load(file), config.ConfigError)


ENDPOINT = """url: http://127.0.0.1:8000/v1
model: m
timeout_seconds: 60.0
attempts: 6
extra: {stream: true, top_k: 1}
"""


@fuzz
@given(EDITS)
def test_endpoint_files(file, edits):
    file.write_bytes(damage(ENDPOINT, edits))
    read_or_refuse(lambda: EndpointConfig.load(str(file)), ModelError)


KEYS = [
    "choices",
    "message",
    "content",
    "logprobs",
    "top_logprobs",
    "token",
    "logprob",
    "error",
    "code",
    "finish_reason",
]
KEYS += ["text", "type", "refusal", "delta", "innererror", "metadata", "status", "object", "detail"]
STRINGS = st.sampled_from(["B", "length", "stop", "ĠB", "error", ""]) | st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)
LETTER = {"token": "B", "logprob": -0.1, "top_logprobs": [{"token": "B", "logprob": -0.1}]}
REPLY = {"choices": [{"message": {"content": "B"}, "finish_reason": "stop", "logprobs": {"content": [LETTER]}}]}


@st.composite
def replies(draw):
    """A completion in which some values are replaced, as JSON or as a stream; or any JSON; or any bytes."""
    content = json.loads(json.dumps(REPLY))
    for _ in range(draw(st.integers(0, 3))):
        node = content
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if not isinstance(node[key], dict | list) or draw(st.booleans()):
                node[key] = draw(JSON)
                break
            node = node[key]
    text = json.dumps(draw(st.just(content) | JSON))
    form = draw(st.sampled_from(["json", "events", "bytes", "cut"]))
    if form == "events":
        return f"data: {text}\n\ndata: [DONE]\n\n".encode()
    return {"json": text.encode(), "bytes": draw(st.binary(max_size=40)), "cut": text.encode()[: len(text) // 2]}[form]


@fuzz
@given(st.sampled_from([200, 200, 200, 400, 403, 429, 500, 529]), replies(), st.integers(2, 10))
def test_replies_of_endpoints(status, body, num_options):
    def read():
        reply = completions.parse_completion(completions.parse_response(status, body), num_options)
        parse_letter(reply.text, [f"sound {n}" for n in range(num_options)])
        (reply.text or "").encode()

    read_or_refuse(read, completions.RetryableError, completions.PermanentError)


QUESTIONS = schemas.from_rows(
    [{"question_id": f"q{n}", "clip_id": f"c{n}", "split": "test", "options": ["dog", "cat", "owl"], "target": 0}
     for n in range(6)], schemas.QUESTION, "questions",
)  # fmt: skip
RESPONSES = "question_id,choice,text,letter_logits,seconds,participant,condition,replays,inattentive\n" + "".join(
    f'q{n},{"ABC"[n % 3]},{"ABC"[n % 3]},"[1.5, -0.2, 0]",{n}.5,p{n},audio,{n},false\n' for n in range(6)
)


@fuzz
@given(EDITS)
def test_csv_files_of_answers(file, edits):
    file.write_bytes(damage(RESPONSES, edits))
    read_or_refuse(lambda: csv_import.read_responses(file, QUESTIONS, "audio"), csv_import.ResponseError)


VGGSOUND = "".join(f'abcdefghij{n},{10 * n},"label {n % 3}, too",{"train" if n % 3 else "test"}\n' for n in range(6))


@fuzz
@given(EDITS)
def test_vggsound_lists(file, edits):
    file.write_bytes(damage(VGGSOUND, edits))
    read_or_refuse(lambda: vggsound.read_list(file), CatalogError)


SEGMENTS = "# YTID, start_seconds, end_seconds, positive_labels\n" + "".join(
    f'abcdefghij{n}, {30 * n}.000, {30 * n + 10}.000, "/m/0{n},/m/1{n}"\n' for n in range(6)
)
LABELS = "index,mid,display_name\n" + "".join(f'{n},/m/0{n},"Sound, {n}"\n{n},/m/1{n},Noise {n}\n' for n in range(6))


@fuzz
@given(EDITS, st.booleans())
def test_audioset_lists(file, edits, in_labels):
    labels = file.with_name("labels.csv")
    labels.write_bytes(damage(LABELS, edits) if in_labels else LABELS.encode())
    file.write_bytes(SEGMENTS.encode() if in_labels else damage(SEGMENTS, edits))
    read_or_refuse(lambda: audioset.read_list(file, labels), CatalogError)


@fuzz
@given(st.text(max_size=60), st.lists(st.text(max_size=20), min_size=2, max_size=10))
def test_replies_and_options_of_any_text(text, options):
    index = parse_letter(text, options)
    assert index is None or 0 <= index < len(options)
