"""What models put around their thinking and their answer: one table for teachers, checker, filters, rows and lint.

Reasoning models mark their thinking, and each family has its own marks; some mark the answer too, and chat
templates end it with a special token. Whoever reads what a model wrote takes these apart here, so that no verdict
comes from the thinking and no mark gets into a row.

>>> split_thinking("[THINK]2 and 2[/THINK]4")
Split(reasoning='2 and 2', text='4')
>>> after_thinking("<reasoning>It may be 5.</reasoning>It is 4.<|im_end|>")
'It is 4.'
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import Field

from stillroom.common.settings import Settings


class Marks(NamedTuple):
    """What opens a part of a text, and what closes it."""

    open: str
    close: str


class NamedMarks(Settings):
    """Marks of thinking that a recipe names, for a model whose marks are in no table."""

    open: str = Field(min_length=1)
    """What opens the thinking."""
    close: str = Field(min_length=1)
    """What closes it."""


OPEN, CLOSE = "<think>", "</think>"
"""The marks that rows are written with, whatever the teacher's were."""

THINKING = (
    Marks(OPEN, CLOSE),  # DeepSeek-R1, Qwen3, QwQ: https://huggingface.co/deepseek-ai/DeepSeek-R1
    Marks("<thinking>", "</thinking>"),  # prompts after Anthropic's guide
    Marks("<thought>", "</thought>"),
    Marks("<reasoning>", "</reasoning>"),
    Marks("[THINK]", "[/THINK]"),  # Magistral: https://huggingface.co/mistralai/Magistral-Small-2507
    Marks("<seed:think>", "</seed:think>"),  # https://huggingface.co/ByteDance-Seed/Seed-OSS-36B-Instruct
    Marks("<|START_THINKING|>", "<|END_THINKING|>"),  # https://huggingface.co/CohereLabs/command-a-reasoning-08-2025
    Marks("<|begin_of_thought|>", "<|end_of_thought|>"),  # https://huggingface.co/open-thoughts/OpenThinker-7B
    Marks("◁think▷", "◁/think▷"),  # https://huggingface.co/moonshotai/Kimi-VL-A3B-Thinking
)
"""Marks of thinking. The channels of gpt-oss have no fixed pair of marks and are read by `_harmony`."""

TAGS = (
    Marks("<answer>", "</answer>"),  # DeepSeek-R1-Zero, arXiv:2501.12948, table 1
    Marks("<final_answer>", "</final_answer>"),
    Marks("<solution>", "</solution>"),
    Marks("[ANSWER]", "[/ANSWER]"),  # CRUXEval, arXiv:2401.03065
)
"""Marks of the answer that are text, which a user may want the student to learn."""

TEMPLATE = (
    Marks("<|begin_of_box|>", "<|end_of_box|>"),  # https://huggingface.co/zai-org/GLM-4.1V-9B-Thinking
    Marks("<|begin_of_solution|>", "<|end_of_solution|>"),  # https://huggingface.co/open-thoughts/OpenThinker-7B
    Marks("<|START_RESPONSE|>", "<|END_RESPONSE|>"),  # https://huggingface.co/CohereLabs/command-a-reasoning-08-2025
)
"""Marks of the answer that belong to a teacher's chat template: no row holds them."""

ENDS = re.compile(
    r"<\|(?:im_end|im_start|eot_id|eom_id|end_of_text|endoftext|end|return|user|END_OF_TURN_TOKEN)\|>"
    r"|</s>|<eos>|<eoa>|<end_of_turn>|<｜end▁of▁sentence｜>|<\|end▁of▁sentence\|>"
)
"""Special tokens with which chat templates end a turn. What follows one does not belong to the answer."""

_TRANSCRIPT = re.compile(
    r"\s{0,9}(?:<\|begin_of_text\|>|<s>|<bos>|<｜begin▁of▁sentence｜>|<BOS_TOKEN>)?\s{0,9}"
    r"(?:<\|start_header_id\|>(?:system|user)<\|end_header_id\|>|<\|im_start\|>(?:system|user)\b|\[INST\]"
    r"|<start_of_turn>user\b|<\|(?:system|user)\|>|<｜User｜>)"
)
"""What a text begins with that is a whole conversation, as a chat template writes it."""
_ASSISTANT = re.compile(
    r"<\|start_header_id\|>assistant<\|end_header_id\|>|<\|im_start\|>assistant\b|\[/INST\]|<start_of_turn>model\b"
    r"|<\|assistant\|>|<｜Assistant｜>"
)
"""What opens a turn of the assistant in one. Llama 3, ChatML (Qwen), Llama 2 and Mistral, Gemma, Zephyr and Phi 3,
DeepSeek: the `chat_template` in the tokenizer_config.json of each."""

_CHANNEL = re.compile(r"(?:<\|start\|>assistant)?<\|channel\|>(\w+)[^<\n]{0,80}<\|message\|>")
"""A channel of the harmony format (https://github.com/openai/harmony): `final` is the answer, all others thinking."""
_PLAIN_CHANNEL = re.compile(r"\A\s*analysis(?=[A-Z\s*\"'])|assistantfinal(?=\W|[A-Z\d])")
"""The same where the special tokens were dropped: `analysisWe need …assistantfinalThe answer …`."""


_CLOSING = frozenset(mark.close for mark in THINKING)
_CLOSES = re.compile("|".join(map(re.escape, _CLOSING)))
_MARK = re.compile("|".join(re.escape(mark) for pair in THINKING for mark in pair))
_MAYBE = ("<|", "</", "<th", "<r", "<s", "<e", "<｜", "[THINK]", "[/THINK]", "◁", "assistantfinal", "[INST]")
"""Without one of these there is no mark of ours in a text."""


