from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.traces.answers.extract import OUTSIDE, find_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("18", "18"),
        ("She has 3 * 6 = 18.\n#### 18", "18"),
        ("3 * 6 = 18\nA: 18", "18"),
        ("3 * 6 = 18\n**A:** 18", "18"),
        ("A: a first thought\nno last line", None),
        ("The answer is 5.", "5"),
        ("The answer to this is 10.", "10"),
        ("The answer to this arithmetic problem is 10.", "10"),
        ("The answer is 42 because geometry proves it", "42"),
        ("The final answer is $14$. I hope it is correct.", "$14$"),
        ("Final Answer: The largest $n$ is 34.", "34"),
        ("Answer:\n42", "42"),
        ("**Final Answer**: **73**", "73"),
        (r"so $\boxed{3}$.", "3"),
        (r"\boxed{1} no, \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\boxed{42}}", "42"),
        (r"$\boxed{1}$ and $\boxed{2}$", "1, 2"),
        (r"\(\boxed{1}\) and \(\boxed{-2}\).", "1, -2"),
        (r"\boxed{1}, \boxed{2}, \boxed{3}", "1, 2, 3"),
        (r"\boxed{28} percent", r"28\%" + OUTSIDE),
        (r"\boxed{5}. The final answer is 6.", "6"),
        (r"The answer is \boxed{5}, as was to be shown.", "5"),
        (r"\boxed{\frac{1}{2}", r"\frac{1}{2}"),
        (r"\boxed{12", None),
        (r"\boxed{\frac{1}{2", None),
        ("Thus $x \\ge 5$ is the solution.", "$x \\ge 5$"),
        ("First compute 6*7.\n42", "42"),
        ("<think>\\boxed{1}</think>\n\\boxed{2}", "2"),
        ("<think>the answer is 1", None),
        ("First a line.\nThen, another without any end", None),
        ("", None),
        ("  \n ", None),
    ],
)
def test_the_final_answer(text: str, answer: str | None) -> None:
    assert find_answer(text) == answer


def test_boxes_in_one_sentence_with_more_are_not_read_as_one_of_them() -> None:
    found = find_answer(r"\boxed{10} and then \boxed{42}")
    assert found is not None
    assert "10" in found
    assert "42" in found


PIECES = [
    r"\boxed{",
    "}",
    "####",
    "answer is ",
    "A: ",
    "$",
    ", ",
    " and ",
    "%",
    "\n",
    "5",
    "x",
    "</think>",
    "because ",
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=20).map("".join))
def test_an_answer_is_made_of_what_the_text_says(text: str) -> None:
    """Law: any text can be searched, and nothing is found that does not stand there, but what joins boxes."""
    found = find_answer(text)
    assert found is None or set(found) <= {*text, *", ", OUTSIDE}


@pytest.mark.parametrize(
    "unit",
    [
        "\\boxed{",
        "answer ",
        "answer: ",
        "$ ",
        "[ ",
        "#### x\n",
        "####",
        "A:\n",
        "\n",
        " ",
        "</think>",
        "because ",
        "\\(",
        "}",
    ],
)
def test_a_million_characters_are_searched_in_one_pass(unit: str) -> None:
    """Each takes 0.4 s of CPU at most on a slow core; what is quadratic here takes minutes."""
    many, start = unit * (1_000_000 // len(unit)), time.process_time()
    find_answer(many)
    find_answer(f"The answer is {many} 5")
    assert time.process_time() - start < 5
