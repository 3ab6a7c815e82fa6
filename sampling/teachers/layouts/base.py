"""What a layout of recordings is, and what they share: the words of a message, attempts in parallel lists.

>>> attempts("2 + 2?", {"finish_reasons": ["stop", "length"], "correct": [True, False]}, ["4", "5"])[1]
{'prompt': '2 + 2?', 'text': '5', 'finish_reason': 'length', 'grade': False}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from stillroom.common.fields import no_field
from stillroom.common.row_files import kind_of
from stillroom.common.turns import content_in, turns_in
from stillroom.errors import InputError
from stillroom.sampling.teachers.openai.parts import REASONING, read_parts, words_of

Values = Mapping[str, Any]
Laid = list[dict[str, Any]]
"""The attempts of a row, with the fields of our own recordings. `also`: further prompts that its task may be found
by. `view`: of a tool that writes the same attempts once for each way of looking at them, what they are and which way
this is."""


class Layout(NamedTuple):
    """`about`: its rows, for people. `fits`: whether a row is plainly of this layout. `read`: the attempts of a row,
    none where the request had failed; raises InputError for a row of another kind. `joined_by_id`: rows are found by
    the id of their task, where the recipe names no other field; else by their prompt."""

    about: str
    fits: Callable[[Values], bool]
    read: Callable[[Values], Laid]
    joined_by_id: bool = False


PROMPTS = ("problem", "question", "prompt", "instruction", "query", "input")
"""What the text of a task is called."""
_PARALLEL = {
    "reasoning": ("reasonings", "reasoning", "reasoning_contents", "reasoning_content", "thinkings", "thinking"),
    "finish_reason": ("finish_reasons", "finish_reason", "stop_reasons", "stop_reason"),
    "grade": ("correctness_math_verify", "correctness", "correct", "is_correct", "corrects", "math_verify"),
    "completion_tokens": ("completion_tokens", "output_tokens", "num_tokens", "token_counts"),
}
"""Lists that go with the list of answers, by what they hold: the first that the row has counts."""


def attempts(prompt: str, row: Values, answers: Sequence[Any]) -> Laid:
    """The attempts of a list, with what stands of each in the lists next to it. Raises InputError for lists of
    different lengths, or an answer without text. An answer of null is a request that failed."""
    parallel = {name: found for name in _PARALLEL if (found := _list(row, _PARALLEL[name])) is not None}
    for name, (field, values) in parallel.items():
        if len(values) != len(answers):
            raise InputError(f"{len(values)} {field}, but {len(answers)} answers: each needs its {name}")
    laid: Laid = []
    for number, answer in enumerate(answers):
        if answer is None:
            continue
        more = {name: values[number] for name, (_, values) in parallel.items() if values[number] is not None}
        laid.append({"prompt": prompt, **_answer(answer, number), **more})
    return laid


def _list(row: Values, fields: Sequence[str]) -> tuple[str, list[Any]] | None:
    return next(((field, row[field]) for field in fields if isinstance(row.get(field), list)), None)


def _answer(answer: Any, number: int) -> dict[str, Any]:
    """One item of a list of answers: a text, or an object with one, as a choice of a chat API."""
    if isinstance(answer, str):
        return {"text": answer}
    if isinstance(answer, Mapping):
        if isinstance(answer.get("message"), Mapping):
            return {**said_in(answer["message"]), **ended(answer)}
        name = next((name for name in ("text", "content", "generated_text", "completion") if name in answer), None)
        if name is not None:
            return {**said_in({**answer, "content": answer[name]}), **ended(answer)}
    raise InputError(f"answer {number + 1} is {kind_of(answer)}, not a text, nor an object with one")


def ended(choice: Values) -> dict[str, Any]:
    """Why an answer ended, if the row says it."""
    said = next((choice[name] for name in ("finish_reason", "stop_reason") if choice.get(name) is not None), None)
    return {} if said is None else {"finish_reason": said}


def graded_in(row: Values) -> dict[str, Any]:
    """Whether the one answer of a row is right, if the row says it."""
    values = (row.get(name) for name in (*_PARALLEL["grade"], "grade"))
    said = next((value for value in values if isinstance(value, bool | int | float | str)), None)
    return {} if said is None else {"grade": said}


def said_in(message: Values) -> dict[str, Any]:
    """Text and thinking of a message, its content a text or in parts. Raises InputError for one without words."""
    parts = read_parts(message.get("content"))
    if parts is None:
        raise InputError("the content of the message holds no text")
    thinking = next((words for name in REASONING if (words := words_of(message.get(name)))), "") or parts.thinking
    return {"text": parts.text, **({"reasoning": thinking} if thinking else {})}


def asked_in(messages: Any) -> str:
    """The last user message of a conversation. Raises InputError where there is none."""
    turns = turns_in(messages)
    if (found := next((turn.content for turn in reversed(turns) if turn.role == "user"), None)) is None:
        raise InputError("the conversation has no user message")
    return found


def prompt_of(row: Values) -> str:
    """The text of a row's task: its prompt, or the last user message. Raises InputError where there is none."""
    for name in PROMPTS:
        value = row.get(name)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, list) and value:
            return asked_in(value)
    for name in ("messages", "conversation", "conversations"):
        if row.get(name):
            return asked_in(row[name])
    raise InputError(f"no prompt in {', '.join(PROMPTS)} or messages: {no_field(row, 'prompt')}")


def others_in(row: Any) -> dict[str, Any]:
    """Texts of a task that a row was made from, which it may be found by as well."""
    found = [row[name] for name in PROMPTS if isinstance(row.get(name), str)] if isinstance(row, Mapping) else []
    return {"also": found} if found else {}


def text_of(value: Any) -> str:
    """The text of a content, also of one in parts. Raises InputError for an image, a sound or anything else."""
    return content_in(value, 1)
