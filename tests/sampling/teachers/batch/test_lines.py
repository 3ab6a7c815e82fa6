"""Lines of batch files: what a request is called, and what is made of whatever comes back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Request, SamplingParams, user
from stillroom.sampling.teachers.openai.batch import lines
from stillroom.sampling.teachers.openai.batch.lines import (
    custom_id,
    ids_in,
    read_result,
    request_line,
    result_at,
    results_in,
)

ASKED = Request("t", 0, user("2 + 2?"), SamplingParams(max_tokens=10), 7)
BODY = {"choices": [{"message": {"content": "4"}}]}


def line(**fields: Any) -> bytes:
    return json.dumps({"custom_id": "sr-1", **fields}).encode()


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, task_id="u"),
        replace(ASKED, index=1),
        replace(ASKED, seed=8),
        replace(ASKED, messages=user("2 + 3?")),
        replace(ASKED, sampling=SamplingParams(max_tokens=11)),
        replace(ASKED, sampling=SamplingParams(max_tokens=10, temperature=0.5)),
    ],
)
def test_another_request_has_another_name(other: Request) -> None:
    assert custom_id("m", other) != custom_id("m", ASKED) != custom_id("n", ASKED)
    assert custom_id("m", replace(ASKED)) == custom_id("m", ASKED)


def test_a_name_fits_what_servers_take() -> None:
    assert len(custom_id("m", ASKED)) <= 64


def test_names_are_read_back_from_what_was_written(tmp_path: Path) -> None:
    names = [custom_id("m", replace(ASKED, index=i)) for i in range(3)]
    body = {"messages": [{"role": "user", "content": '\n{"custom_id":"sr-' + "0" * 32 + '"'}]}
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"".join(request_line(name, body) for name in names))
    assert ids_in(path) == names


@pytest.mark.parametrize(
    ("raw", "status", "said"),
    [
        (line(response={"status_code": 200, "body": BODY}, error=None), 200, "choices"),
        (line(response={"body": BODY}, error=None), 200, "choices"),  # vLLM writes 200 by default
        (line(response={"status_code": 400, "body": {"error": {"message": "too long"}}}), 400, "too long"),
        (
            line(response={"status_code": 400, "body": None}, error={"error": {"message": "too long"}}),
            400,
            "too long",
        ),
        (line(response=None, error={"code": "batch_expired", "message": "late"}), 408, "late"),
        (line(response=None, error={"code": "rate_limit_exceeded", "message": "slow"}), 429, "slow"),
        (line(response=None, error="broken"), 500, "broken"),
        (line(response={"status_code": 200, "body": BODY}, error={"message": "and yet"}), 500, "and yet"),
    ],
)
def test_a_result_is_read_from_either_form(raw: bytes, status: int, said: str) -> None:
    result = read_result(raw)
    assert result is not None
    assert (result.custom_id, result.status, result.answered) == ("sr-1", status, status == 200)
    assert said in result.body.decode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"sr-1"',
        b'{"custom_id": "sr-1"',
        b"{}",
        b'{"custom_id": 1, "response": {"body": {}}}',
        b'{"custom_id": "", "response": {"body": {}}}',
        line(response=None),
        line(response=[]),
        line(response={"status_code": "200", "body": BODY}),
        line(response={"status_code": True, "body": BODY}),
        line(response={"status_code": 20, "body": BODY}),
        line(response={"status_code": 200}),
        b"[" * 100_000,
        line(response={"status_code": 10**400, "body": BODY}),
    ],
)
def test_what_is_not_a_result_is_none(raw: bytes) -> None:
    assert read_result(raw) is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(
    st.sampled_from(["custom_id", "response", "error", "status_code", "body", "code"]), x)))  # fmt: skip
def test_no_json_is_too_odd_to_be_read(value: Any) -> None:
    read_result(json.dumps(value).encode())


def test_a_line_without_an_end_is_not_held_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 200)
    good = line(response={"status_code": 200, "body": BODY})
    path = tmp_path / "output.jsonl"
    path.write_bytes(b"x" * 1000 + b"\n\n" + good + b"\r\n" + b'{"torn')
    found = list(results_in(path))
    assert [each.result is not None for each in found] == [False, True, False]
    assert result_at(path, found[1].place) == found[1].result
