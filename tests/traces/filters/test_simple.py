"""finished, max_tokens, min_tokens, not_answer_only, not_refused: what each catches and what it spares."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"text": "It is 18."}, None),
        ({"text": "It is 18.", "reasoning": "9 + 9"}, None),
        ({"text": "<think>9 + 9</think>It is 18."}, None),
        ({"text": "9 + 9</think>It is 18."}, None),
        ({"text": "<think></think>It is 18."}, None),
        ({"text": "x < y and y > x"}, None),
        ({"text": "It is", "finish": "length"}, "truncated"),
        ({"text": "It is", "finish": "content_filter"}, "content_filtered"),
        ({"text": "It is 18.", "finish": "unknown"}, "unknown_end"),
        ({"text": "<think>9 + 9 is"}, "thinking_not_closed"),
        ({"text": ""}, "empty"),
        ({"text": " \n"}, "empty"),
        ({"text": "", "reasoning": "9 + 9 is 18"}, "empty"),
        ({"text": "<think>9 + 9 is 18</think>  "}, "empty"),
        ({"text": "<think>a</think>b<think>c</think>18"}, "thinking_tag_in_answer"),
        ({"text": "<think>a</think>b</think>18"}, "thinking_tag_in_answer"),
        ({"text": "18", "reasoning": "a <think> b"}, "thinking_tag_in_answer"),
    ],
)
def test_finished(make_trace: Any, find_in: Any, given: dict[str, Any], reason: str | None) -> None:
    found = find_in("finished", make_trace(**given))
    assert (found.reason if found else None) == reason


def test_a_recording_that_does_not_say_how_it_ended_can_be_kept(make_trace: Any, find_in: Any) -> None:
    keeping = {"finished": {"unknown": "keep"}}
    assert find_in(keeping, make_trace("18", finish="unknown")) is None
    assert find_in(keeping, make_trace("18", finish="length")).reason == "truncated"


@pytest.mark.parametrize(
    ("spec", "tokens", "reason"),
    [
        ({"max_tokens": 100}, 100, None),
        ({"max_tokens": 100}, 101, "too_long"),
        ({"min_tokens": 100}, 100, None),
        ({"min_tokens": 100}, 99, "too_short"),
    ],
)
def test_token_limits(make_trace: Any, find_in: Any, spec: Any, tokens: int, reason: str | None) -> None:
    found = find_in(spec, make_trace("some text", tokens=tokens))
    assert (found.reason if found else None) == reason
    assert found is None or (f"{tokens}" in found.detail and "100" in found.detail)


def test_a_count_that_was_never_made_is_estimated_and_said_to_be(make_trace: Any, find_in: Any) -> None:
    found = find_in({"max_tokens": 100}, make_trace("word " * 100, tokens=0))
    assert (found.reason, "estimated" in found.detail) == ("too_long", True)
    assert find_in({"max_tokens": 200}, make_trace("word " * 100, tokens=0)) is None


@pytest.mark.parametrize(
    ("text", "reasoning", "dropped"),
    [
        ("18", None, True),
        ("18.", None, True),
        ("The answer is 18.", None, True),
        (r"\boxed{18}", None, True),
        (r"Answer: \boxed{18}. The answer is 18", None, True),
        ("So #### 18\n#### 18", None, True),
        ("9 times 2 is 9 + 9, which is 18.\nThe answer is 18.", None, False),
        ("9 * 2 = 18, 18 - 0 = 18\n#### 18", None, False),
        ("18", "Nine doubled is eighteen, so that is it.", False),
        ("<think>Nine doubled is eighteen, so that is it.</think>18", None, False),
    ],
)
def test_not_answer_only(make_trace: Any, find_in: Any, text: str, reasoning: str | None, dropped: bool) -> None:
    found = find_in("not_answer_only", make_trace(text, reasoning=reasoning))
    assert (found is not None) is dropped
    assert found is None or found.reason == "answer_only"


def test_not_answer_only_takes_its_number(make_trace: Any, find_in: Any) -> None:
    trace = make_trace("9 * 2 = 18.\nThe answer is 18.")
    assert find_in({"not_answer_only": 3}, trace) is None
    assert find_in({"not_answer_only": 4}, trace) is not None


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I cannot assist with this request.",
        "Sorry, I won't do your homework.",
        "As an AI language model, I do not have access to the data.",
        "As a large language model, I cannot compute this.",
        "I am unable to provide an answer.",
        "I cannot answer this question.",
        "I can't comply with that.",
        "I apologize, but I am not able to solve it. The answer is 18.",
        "I'm just an AI, so take this with care: 18",
        "Unfortunately, I cannot help with that.",
    ],
)
def test_refusals_are_dropped(make_trace: Any, find_in: Any, text: str) -> None:
    found = find_in("not_refused", make_trace(text))
    assert found is not None
    assert found.reason == "refused"


@pytest.mark.parametrize(
    "text",
    [
        "We cannot divide by zero, so x is not 0. The answer is 18.",
        "I cannot divide 7 by 2 evenly, so I take 3 and leave 1.",
        "It cannot be determined from the information given.",
        "x can't be negative, so x = 3.",
        "As an airline sells 18 seats, it earns $18.",
        "Sorry for the slip: 9 * 2 is 18, not 16. I cannot see another way.",
        "Ali is unable to help Ben with more than 3 boxes, so Ben carries 18.",
        "The robot says 'as an AI', and Mia counts 18 words.",
        "I will not use the quadratic formula here; factoring gives (x - 3)(x + 3).",
        "Step 1. " * 40 + "I can't help with that.",
    ],
)
def test_mathematics_is_no_refusal(make_trace: Any, find_in: Any, text: str) -> None:
    assert find_in("not_refused", make_trace(text)) is None


def test_own_phrases_are_refusals_where_an_answer_begins_with_them(make_trace: Any, find_in: Any) -> None:
    spec = {"not_refused": ["Request declined"]}
    assert find_in(spec, make_trace("REQUEST declined: policy 7")) is not None
    assert find_in(spec, make_trace("The bank wrote: request declined")) is None
