"""Thinking and answer: where the one ends and the other begins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.marks import split_thinking


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("4", None, "4"),
        ("", None, ""),
        (" 4\n", None, " 4\n"),
        ("<think>two and two</think>4", "two and two", "4"),
        ("\n <think>\ntwo\n</think>\n\n4\n", "two", "4\n"),
        ("<think></think>4", "", "4"),
        ("<think>two", "two", ""),
        ("<think>", "", ""),
        ("4 <think>no</think>", None, "4 <think>no</think>"),
        ("<think>a</think>4</think>5", "a", "4</think>5"),
        ("<think>a<think>b</think>c</think>4", "a<think>b", "c</think>4"),
        ("<thinking>a</thinking>4", "a", "4"),
        ("two</think>4", None, "two</think>4"),
        ("<think>\ntwo\n</think>\n\n4", "two", "4"),
    ],
)
def test_splits_a_thinking_part_at_the_beginning(text: str, reasoning: str | None, answer: str) -> None:
    assert split_thinking(text) == (reasoning, answer)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("two and two</think>4", "two and two", "4"),
        ("two and", "two and", ""),
        ("", "", ""),
        ("<think>two</think>4", "two", "4"),  # the template opened it, and the model did so again
    ],
)
def test_the_prompt_may_have_opened_it(text: str, reasoning: str, answer: str) -> None:
    assert split_thinking(text, opened=True) == (reasoning, answer)


@given(st.text(), st.text())
def test_what_was_put_together_comes_apart(thought: str, answer: str) -> None:
    if "</think>" not in thought:
        split = split_thinking(f"<think>{thought}</think>{answer}")
        assert split == (thought.strip(), answer.lstrip())


@given(st.text())
def test_nothing_is_lost_without_a_thinking_part(text: str) -> None:
    if not text.lstrip().startswith("<think>"):
        assert split_thinking(text) == (None, text)
