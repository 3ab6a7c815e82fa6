r"""Conversations in one text, and the prompt that two of them share.

>>> [turn.content for turn in transcript("\n\nHuman: 2 + 2?\n\nAssistant: 4")]
['2 + 2?', '4']

Marks as in HH-RLHF (https://huggingface.co/datasets/Anthropic/hh-rlhf): a turn begins with "Human:" or "Assistant:"
after an empty line. HelpSteer puts several turns into one prompt with `<extra_id_1>User` and `<extra_id_1>Assistant`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stillroom.common.preferred.base import Flaw, RowFault
from stillroom.common.records import Message, Messages, Role

_MARK = re.compile(r"(?:\A\s*|\n[ \t\r]*\n)(Human|Assistant):")
_EXTRA = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
_ROLES: dict[str, Role] = {"Human": "user", "User": "user", "Assistant": "assistant"}


def is_transcript(text: object) -> bool:
    """Whether a text is a conversation with marks, from the beginning."""
    return isinstance(text, str) and (found := _MARK.match(text)) is not None and found[1] == "Human"


def transcript(text: str) -> Messages:
    """The turns of a text with marks. Raises RowFault for one without."""
    parts = _MARK.split(text)
    if len(parts) < 3 or parts[0].strip():
        raise RowFault(
            Flaw.WRONG_TYPE, f"not a transcript of 'Human:' and 'Assistant:' after empty lines: {text.strip()[:40]!r}"
        )
    return tuple(Message(_ROLES[who], said.strip()) for who, said in zip(parts[1::2], parts[2::2], strict=True))


def with_extra_marks(text: str) -> Messages:
    """The turns of a prompt of HelpSteer; one turn of the user where it has no marks."""
    parts = _EXTRA.split(text)
    first = Message("user", parts[0].strip())
    return (first, *(Message(_ROLES[who], said.strip()) for who, said in zip(parts[1::2], parts[2::2], strict=True)))


class Shared(NamedTuple):
    """A prompt and the two answers to it."""

    prompt: Messages
    a: str
    b: str


def shared_prompt(one: Messages, two: Messages) -> Shared:
    """The turns that two conversations share, and the last turn of each.

    Raises RowFault where nothing is shared, an answer is missing or both are the same. Conversations that part
    before their last turns are SEVERAL_TURNS: good rows, of which no pair of single answers can be made.
    """
    for name, turns in (("the first", one), ("the second", two)):
        if not turns or turns[-1].role != "assistant":
            raise RowFault(Flaw.WRONG_TYPE, f"{name} conversation does not end with an answer")
        if not turns[-1].content.strip():
            raise RowFault(Flaw.EMPTY_TEXT, f"{name} conversation ends with an empty answer")
    count = 0
    while count < min(len(one), len(two)) and one[count] == two[count]:
        count += 1
    if count == len(one) == len(two):
        raise RowFault(Flaw.SAME_TEXT, f"both conversations are the same: {one[-1].content.strip()[:60]!r}")
    if not any(turn.role == "user" for turn in one[:count]):
        raise RowFault(Flaw.NO_COMMON_PROMPT, "the two conversations share no question, so there is no prompt")
    if count != len(one) - 1 or count != len(two) - 1:
        raise RowFault(Flaw.SEVERAL_TURNS, f"the conversations part at turn {count + 1} of {len(one)} and {len(two)}")
    if one[count - 1].role != "user":
        raise RowFault(Flaw.WRONG_TYPE, f"turn {count}, before the answers, is not a user's")
    return Shared(one[:count], one[-1].content, two[-1].content)


def shared_text(one: str, two: str) -> Shared:
    """The words that two texts begin with, as the prompt. Raises RowFault where they share none, or one has nothing
    else."""
    count = 0
    while count < min(len(one), len(two)) and one[count] == two[count]:
        count += 1
    if one.split() == two.split():
        raise RowFault(Flaw.SAME_TEXT, f"both texts are the same: {one.strip()[:60]!r}")
    count = max((found.end() for found in re.finditer(r"\s+", one[:count])), default=0)  # not within a word
    if not one[:count].strip():
        raise RowFault(Flaw.NO_COMMON_PROMPT, f"the texts share no first words: {one[:30]!r} and {two[:30]!r}")
    if not one[count:].strip() or not two[count:].strip():
        raise RowFault(Flaw.EMPTY_TEXT, "one text is only the beginning of the other, so it has no answer")
    return Shared((Message("user", one[:count].strip()),), one[count:].strip(), two[count:].strip())
