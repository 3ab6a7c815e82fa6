"""Sampling settings: what is allowed, and what is said of the rest."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from stillroom.common.records import SamplingParams


@pytest.mark.parametrize("count", [0, 1, 20])
def test_servers_allow_up_to_20_likely_tokens(count: int) -> None:
    assert SamplingParams(top_logprobs=count).top_logprobs == count


@pytest.mark.parametrize("count", [-1, 21])
def test_other_numbers_of_likely_tokens_are_refused(count: int) -> None:
    with pytest.raises(ValidationError, match="top_logprobs"):
        SamplingParams(top_logprobs=count)


@pytest.mark.parametrize("text", ["{}", ' {"type": "object", "properties": {"b": {}, "a": {}}}\n', None])
def test_a_schema_is_kept_as_it_was_written(text: str | None) -> None:
    assert SamplingParams(json_schema=text).json_schema == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{'type': 'object'}", "is not JSON"),
        ('{"type": "object"', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is a list, expected an object"),
        ("null", "is a NoneType, expected an object"),
        ('"object"', "is a str, expected an object"),
    ],
)
def test_what_is_no_schema_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SamplingParams(json_schema=text)
