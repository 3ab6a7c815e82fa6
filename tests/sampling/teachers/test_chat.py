"""Chat prompts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stillroom.common.records import user
from stillroom.errors import InputError
from stillroom.sampling.teachers.chat import encode_chat, end_tokens, thinking_is_open


class Characters:
    """A tokenizer of one token per character; `<`, `>` and `|` are special."""

    chat_template = "x"
    eos_token_id = 1
    all_special_ids = (ord("|"),)
    added_tokens_decoder: dict[int, str] = {}  # noqa: RUF012

    def apply_chat_template(self, turns: list[dict[str, str]], **kwargs: Any) -> str:
        return "".join(f"{turn['content']}\n|" for turn in turns)

    def __call__(self, text: str, **kwargs: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


@pytest.mark.parametrize(("configured", "expected"), [(7, {7, 1, 124}), ([7, 8], {7, 8, 1, 124}), (None, {1, 124})])
def test_end_tokens_come_from_settings_tokenizer_and_template(configured: Any, expected: set[int]) -> None:
    assert end_tokens(Characters(), SimpleNamespace(eos_token_id=configured)) == expected


def test_a_tokenizer_without_a_template_is_refused() -> None:
    bare = Characters()
    bare.chat_template = ""
    with pytest.raises(InputError, match="no chat template"):
        encode_chat(bare, user("x"))


def test_a_template_that_refuses_the_messages_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, turns: Any, **kwargs: Any) -> str:
        raise RuntimeError("roles must alternate")

    monkeypatch.setattr(Characters, "apply_chat_template", refuse)
    with pytest.raises(InputError, match="roles must alternate"):
        encode_chat(Characters(), user("x"))


@pytest.mark.parametrize(("prompt", "expected"), [("a <think>\n", True), ("a <think></think>", False), ("a", False)])
def test_a_prompt_may_open_the_thinking(prompt: str, expected: bool) -> None:
    assert thinking_is_open(Characters(), [ord(letter) for letter in prompt]) is expected
