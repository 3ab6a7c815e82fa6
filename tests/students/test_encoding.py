from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Message, user
from stillroom.errors import TrainingError
from stillroom.students.data.encode import IGNORED, encode_rows, prepare_tokenizer
from stillroom.students.data.rows import SftRow

END = 2  # <|im_end|>
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)


def sft_row(prompt: str, answer: str, name: str = "row 1") -> SftRow:
    return SftRow(name, user(prompt), (Message("assistant", answer),))


@given(prompt=TEXT, answer=TEXT)
def test_the_loss_is_on_the_answer_and_its_end_and_nothing_else(tokenizer: Any, prompt: str, answer: str) -> None:
    found = encode_rows([sft_row(prompt, answer)], tokenizer, 10_000).rows[0]
    trained = [label for label in found.labels if label != IGNORED]
    assert tokenizer.decode(trained) == answer + "<|im_end|>"
    assert trained[-1] == END
    assert trained == found.input_ids[-len(trained) :]


@given(prompt=TEXT, answer=TEXT)
def test_the_prompt_is_what_inference_sends(tokenizer: Any, prompt: str, answer: str) -> None:
    found = encode_rows([sft_row(prompt, answer)], tokenizer, 10_000).rows[0]
    asked = [{"role": "user", "content": prompt}]
    sent = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    assert [i for i, label in zip(found.input_ids, found.labels, strict=True) if label == IGNORED] == list(sent)


def test_long_rows_are_left_out_whole_and_named(tokenizer: Any) -> None:
    rows = [sft_row("q", "short", "row 1"), sft_row("q", "long " * 50, "row 2"), sft_row("q", "short", "row 3")]
    found = encode_rows(rows, tokenizer, 60)
    assert [row.name for row in found.rows] == ["row 1", "row 3"]
    assert [(row.name, row.reason) for row in found.left_out] == [("row 2", "too_long")]
    assert found.left_out[0].tokens > 250
    assert str(found.left_out[0]).startswith("row 2 is not trained on: 2")


def test_the_limit_itself_still_fits(tokenizer: Any) -> None:
    tokens = len(encode_rows([sft_row("q", "answer")], tokenizer, 1000).rows[0].input_ids)
    assert len(encode_rows([sft_row("q", "answer")], tokenizer, tokens).rows) == 1
    with pytest.raises(TrainingError, match=f"shortest of {tokens} tokens where max_length is {tokens - 1}"):
        encode_rows([sft_row("q", "answer")], tokenizer, tokens - 1)


def test_an_answer_that_ends_the_turn_itself_is_left_out(tokenizer: Any) -> None:
    rows = [sft_row("q", "4<|im_end|>\n<|im_start|>user\nmore", "row 1"), sft_row("q", "4", "row 2")]
    found = encode_rows(rows, tokenizer, 1000)
    assert [(row.name, row.reason) for row in found.left_out] == [("row 1", "end_token_inside")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("+ '<|im_end|>\n'", "+ '\n'"), "no special token"),
        (("<|im_end|>\n", "<|im_end|> Goodbye."), "no special token"),
        (("assistant\n", "assistant\n<think>"), "begins the answer with"),
        (None, "no chat template"),
    ],
)
def test_templates_that_would_fail_in_silence_are_refused(
    make_tokenizer: Any, chatml: str, change: tuple[str, str] | None, said: str
) -> None:
    template = chatml.replace(*change) if change else None
    with pytest.raises(TrainingError, match=said):
        encode_rows([sft_row("q", "a")], make_tokenizer(template), 1000)


@pytest.mark.parametrize(
    ("special", "pad"),
    [
        ({"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}, "<|endoftext|>"),
        ({"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}, "<|endoftext|>"),
        ({"eos_token": "<|im_end|>", "pad_token": "<|im_start|>"}, "<|im_start|>"),
    ],
)
def test_padding_is_never_the_end_token(make_tokenizer: Any, special: dict[str, str], pad: str) -> None:
    tokenizer = make_tokenizer(**special)
    prepare_tokenizer(tokenizer, END)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", pad)


def test_the_digest_tells_other_rows_apart(tokenizer: Any) -> None:
    def digest(*answers: str) -> str:
        return encode_rows([sft_row("q", a) for a in answers], tokenizer, 1000).digest()

    assert digest("a", "b") == digest("a", "b")
    assert digest("a", "b") != digest("b", "a")


def test_a_system_prompt_is_rendered_and_not_trained(tokenizer: Any) -> None:
    row = SftRow("row 1", (Message("system", "Be brief."), *user("q")), (Message("assistant", "a"),))
    found: Any = encode_rows([row], tokenizer, 1000).rows[0]
    assert tokenizer.decode(found.input_ids).startswith("<|im_start|>system\nBe brief.<|im_end|>")
    assert sum(label != IGNORED for label in found.labels) == 2
