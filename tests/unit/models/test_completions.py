"""Parsing of completions: letters' log-probabilities, and any JSON that a server may send."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthesia.models import completions


def test_blank_first_token_is_skipped():
    blank = {"token": "\n", "top_logprobs": [{"token": "A", "logprob": -0.1}]}
    letter = {"token": "C", "top_logprobs": [{"token": "C", "logprob": -0.2}, {"token": "x", "logprob": -3.0}]}
    assert completions.parse_letter_logprobs([blank, letter], 3) == pytest.approx((-3.0, -3.0, -0.2))


def first_token(top, sampled=None):
    return [{"token": sampled or next(iter(top)), "logprob": top.get(sampled, -0.1),
             "top_logprobs": [{"token": k, "logprob": v} for k, v in top.items()]}]  # fmt: skip


@pytest.mark.parametrize(
    ("top", "letter"),
    [
        ({"B": -0.1}, 1),
        ({"B": math.log(0.5)}, 1),
        ({"ĠB": -0.02, "A": -7}, 1),
        ({"▁B": -0.02, "A": -7}, 1),
        ({"<0x42>": -0.02, "A": -7}, 1),
        ({"b": -0.05, "A": -4, "B": -5}, 1),
        ({"B.": -0.1, "A": -3}, 1),
        ({"(B": -0.1, "A": -3}, 1),
        ({"**B": -0.1, "A": -3}, 1),
        ({"Ｂ": -0.1, "A": -3}, 1),
        ({"C": -0.1, "A": None}, 2),
        ({"C": -0.1, "A": math.nan}, 2),
        ({"C": -0.1, "A": 5.0}, 2),
        ({"C": -0.1, "A": math.inf}, 2),
        ({"C": -0.1, "A": "0"}, 2),
        ({"C": -0.1, "A": True}, 2),
        ({"C": -0.1, "A": -math.inf}, 2),
        ({"C": 1e-6, "A": -9}, 2),
        ({"C": -0.1, "A": 10**400}, 2),
        ({"The": -0.1, "A": -3}, None),
        ({"A": None}, None),
        ({"": -0.1}, None),
        ({"E": -0.1, "A": -3}, None),
        ({"А": -0.1, "A": -3}, None),  # a Cyrillic letter first
    ],
)
def test_the_likeliest_spelling_of_a_letter_decides(top, letter):
    logprobs = completions.parse_letter_logprobs(first_token(top), 4)
    assert (None if logprobs is None else int(np.argmax(logprobs))) == letter
    if logprobs is not None:
        assert sum(value == max(logprobs) for value in np.float32(logprobs)) == 1, "no unlisted letter ties"


TOKENS = st.sampled_from(["A", " B", "C\n", "D", "ĠD", "b", "x", "", "AB", "Ⅰ", "(C"])


VALUES = st.floats(-1e4, 0.0) | st.sampled_from([-math.inf, math.inf, math.nan, None, "x", 3.0, {}])


@given(st.lists(st.tuples(TOKENS, VALUES), max_size=20), st.integers(2, 10))
def test_letter_logprobs_of_any_reply_are_finite_and_a_listed_letter_wins(top, options):
    listed = [{"token": token, "logprob": value} for token, value in top]
    logprobs = completions.parse_letter_logprobs([{"token": "A", "logprob": None, "top_logprobs": listed}], options)
    if logprobs is not None:
        assert len(logprobs) == options
        assert all(math.isfinite(x) for x in logprobs)
        spelled = {index for token, _ in top if (index := "ABCD".find(token.strip(" \nĠ(").upper())) >= 0}
        assert int(np.argmax(np.float32(logprobs))) in spelled


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=8),
                    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(
                        ["choices", "message", "content", "logprobs", "top_logprobs", "token", "logprob", "error",
                         "code", "finish_reason", "text", "type", "refusal"]), x, max_size=5), max_leaves=25),
       st.sampled_from([200, 400, 403, 429, 500]))  # fmt: skip
def test_any_json_gives_a_reply_or_an_error_of_this_project(content, status):
    try:
        completion_object = completions.parse_response(status, json.dumps(content).encode())
        completions.parse_completion(completion_object, 10)
    except (completions.RetryableError, completions.PermanentError):
        pass


@pytest.mark.parametrize(
    "message",
    [
        "Model names are case-sensitive",
        "invalid safety_settings",
        "your plan's usage policy",
        "unknown model moderation-2",
    ],
)
def test_a_fault_that_only_sounds_like_a_refusal_is_no_refusal(message):
    body = json.dumps({"error": {"code": "invalid_value", "message": message}}).encode()
    with pytest.raises(completions.PermanentError, match="HTTP 400"):
        completions.parse_response(400, body)
