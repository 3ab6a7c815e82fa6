"""Layouts of conversations: `messages`, `sharegpt`, and a prompt that is a list of messages (verl, DAPO, trl).

The task is everything up to the last user turn, with the system prompt and earlier turns; what the assistant says
after it is the reference, unless the row has an answer in another field.

    {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]}
    {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]}
    {"prompt": [{"role": "user", "content": "2 + 2?"}], "reward_model": {"ground_truth": "4"}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from stillroom.common.fields import NoField, value_at
from stillroom.common.records import Message, Messages
from stillroom.common.turns import NotText, NoTurns, are_turns, turns_in
from stillroom.traces.tasks.layouts.base import Laid, Layout, Names, layouts, missing_answer, reference_of, text_in
from stillroom.traces.tasks.problems import BadRow, Problem


class _Conversation(Layout):
    field: ClassVar[str]
    others: ClassVar[tuple[str, ...]] = ()
    answers: ClassVar[tuple[str, ...]] = ()

    def read(self, values: Mapping[str, Any], names: Names) -> Laid:
        field = names.prompt or next((name for name in (self.field, *self.others) if name in values), self.field)
        turns = _turns(values, field)
        last = turns[-1].content if turns[-1].role == "assistant" else None
        asked = turns[:-1] if last is not None else turns
        system = text_in(values.get("system"))
        if system and asked and asked[0].role != "system":
            asked = (Message("system", system), *asked)
        if not asked or asked[-1].role != "user":
            raise BadRow(Problem.EMPTY_PROMPT, f"the field {field!r} has no user turn that is to be answered")
        if not asked[-1].content.strip():
            raise BadRow(Problem.EMPTY_PROMPT, f"the last user turn in the field {field!r} is empty")
        reference = self._reference(values, names, field, last)
        return Laid(asked, reference, frozenset({field, "system"} if system else {field}))

    def _reference(self, values: Mapping[str, Any], names: Names, field: str, last: str | None) -> str | None:
        if not names.answered or names.reference is not None or any(name in values for name in ("answer",)):
            return reference_of(values, names, "answer", *self.answers)
        if last is not None and last.strip():
            return last.strip()
        if self.answers:
            return reference_of(values, names, *self.answers)
        raise missing_answer("answer", f"the last turn of {field}")


def _turns(values: Mapping[str, Any], field: str) -> Messages:
    try:
        return turns_in(value_at(values, field))
    except NoField as error:
        raise BadRow(Problem.MISSING_FIELD, str(error)) from None
    except NotText as error:
        raise BadRow(Problem.NOT_TEXT, f"the field {field!r}: {error}") from None
    except NoTurns as error:
        raise BadRow(Problem.WRONG_TYPE, f"the field {field!r}: {error}") from None


@layouts.register(name="messages")
class ChatMessages(_Conversation):
    """Conversations of role and content, or with the same name of from and value."""

    about = "`messages` of role and content"
    field = "messages"

    def fits(self, values: Mapping[str, Any]) -> bool:
        others = {"problem", "prompt", "instruction", "question"} & values.keys()
        return not others and are_turns(values.get(self.field))


@layouts.register(name="sharegpt")
class ShareGpt(_Conversation):
    """Conversations of from and value, or with the same name of role and content."""

    about = "`conversations` of from and value"
    field = "conversations"
    others = ("conversation",)

    def fits(self, values: Mapping[str, Any]) -> bool:
        others = {"problem", "instruction", "question", "prompt", "messages"} & values.keys()
        return not others and any(are_turns(values.get(name)) for name in (self.field, *self.others))


@layouts.register(name="prompt_messages")
class PromptMessages(_Conversation):
    """A prompt that is a list of messages, with its answer in a field next to it (verl, DAPO, trl)."""

    about = "`prompt` as a list of messages, the answer in `reward_model.ground_truth`, `ground_truth` or `solution`"
    field = "prompt"
    answers = ("reward_model.ground_truth", "ground_truth", "solution", "label")

    def fits(self, values: Mapping[str, Any]) -> bool:
        return are_turns(values.get(self.field), "role", "content")
