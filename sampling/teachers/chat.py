"""What local teachers share about chat models: prompt ids, how long they may be, and the tokens that end an answer.

It refuses a tokenizer without a chat template: a guessed format would silently cost most of a teacher's ability.

    ids = encode_chat(tokenizer, [Message("user", "What is 2 and 2?")])
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillroom.common.marks import THINKING
from stillroom.common.models import resolve as models
from stillroom.common.models.quiet import quiet_transformers
from stillroom.common.records import Message
from stillroom.errors import InputError

PROBE = "stillroomprobe"


class LocalTeacher:
    """What every teacher has that runs the model called `model` on this machine.

    `concurrency`: requests in flight. The tokenizer and the settings, by which prompts are counted, are read when
    first used; the weights are not.
    """

    def __init__(self, model: str, concurrency: int) -> None:
        if concurrency < 1:
            raise InputError(f"concurrency is {concurrency}: it must be at least 1")
        self.model, self.concurrency = model, concurrency

    @functools.cached_property
    def fingerprint(self) -> str:
        """Which weights answer. Does not load the model."""
        return models.fingerprint(self.model)

    @functools.cached_property
    def context(self) -> int | None:
        """Tokens that prompt and answer may have together; None where the model's settings do not say."""
        folder = Path(models.resolve_model(self.model).path)
        base = models.adapter_base(folder)
        with quiet_transformers() as transformers:
            config = transformers.AutoConfig.from_pretrained(models.resolve_model(base).path if base else str(folder))
        return int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 0) or None

    @functools.cached_property
    def _tokenizer(self) -> Any:
        return models.load_tokenizer(self.model)

    @functools.cached_property
    def special_tokens(self) -> frozenset[str]:
        """All tokens that the tokenizer keeps apart from text."""
        added = self._tokenizer.added_tokens_decoder.values()
        return frozenset(self._tokenizer.all_special_tokens) | {str(token) for token in added if token.special}

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt. Raises InputError as `encode_chat` does."""
        return len(encode_chat(self._tokenizer, messages))


def encode_chat(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The token ids of a conversation in the model's own format, up to where the assistant is to answer.

    Raises InputError for a tokenizer without a chat template, or messages that its template does not take.
    """
    text = _render(tokenizer, messages, generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def check_fits(prompt: Sequence[int], context: int, task_id: str) -> None:
    """Raises InputError for a prompt that leaves no room for an answer."""
    if len(prompt) >= context:
        raise InputError(
            f"the prompt of task {task_id!r} is {len(prompt)} tokens, the teacher's context is {context}: shorten "
            "the task or choose a longer-context teacher"
        )


def thinking_is_open(tokenizer: Any, prompt_ids: Sequence[int]) -> bool:
    """Whether the prompt ends inside a thinking part, as templates of reasoning models have it."""
    return bool(str(tokenizer.decode(list(prompt_ids[-8:]))).rstrip().endswith(tuple(mark.open for mark in THINKING)))


def end_tokens(tokenizer: Any, generation_config: Any) -> frozenset[int]:
    """Every token that ends an answer: of the generation settings, the tokenizer, and the chat template's turn."""
    configured = getattr(generation_config, "eos_token_id", None)
    ends = set(configured if isinstance(configured, list | tuple) else [configured])
    # The special token that the template puts after an assistant's turn, if it puts one.
    turns = [Message("user", "a"), Message("assistant", PROBE)]
    _, found, after = _render(tokenizer, turns, generation_prompt=False).rpartition(PROBE)
    ids = tokenizer(after, add_special_tokens=False)["input_ids"] if found else []
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    ends |= {tokenizer.eos_token_id, next((token for token in ids if token in special), None)}
    return frozenset(int(end) for end in ends if end is not None)


def _render(tokenizer: Any, messages: Sequence[Message], *, generation_prompt: bool) -> str:
    if not getattr(tokenizer, "chat_template", None):
        name = getattr(tokenizer, "name_or_path", "the teacher")
        raise InputError(
            f"the tokenizer of {name!r} has no chat template: choose the instruct version of the model, or give its "
            "folder a chat_template.jinja"
        )
    turns = [message.as_dict() for message in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation_prompt))
    except Exception as error:  # templates raise whatever jinja and their authors like
        raise InputError(f"the model's chat template does not take these messages: {error}") from error
