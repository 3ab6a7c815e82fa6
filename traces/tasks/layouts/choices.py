"""The layout of multiple choice: the choices follow the question, each with its letter; the reference is a letter.

    {"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}                               MMLU
    {"question": "2 + 2?", "choices": {"text": ["3", "4"], "label": ["A", "B"]}, "answerKey": "B"}      ARC
    {"question": "2 + 2?", "options": ["A) 3", "B) 4"], "correct": "B"}                      AQuA
    {"question": "2 + 2?", "options": {"A": "3", "B": "4"}, "answer_idx": "B"}               MedQA
    {"ctx": "2 + 2 is", "endings": ["3", "4"], "label": "1"}                                 HellaSwag
    {"question": "2 + 2?", "A": "3", "B": "4", "answer": "B"}                                one in each column

    2 + 2?

    A. 3
    B. 4

A passage that the question is about comes before it (`passage`, `article`, `context`). Choices may be a text of JSON,
as in a cell of CSV; any other text is refused, since the choices would not reach the prompt.

An answer is a letter or a label of the row, else a number that counts from 0, else the text of a choice. Of choices
in columns, data sets differ on where a number counts from: PIQA from 0, WinoGrande from 1. It is told from the first
rows where they hold a 0 or the last number (`choices_from_0`, `choices_from_1`); else the recipe has to say it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from stillroom.common.fields import found_at
from stillroom.common.outside import NotJson, read_json
from stillroom.common.records import user
from stillroom.traces.tasks.layouts.base import Laid, Layout, Names, layouts, prompt_in, reference_of, text_in
from stillroom.traces.tasks.layouts.columns import LETTERS, Columns, columns_in
from stillroom.traces.tasks.problems import BadRow, Problem

_LISTS = ("choices", "options", "endings")
_PROMPTS = ("question", "question_stem", "ctx", "query", "problem")
_ANSWERS = ("answerKey", "answer", "answer_idx", "answer_index", "correct", "label", "target", "gold")
_PASSAGES = ("passage", "article", "context")
# Of rows with a column for each choice; any capitals will do.
_COLUMN_PROMPTS = (*_PROMPTS, "prompt", "sentence", "goal", "premise", "stem", "text")
_COLUMN_ANSWERS = (*_ANSWERS, "correct_answer", "correct_option", "correct_choice", "answer_letter", "cop")
_COLUMN_PASSAGES = (*_PASSAGES, "premise")
_LETTERED = re.compile(r"\s*\(?([A-Z])[).:]\s*")


class _Choices(NamedTuple):
    """`fields`: where they stand. `labels`: what the row calls each choice; its letters where it says nothing.
    `columns`: the same, if each stands in its column."""

    fields: frozenset[str]
    texts: list[str]
    labels: list[str]
    columns: Columns | None = None


class _Fields(NamedTuple):
    """The names that the prompt, the answer and the passage may have; the first that a row has is meant."""

    prompts: tuple[str, ...]
    answers: tuple[str, ...]
    passages: tuple[str, ...]


@layouts.register(name="choices")
class Choices(Layout):
    """A question, its choices, and which of them is right."""

    about = "a question with its choices, which are put into the prompt with letters"
    over_fields = True
    counted_from: ClassVar[int | None] = None
    """Of choices in columns, the number of the first in answers; None: answers are not numbers."""

    def fits(self, values: Mapping[str, Any]) -> bool:
        try:
            found = _choices(values)
        except BadRow:
            return _asks(values, _PROMPTS) and _is_packed(values)
        if found.columns is None:
            return len(found.texts) > 1 and _asks(values, _PROMPTS)
        return self._columns_fit(values, found.columns)

    def _columns_fit(self, values: Mapping[str, Any], columns: Columns) -> bool:
        """Whether choices in columns come with a question, and with an answer that is counted as here. Two columns
        alone may be anything, unless an answer says which of them."""
        if not _asks(values, _names_in(values, _COLUMN_PROMPTS)):
            return False
        fields = _names_in(values, _COLUMN_ANSWERS)
        said = next((text for name in fields if (text := text_in(values[name])) is not None), None)
        if said is None:
            return len(columns.names) > 2
        if not _is_number(said):
            return self.counted_from is None and (columns.are_choices or columns.named(said) is not None)
        if said in (text.strip() for text in columns.texts):  # it may be that choice itself: nothing is told by it
            return columns.may_be_choices
        if self.counted_from is None or not columns.may_be_choices:
            return False
        place = int(said) - self.counted_from
        return place in columns.places or int(said) > len(columns.names)  # that of no choice in either way: a bad row

    def read(self, values: Mapping[str, Any], names: Names) -> Laid:
        found = _choices(values)
        prompts, answers, passages = self._fields(values, found)
        field = names.prompt or next((name for name in prompts if name in values), "question")
        lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, found.texts, strict=False)]
        passage = next((name for name in passages if name != field and text_in(values.get(name))), None)
        about = "" if passage is None else f"{str(values[passage]).strip()}\n\n"
        prompt = f"{about}{prompt_in(values, field).rstrip()}\n\n" + "\n".join(lines)
        answer = reference_of(values, names, *answers)
        letter = None if answer is None else self._letter(answer, found, values, names)
        used = frozenset({field, *found.fields, *(() if passage is None else (passage,))})
        return Laid(user(prompt), letter, used, "choice" if letter else "")

    @staticmethod
    def _fields(values: Mapping[str, Any], found: _Choices) -> _Fields:
        """What the fields of a row are called next to its choices."""
        if found.columns is None:
            return _Fields(_PROMPTS, _ANSWERS, _PASSAGES)
        each = (_names_in(values, names) for names in (_COLUMN_PROMPTS, _COLUMN_ANSWERS, _COLUMN_PASSAGES))
        prompts, answers, passages = each
        return _Fields(prompts, answers or _ANSWERS, passages)

    def _letter(self, answer: str, found: _Choices, values: Mapping[str, Any], names: Names) -> str:
        if found.columns is not None:
            return _column_letter(answer, found, self.counted_from)
        given = (names.reference,) if names.reference else _ANSWERS
        raw = next((value for name in given if (value := found_at(values, name)) is not None), None)
        return _letter(answer, found, counted=isinstance(raw, int), first=self.counted_from or 0)


class _Counted(Choices):
    unclear = "choices"

    def fits(self, values: Mapping[str, Any]) -> bool:
        try:
            found = _choices(values)
        except BadRow:
            return False
        return found.columns is not None and self._columns_fit(values, found.columns)


@layouts.register(name="choices_from_0")
class ChoicesFrom0(_Counted):
    """As choices, with answers that are numbers, the first 0."""

    about = "a question with its choices in columns, the answer a number from 0"
    counted_from = 0


@layouts.register(name="choices_from_1")
class ChoicesFrom1(_Counted):
    """As choices, with answers that are numbers, the first 1."""

    about = "a question with its choices in columns, the answer a number from 1"
    counted_from = 1


def _names_in(values: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that a row has, in any capitals, as it writes them."""
    written = {str(name).casefold(): str(name) for name in values}
    return tuple(written[name.casefold()] for name in names if name.casefold() in written)


