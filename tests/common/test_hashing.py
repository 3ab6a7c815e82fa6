"""Stable hashes. The golden values are a promise: with others, every run on disk would be paid for again."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.hashing import digest, draw_seed
from stillroom.common.records import Message, SamplingParams, Task, user
from stillroom.sampling.ledger import request_key, scorer_key


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "74234e98afe7498fb5daf1f36ac2d78a"),
        ("é", "abc3932c9ec58f042750738c49034e7e"),
        ([7, "task-1", 0], "c627e97954b08ea92f412dec5a5f44a3"),
        ({"b": 1.5, "a": [True, None]}, "10ab843e0579ffa73417d6bca190d6a5"),
    ],
)
def test_golden_digests(value: Any, expected: str) -> None:
    assert digest(value) == expected


@pytest.mark.parametrize(
    ("run", "task", "index", "expected"),
    [(0, "0", 0, 1134738715), (7, "task-1", 0, 1177020793), (7, "task-1", 1, 2125723224)],
)
def test_golden_seeds(run: int, task: str, index: int, expected: int) -> None:
    assert draw_seed(run, task, index) == expected


def test_golden_ledger_keys() -> None:
    messages = (Message("system", "Be brief."), Message("user", "2 + 2?"))
    sampling = SamplingParams(temperature=0.8, top_p=0.95, max_tokens=64, stop=("Q:",))
    assert request_key(messages, sampling, "openai:m", 7) == "ad2a53d68e5db7e6cda4f4212db520c6"
    task = Task("1", user("2 + 2?"), "4", "by hand", {"tests": "assert f(2) == 4"})
    assert scorer_key("answer/1", task) == "6cc5159946cf6a02c88b1443dc2a8432"
    assert scorer_key("answer/1", replace(task, reference=None)) == "fbb9cd038ae76a3715ad02a86a9f57da"


def test_settings_that_came_later_leave_the_keys_of_older_ledgers_as_they_were() -> None:
    assert request_key(user("2 + 2?"), SamplingParams(), "teacher", 0) == "a04a097232916c5ab4cbfae8d03c0546"
    plain = {"temperature": 0.8, "top_p": 0.95, "top_k": 20, "min_p": 0.1, "stop": ("Q:",), "logprobs": True}
    sampling = SamplingParams.model_validate(plain | {"top_logprobs": 0, "json_schema": None})
    messages = (Message("system", "Be brief."), Message("user", "2 + 2?"))
    assert request_key(messages, sampling, "openai:m", 7) == "803a00e0422a75826744f42d723efdf2"


def test_max_tokens_is_no_part_of_the_request_and_all_else_is() -> None:
    messages, plain = (Message("user", "2 + 2?"),), SamplingParams()
    key = request_key(messages, plain, "openai:m", 7)
    assert request_key(messages, SamplingParams(max_tokens=5), "openai:m", 7) == key
    changed = {
        request_key((Message("user", "2 + 3?"),), plain, "openai:m", 7),
        request_key((Message("system", "2 + 2?"),), plain, "openai:m", 7),
        request_key(messages, plain, "openai:n", 7),
        request_key(messages, plain, "openai:m", 8),
        *(
            request_key(messages, SamplingParams.model_validate({name: value}), "openai:m", 7)
            for name, value in [
                ("temperature", 0.5),
                ("top_p", 0.5),
                ("top_k", 5),
                ("min_p", 0.5),
                ("stop", ["x"]),
                ("logprobs", True),
                ("top_logprobs", 1),
                ("top_logprobs", 20),
                ("json_schema", "{}"),
                ("json_schema", '{"type": "object"}'),
            ]
        ),
    }
    assert len(changed - {key}) == 14


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _JSON, max_size=5))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    assert digest(dict(reversed(value.items()))) == digest(value)


@given(st.integers(0, 2**31 - 1), st.text(), st.integers(0, 1000))
def test_seeds_are_in_the_range_that_every_server_takes(run: int, task: str, index: int) -> None:
    assert 0 <= draw_seed(run, task, index) < 2**31


@pytest.mark.parametrize("length", [1, 8, 32, 64])
def test_length_is_in_hex_digits(length: int) -> None:
    assert digest("x", length) == digest("x", 64)[:length]


def test_another_process_computes_the_same() -> None:
    code = "from stillroom.common.hashing import draw_seed; print(draw_seed(7, 'task-1', 0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == draw_seed(7, "task-1", 0)
