"""The layout of multiple choice: the choices follow the question, each with its letter; the reference is a letter.

    {"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}                               MMLU
    {"question": "2 + 2?", "choices": {"text": ["3", "4"], "label": ["A", "B"]}, "answerKey": "B"}      ARC
    {"question": "2 + 2?", "options": ["A) 3", "B) 4"], "correct": "B"}                      AQuA
    {"question": "2 + 2?", "options": {"A": "3", "B": "4"}, "answer_idx": "B"}               MedQA
    {"ctx": "2 + 2 is", "endings": ["3", "4"], "label": "1"}                                 HellaSwag

    2 + 2?

    A. 3
    B. 4

A passage that the question is about comes before it (`passage`, `article`, `context`). Choices may be a text of JSON,
as in a cell of CSV; any other text is refused, since the choices would not reach the prompt.

An answer is a letter or a label of the row, else a number that counts from 0, else the text of a choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from stillroom.common.fields import found_at
from stillroom.common.outside import NotJson, read_json
from stillroom.common.records import user
from stillroom.traces.tasks.layouts.base import Laid, Layout, Names, layouts, prompt_in, reference_of, text_in
from stillroom.traces.tasks.problems import BadRow, Problem

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LISTS = ("choices", "options", "endings")
_PROMPTS = ("question", "question_stem", "ctx", "query", "problem")
_ANSWERS = ("answerKey", "answer", "answer_idx", "answer_index", "correct", "label", "target", "gold")
_PASSAGES = ("passage", "article", "context")
_LETTERED = re.compile(r"\s*\(?([A-Z])[).:]\s*")


class _Choices(NamedTuple):
    """`labels`: what the row calls each choice; its letters where it says nothing."""

    field: str
    texts: list[str]
    labels: list[str]


@layouts.register(name="choices")
class Choices(Layout):
    """A question, its choices, and which of them is right."""

    about = "a question with its choices, which are put into the prompt with letters"
    over_fields = True

    def fits(self, values: Mapping[str, Any]) -> bool:
        asks = any(isinstance(values.get(name), str) for name in _PROMPTS)
        try:
            found = _choices(values)
        except BadRow:
            return asks and _is_packed(values)
        return len(found.texts) > 1 and asks

    def read(self, values: Mapping[str, Any], names: Names) -> Laid:
        found = _choices(values)
        field = names.prompt or next((name for name in _PROMPTS if name in values), "question")
        lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, found.texts, strict=False)]
        passage = next((name for name in _PASSAGES if name != field and text_in(values.get(name))), None)
        about = "" if passage is None else f"{str(values[passage]).strip()}\n\n"
        prompt = f"{about}{prompt_in(values, field).rstrip()}\n\n" + "\n".join(lines)
        answer = reference_of(values, names, *_ANSWERS)
        given = (names.reference,) if names.reference else _ANSWERS
        raw = next((value for name in given if (value := found_at(values, name)) is not None), None)
        letter = None if answer is None else _letter(answer, found, counted=isinstance(raw, int))
        used = frozenset({field, found.field, *(() if passage is None else (passage,))})
        return Laid(user(prompt), letter, used, "choice" if letter else "")


def _choices(values: Mapping[str, Any]) -> _Choices:
    """Raises BadRow."""
    given_as = {name: _unpacked(values[name]) for name in _LISTS if values.get(name)}
    field = next((name for name, given in given_as.items() if isinstance(given, list | dict)), None)
    if field is None:
        if (text := next((name for name in given_as if isinstance(given_as[name], str)), None)) is not None:
            raise BadRow(
                Problem.WRONG_TYPE,
                f"the field {text!r} is a text, not a list of choices: write it as JSON; or set layout: fields, and "
                f"put it into tasks.template as {{{text}}}",
            )
        raise BadRow(Problem.MISSING_FIELD, f"no list of choices in {', '.join(_LISTS)}")
    given: Any = given_as[field]
    labels: Any = None
    if isinstance(given, dict) and isinstance(given.get("text"), list):
        given, labels = given["text"], given.get("label")
    elif isinstance(given, dict):
        given, labels = (
            [text for text in given.values() if text is not None],
            [name for name, text in given.items() if text is not None],
        )
    elif all(isinstance(item, Mapping) and "text" in item for item in given):
        given, labels = [item["text"] for item in given], [item.get("label", item.get("key")) for item in given]
    texts = [item if isinstance(item, str) else str(item) for item in given if isinstance(item, str | int | float)]
    if len(texts) != len(given) or not 2 <= len(texts) <= len(LETTERS):
        raise BadRow(Problem.WRONG_TYPE, f"the field {field!r} is not a list of 2 to {len(LETTERS)} texts")
    marks = [_LETTERED.match(text) for text in texts]
    if all(mark is not None and mark[1] == LETTERS[n] for n, mark in enumerate(marks)):
        texts = [text[mark.end() :] for text, mark in zip(texts, marks, strict=True) if mark is not None]
    named = isinstance(labels, list) and len(labels) == len(texts) and all(label is not None for label in labels)
    return _Choices(field, texts, [str(label).strip() for label in labels] if named else list(LETTERS[: len(texts)]))


def _unpacked(value: Any) -> Any:
    """What a text of JSON holds; any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return read_json(value)
    except NotJson:
        return value


def _is_packed(values: Mapping[str, Any]) -> bool:
    """Whether choices stand there as a text that cannot be told apart: there is one, and the answer is a letter."""
    answers = (values.get(name) for name in _ANSWERS)
    lettered = any(isinstance(answer, str) and re.fullmatch(r"\s*\(?[A-J]\)?\s*", answer) for answer in answers)
    texts = [str(values[name]).strip() for name in ("choices", "options") if isinstance(values.get(name), str)]
    return any(text.startswith(("[", "{")) or (text and lettered) for text in texts)


def _letter(answer: str, found: _Choices, *, counted: bool) -> str:
    """The letter of the right choice. `counted`: the answer is a number, not a text. Raises BadRow."""
    bare = answer.strip().strip("().")
    number = _place(bare, found)
    same = [place for place, text in enumerate(found.texts) if text.strip() == answer]
    if number is None and len(same) == 1 and not counted:
        number = same[0]
    elif len(same) == 1 and same[0] != number and not counted and bare not in found.labels:
        told = f"the answer {answer!r} is the text of choice {LETTERS[same[0]]} and the number of another"
        raise BadRow(Problem.NO_REFERENCE_FOUND, f"{told}: give letters")
    if number is None:
        known = f"{found.labels[0]} to {found.labels[-1]}"
        told = f"the answer {answer[:60]!r} is none of the {len(found.texts)} choices ({known}, or a number from 0)"
        raise BadRow(Problem.NO_REFERENCE_FOUND, told)
    return LETTERS[number]


def _place(answer: str, found: _Choices) -> int | None:
    """The choice that a label, a letter or a number from 0 stands for."""
    for name in (answer, answer.upper()):
        if name in found.labels:
            return found.labels.index(name)
    if answer.isascii() and answer.isdecimal() and len(answer) < 3 and int(answer) < len(found.texts):
        return int(answer)
    return None