def _asks(values: Mapping[str, Any], names: Sequence[str]) -> bool:
    return any(isinstance(values.get(name), str) for name in names)


def _in_columns(answer: str, found: _Choices, counted_from: int | None) -> int | None:
    """Which of the choices in columns an answer means; None for none of them. A number is that of a choice only where
    it is said from where it counts; else it may be the text of one, if it is not such a number as well."""
    columns = found.columns
    if columns is None:
        return None
    if (number := columns.named(answer)) is not None:
        return number if counted_from is None else None
    if _is_number(answer) and counted_from is not None:
        place = int(answer) - counted_from
        return columns.places.index(place) if place in columns.places else None
    if _is_number(answer) and int(answer) <= len(columns.names):  # the number of a choice, or its text
        return None
    same = [place for place, text in enumerate(found.texts) if text.strip() == answer]
    return same[0] if len(same) == 1 and counted_from is None else None


def _is_number(answer: str) -> bool:
    return answer.isascii() and answer.isdecimal() and len(answer) < 3


def _column_letter(answer: str, found: _Choices, counted_from: int | None) -> str:
    """Raises BadRow for an answer that is none of the choices in columns, or could be two of them."""
    number = _in_columns(answer, found, counted_from)
    if number is None and counted_from is not None:  # a file may have letters in some rows
        number = _in_columns(answer, found, None)
    if number is not None:
        return LETTERS[number]
    if _is_number(answer) and counted_from is None and int(answer) <= len(found.texts):
        told = f"the answer {answer} is a number, and choices in columns are counted from 0 or from 1"
        fix = "set tasks.layout: choices_from_0 or choices_from_1"
        raise BadRow(Problem.NO_REFERENCE_FOUND, f"{told}: {fix}")
    from_where = "" if counted_from is None else f", or a number from {counted_from}"
    known = f"{found.labels[0]} to {found.labels[-1]}{from_where}"
    told = f"the answer {answer[:60]!r} is none of the {len(found.texts)} choices ({known})"
    raise BadRow(Problem.NO_REFERENCE_FOUND, told)


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
        if (columns := columns_in(values)) is not None:
            return _Choices(frozenset(columns.names), columns.texts, columns.labels, columns)
        where = f"no list of choices in {', '.join(_LISTS)}, nor a column for each (A, B; option_a, option_b)"
        raise BadRow(Problem.MISSING_FIELD, where)
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
    fields = frozenset({field})
    return _Choices(fields, texts, [str(label).strip() for label in labels] if named else list(LETTERS[: len(texts)]))


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


def _letter(answer: str, found: _Choices, *, counted: bool, first: int = 0) -> str:
    """The letter of the right choice. `counted`: the answer is a number, not a text; `first`: that of the first
    choice. Raises BadRow."""
    bare = answer.strip().strip("().")
    number = _place(bare, found, first)
    same = [place for place, text in enumerate(found.texts) if text.strip() == answer]
    if number is None and len(same) == 1 and not counted:
        number = same[0]
    elif len(same) == 1 and same[0] != number and not counted and bare not in found.labels:
        told = f"the answer {answer!r} is the text of choice {LETTERS[same[0]]} and the number of another"
        raise BadRow(Problem.NO_REFERENCE_FOUND, f"{told}: give letters")
    if number is None:
        known = f"{found.labels[0]} to {found.labels[-1]}, or a number from {first}"
        told = f"the answer {answer[:60]!r} is none of the {len(found.texts)} choices ({known})"
        raise BadRow(Problem.NO_REFERENCE_FOUND, told)
    return LETTERS[number]


def _place(answer: str, found: _Choices, first: int) -> int | None:
    """The choice that a label, a letter or a number from `first` stands for."""
    for name in (answer, answer.upper()):
        if name in found.labels:
            return found.labels.index(name)
    if answer.isascii() and answer.isdecimal() and len(answer) < 3:
        number = int(answer) - first
        return number if 0 <= number < len(found.texts) else None
    return None
