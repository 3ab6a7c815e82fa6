"""Whole conversations as answers: the last turn of the assistant is read, and nothing that the user said."""

from __future__ import annotations

import pytest

from stillroom.common.marks import after_thinking
from stillroom.common.records import State
from stillroom.traces.answers import check

LLAMA = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nWhat is 7 * 6? Is it \\boxed{{41}}?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>"
)
LAYOUTS = [
    LLAMA,
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nIs it 41?<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>",
    "<|im_start|>user\nIs it \\boxed{{41}}?<|im_end|>\n<|im_start|>assistant\n{}",
    "<s>[INST] Is it \\boxed{{41}}? [/INST] {} </s>",
    "[INST] Is it \\boxed{{41}}? [/INST] {}",
    "<bos><start_of_turn>user\nIs it 41?<end_of_turn>\n<start_of_turn>model\n{}<end_of_turn>",
    "<|user|>\nIs it 41?<|end|>\n<|assistant|>\n{}<|end|>",
    "<｜begin▁of▁sentence｜><｜User｜>Is it 41?<｜Assistant｜>{}<｜end▁of▁sentence｜>",
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_last_turn_of_the_assistant_is_the_answer(layout: str) -> None:
    assert after_thinking(layout.format("42")).strip() == "42"
    assert check("42", layout.format("The answer is \\boxed{42}.")).state is State.ACCEPTED
    assert check("42", layout.format("<think>41?</think>\\boxed{42}")).state is State.ACCEPTED


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_the_user_said_is_not_the_answer(layout: str) -> None:
    assert check("41", layout.format("The answer is \\boxed{42}.")).state is State.REJECTED
    assert check("41", layout.format("")).state is State.UNSCORED
    assert check("41", layout.split("{}")[0].format()).state is State.UNSCORED


def test_of_two_turns_the_last_one_counts() -> None:
    talk = LLAMA.format("It is \\boxed{41}.") + LLAMA[len("<|begin_of_text|>") :].format("It is \\boxed{42}.")
    assert check("42", talk).state is State.ACCEPTED
    assert check("41", talk).state is State.REJECTED


@pytest.mark.parametrize(
    "answer",
    [
        "\\boxed{42}<|im_end|>\n<|im_start|>user\nAnd 8 * 6?<|im_end|>\n<|im_start|>assistant\n\\boxed{48}",
        "<|im_start|>assistant\n\\boxed{42}<|im_end|>\n<|im_start|>user\nNext?<|im_end|>\n<|im_start|>assistant\n\\boxed{48}",
    ],
)
def test_turns_that_a_model_adds_to_its_answer_are_not_read(answer: str) -> None:
    assert check("42", answer).state is State.ACCEPTED
    assert check("48", answer).state is State.REJECTED
