"""The marks of thinking and of answers, in what a model wrote, in the row that is trained, and in the lint."""

from __future__ import annotations

import pytest

from stillroom.common.marks import (
    TAGS,
    TEMPLATE,
    THINKING,
    Marks,
    NamedMarks,
    after_thinking,
    foreign_marks,
    in_our_marks,
    opened_by_template,
    split_named,
    split_thinking,
    unclosed_mark,
    without_template_marks,
)

HARMONY = "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>"
OF_THINKING = pytest.mark.parametrize(
    "written", [*(mark.open + "{}" + mark.close + "{}" for mark in THINKING), HARMONY, "analysis{}assistantfinal{}"]
)


@OF_THINKING
def test_thinking_comes_apart(written: str) -> None:
    assert split_thinking(written.format("We add 2 and 2.", "It is 4.")) == ("We add 2 and 2.", "It is 4.")


@OF_THINKING
def test_nothing_is_read_from_thinking(written: str) -> None:
    text = written.format("We say the answer is 5.", "It is 4.")
    assert after_thinking(text) == "It is 4."
    assert after_thinking("First. " + text).strip() == "It is 4." or written.startswith("analysis")


@pytest.mark.parametrize("mark", THINKING)
def test_thinking_that_the_template_opened(mark: Marks) -> None:
    text = f"two and two{mark.close}4"
    assert opened_by_template(text)
    assert split_thinking(text, opened=True) == ("two and two", "4")
    assert after_thinking(text) == "4"


@pytest.mark.parametrize("text", [*(f"{mark.open}It is 4." for mark in THINKING), HARMONY.partition("<|end|>")[0]])
def test_thinking_that_never_ends(text: str) -> None:
    assert after_thinking(text) == ""
    assert split_thinking(text).text == ""
    mark = unclosed_mark(text)
    assert mark is not None
    assert mark in text


def test_an_open_part_before_its_end_was_not_opened_by_the_template() -> None:
    assert not opened_by_template("<thought>a</thought>4")
    assert not opened_by_template("no marks at all")


def test_several_messages_of_thinking_and_a_commentary() -> None:
    text = (
        "<|channel|>analysis<|message|>One.<|end|><|start|>assistant<|channel|>commentary to=functions.x<|message|>Two."
        "<|end|><|start|>assistant<|channel|>final<|message|>4<|return|>"
    )
    assert split_thinking(text) == ("One.\n\nTwo.", "4")


MINE = NamedMarks(open="((", close="))")


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("((a))4", ("a", "4")),
        ("a))4", ("a", "4")),  # opened by the chat template
        ("((a", ("a", "")),
        ("4", (None, "4")),
        ("<think>a</think>4", ("a", "4")),
    ],
)
def test_marks_that_the_user_named(text: str, split: tuple[str | None, str]) -> None:
    assert split_named(text, MINE) == split


def test_marks_that_the_user_named_are_unknown_otherwise() -> None:
    assert split_thinking("((a))4") == (None, "((a))4")
    assert after_thinking(in_our_marks("So far. ((a)) 4", MINE)) == " 4"
    assert [mark.group() for mark in foreign_marks("((a))4", MINE)] == ["((", "))"]
    assert list(foreign_marks("((a))4")) == []


@pytest.mark.parametrize("end", ["<|im_end|>", "</s>", "<end_of_turn>", "<|eot_id|>", "<｜end▁of▁sentence｜>"])
def test_what_follows_the_end_of_the_turn_is_no_answer(end: str) -> None:
    assert without_template_marks(f"It is 4.{end}\nuser: and 5?") == "It is 4."
    assert after_thinking(f"<think>a</think>4{end}5") == "4"


@pytest.mark.parametrize("mark", TEMPLATE)
def test_marks_of_a_template_are_taken_off_an_answer(mark: Marks) -> None:
    assert without_template_marks(f"It is {mark.open}4{mark.close}.") == "It is 4."


@pytest.mark.parametrize("mark", TAGS)
def test_tags_of_an_answer_are_text(mark: Marks) -> None:
    assert without_template_marks(f"It is {mark.open}4{mark.close}.") == f"It is {mark.open}4{mark.close}."


def test_foreign_marks_are_all_but_those_of_rows() -> None:
    text = "<think>a</think> [THINK] b [/THINK] <|end_of_box|> <|im_end|> <|channel|>final<|message|>"
    found = [match.group() for match in foreign_marks(text)]
    assert found == ["[THINK]", "[/THINK]", "<|end_of_box|>", "<|im_end|>", "<|channel|>final<|message|>"]