class Split(NamedTuple):
    """`reasoning` is None where there was no thinking part; `text` is "" where it was never closed."""

    reasoning: str | None
    text: str


def in_our_marks(text: str, named: NamedMarks | None) -> str:
    """A text in which the marks that the user named are written as ours, so that everything else knows them."""
    return text if named is None else text.replace(named.open, OPEN).replace(named.close, CLOSE)


def split_thinking(text: str, *, opened: bool = False) -> Split:
    """Splits what a reasoning model wrote. `opened`: the chat template had already opened the thinking in the prompt.

    Servers with a reasoning parser hand the two over apart; others, and local models, leave the marks in the text.
    Only a thinking part at the very beginning is split off: a later mark is text like any other.
    """
    if (channels := _harmony(text)) is not None:
        return channels
    stripped = text.lstrip()
    for mark in THINKING:
        if stripped.startswith(mark.open):
            # An unclosed thinking part was cut by the length limit: it is thinking, not an answer.
            reasoning, closed, answer = stripped[len(mark.open) :].partition(mark.close)
            return Split(reasoning.strip(), answer.lstrip() if closed else "")
    if not opened:
        return Split(None, text)
    end = _CLOSES.search(stripped)
    if end is None:
        return Split(stripped.strip(), "")
    return Split(stripped[: end.start()].strip(), stripped[end.end() :].lstrip())


def split_named(text: str, named: NamedMarks) -> Split:
    """Splits what a model wrote whose marks the user named."""
    text = in_our_marks(text, named)
    return split_thinking(text, opened=opened_by_template(text))


def opened_by_template(text: str) -> bool:
    """Whether the chat template must have opened the thinking part of a text, which is closed in it and never opened:
    for texts whose prompt is not at hand."""
    first = _MARK.search(text)
    return first is not None and first.group() in _CLOSING


def after_thinking(text: str) -> str:
    """What a model says after all its thinking, wherever that stands, up to the token that ends its turn; "" where
    the thinking never ends."""
    if not any(map(text.__contains__, _MAYBE)):
        return text
    text = _last_turn(text)
    if (channels := _harmony(text)) is not None:
        text = channels.text
    if found := list(_MARK.finditer(text)):
        closed = found[-1].group() in _CLOSING
        # An answer in tags ends thinking that nobody closed.
        tag = -1 if closed else max(text.rfind(mark.open, found[-1].end()) for mark in TAGS)
        text = text[found[-1].end() :] if closed else text[tag:] if tag >= 0 else ""
    return _one_turn(text)


def thinking_mark(text: str) -> str | None:
    """The first mark of thinking in a text, or None."""
    found = _MARK.search(text) or _CHANNEL.search(text)
    return None if found is None else found.group()


def unclosed_mark(text: str) -> str | None:
    """The mark that opens the thinking in which a text ends, or None."""
    if (channels := _harmony(text)) is not None:
        return None if channels.text else "<|channel|>"
    found = _MARK.findall(text)
    return found[-1] if found and found[-1] not in _CLOSING else None


def foreign_marks(text: str, named: NamedMarks | None = None) -> Iterator[re.Match[str]]:
    """Every mark of thinking or of a chat template in a text, in order, but for those that rows are written with.
    `named`: further marks, which the user named."""
    marks = _FOREIGN
    if named is not None:
        marks = re.compile("|".join([re.escape(named.open), re.escape(named.close), marks.pattern]))
    return (found for found in marks.finditer(text) if found.group() not in (OPEN, CLOSE))


def without_template_marks(text: str) -> str:
    """An answer without the marks of its teacher's chat template, up to the token that ends its turn."""
    return _TEMPLATE.sub("", _one_turn(text)).strip() if "<" in text else text


_TEMPLATE = re.compile("|".join(re.escape(mark) for pair in TEMPLATE for mark in pair))
_FOREIGN = re.compile(
    "|".join([*(re.escape(m) for pair in (*THINKING, *TEMPLATE) for m in pair), _CHANNEL.pattern, ENDS.pattern])
)


def _last_turn(text: str) -> str:
    """What follows the last mark of an assistant's turn in a text that is a whole conversation; "" where the
    assistant says nothing. Any other text as it is: turns that a model adds to its answer are not its answer."""
    if _TRANSCRIPT.match(text) is None:
        return text
    found = list(_ASSISTANT.finditer(text))
    return text[found[-1].end() :] if found else ""


def _one_turn(text: str) -> str:
    """The text up to the first token that ends a turn, unless nothing stands before it."""
    for end in ENDS.finditer(text):
        if text[: end.start()].strip():
            return text[: end.start()]
    return text


def _harmony(text: str) -> Split | None:
    """Thinking and answer of a text in channels; None where it has none."""
    parts = list(_CHANNEL.finditer(text))
    if not parts:
        plain = list(_PLAIN_CHANNEL.finditer(text))
        if len(plain) < 2 or plain[0].start() or plain[0].group().strip() != "analysis":
            return None
        return Split(text[plain[0].end() : plain[-1].start()].strip(), text[plain[-1].end() :].lstrip())
    ends = [*(part.start() for part in parts[1:]), len(text)]
    said = [(part.group(1), _one_turn(text[part.end() : end]).strip()) for part, end in zip(parts, ends, strict=True)]
    thinking = "\n\n".join(words for channel, words in said if channel != "final" and words)
    answer = "\n\n".join(words for channel, words in said if channel == "final")
    return Split(thinking or None, answer)
