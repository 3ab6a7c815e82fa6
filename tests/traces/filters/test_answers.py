"""one_final_answer: one answer however often it is stated, and no hedging."""

from __future__ import annotations

from typing import Any

import pytest

from stillroom.traces.filters.answers import different, statements


@pytest.mark.parametrize(
    "text",
    [
        "9 * 2 = 18\n#### 18",
        "9 * 2 = 18\nA: 18",
        "So the answer is 18.",
        "**Final Answer:** 18",
        "The final answer is: $\\boxed{18}$.",
        "The answer is 18 dollars because 9 * 2 = 18.\n#### 18",
        "The answer is $18.00.\n#### 18",
        "The answer is 1,800.\n\\boxed{1800}",
        "The answer is x = 18. \\boxed{18}",
        "Answer: 9 * 2 = 18\n\\boxed{18}",
        "Answer: **18**\n\nThe answer is 18 apples.",
        r"The roots are \boxed{1} and \boxed{2}.",
        r"\boxed{\frac{1}{2}} so the answer is $\frac{1}{2}$.",
        r"The angle is \boxed{18^\circ}. The answer is 18°.",
        "The answer is not 16. The answer is 18.",
        "18",
        "So she makes $18.\n18",
        "Answer:\n18",
        "The answer is 3.5. #### 3.50",
    ],
)
def test_one_answer_stays(make_trace: Any, find_in: Any, text: str) -> None:
    assert find_in("one_final_answer", make_trace(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 18. Or else the answer is 16.",
        "#### 16\nWait, that is wrong.\n#### 18",
        r"\boxed{16} so \boxed{18}",
        "The answer is 1/2.\n#### 1",
        "The answer is 3.5.\n#### 3",
        "The answer is 18.\n#### -18",
        "The answer is 2 or 3.\n#### 2",
        "The answer is x = 1, y = 2.\nThe answer is x = 3, y = 2.",
        "The answer is 3 + 2.\nThe answer is 3.",
    ],
)
def test_several_answers_go(make_trace: Any, find_in: Any, text: str) -> None:
    found = find_in("one_final_answer", make_trace(text))
    assert found is not None
    assert found.reason == "several_answers"
    assert " | " in found.detail


@pytest.mark.parametrize(
    "text",
    ["Let me think about it.\nNine boxes, each with two.\nIt is hard to tell.", "So \\boxed{18 and so on\nand so on"],
)
def test_no_answer_goes(make_trace: Any, find_in: Any, text: str) -> None:
    found = find_in("one_final_answer", make_trace(text))
    assert found is not None
    assert found.reason == "no_answer"


def test_thinking_may_try_several(make_trace: Any, find_in: Any) -> None:
    trace = make_trace("The answer is 18.", reasoning="The answer is 16. No, the answer is 17.")
    assert find_in("one_final_answer", trace) is None


def test_own_markers(make_trace: Any, find_in: Any) -> None:
    trace = make_trace("Result: 16\nResult: 18\nThat is all there is to say.")
    assert find_in({"one_final_answer": ["Result:"]}, trace).reason == "several_answers"


def test_statements_are_found_in_order_with_their_places() -> None:
    text = "The answer is 5.\nSo \\boxed{5}.\n#### 5"
    found = statements(text)
    assert [item.value for item in found] == ["5", "5", "5"]
    assert [text[item.start : item.end] for item in found] == ["The answer is 5", "\\boxed{5}", "#### 5"]


def test_endless_answers_are_not_all_compared() -> None:
    assert len(different([str(n) for n in range(100_000)])) == 8
