"""Reads a recording: which attempts it holds of which task, what was left out, and how much of it a run can use.

Any file that `common/row_files` reads will do, row by row. A row is read by the names of its fields, or by a layout
(`teachers/layouts`). Attempts are found by the id of their task or by its prompt; where a row knows several prompts
(the one that was sent, the one it was made from), by each that is of one task only.

All bad rows are told together before anything is drawn, with file and line; with `skip` they are left out and
counted.

    recording = Recording.read(files, fields)
    recording.of("t1", messages)[0].completion.text
    recording.matched([task])            # "1 of 3 attempts are of 1 of the 1 tasks to learn from"
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

from stillroom.common.fields import NoField, found_at, has_field, has_star, no_field, value_at
from stillroom.common.marks import split_thinking
from stillroom.common.outside import read_json, tokens_in
from stillroom.common.records import Completion, FinishReason, Messages, Task, with_input
from stillroom.common.row_files import Fault, FileRow, kind_of, rows_of
from stillroom.errors import InputError
from stillroom.sampling.grades import UNKNOWN, kept, read_grade
from stillroom.sampling.teachers.endings import MISSING, Ending, ending_of
from stillroom.sampling.teachers.layouts import LAYOUTS, laid_out

BYTES_PER_TOKEN = 4  # a common rule of thumb for English; used only where the recording has no counts
SHOWN = 10
"""Bad rows that are told in full."""
SHOWN_TEXT = 80
"""Characters of a prompt in a message."""
_FAULTS = {"encoding": "wrong_encoding", "json": "not_json", "object": "not_an_object", "cells": "wrong_cells"}
_NO_ATTEMPT = "not_an_attempt"
GRADE = "grade"
"""The name of a grade that stands in a field which the recipe names, or in a list next to the answers."""


class Column(NamedTuple):
    """Where one attempt stands in a row: the paths of its text and of its grade, None for none."""

    text: str
    grade: str | None


@dataclass(frozen=True, slots=True)
class Fields:
    """How rows are read: the names of fields, as `teacher:` of a recipe has them. `by_prompt`: tasks are found by
    their prompt, not by their id. `joined_by`: with a layout, the field of a row that its task is found by; None:
    what the layout says. `skip`: bad rows are left out."""

    task_id: str
    prompt: str | None
    input: str | None
    index: str
    text: str
    columns: tuple[Column, ...]
    reasoning: str
    finish_reason: str
    finish_reasons: Mapping[str, FinishReason]
    prompt_tokens: str
    completion_tokens: str
    grade: str | None
    layout: str | None = None
    by_prompt: bool = False
    joined_by: str | None = None
    skip: bool = False


class Recorded(NamedTuple):
    """One attempt. `grade`: whether it is right; None where nobody says so. `failure`: why there is no answer.
    `graded`: its grades as they stand there, by name, where they are more than `grade` says; None: they are not."""

    completion: Completion
    grade: bool | None
    failure: str = ""
    graded: dict[str, Any] | None = None

    @property
    def grades(self) -> Mapping[str, Any]:
        """All grades by name."""
        return self.graded if self.graded is not None else {} if self.grade is None else {GRADE: self.grade}


class BadRow(NamedTuple):
    """A row that holds no attempt: `data/r.jsonl:17`, why in a word that can be counted, and in full."""

    place: str
    reason: str
    told: str


Draws = dict[int, Recorded]
"""The attempts of a task by their draw index."""


class _New(NamedTuple):
    """An attempt of a row that is being read. `draw`: the row's own index; None: the next."""

    key: str
    draw: int | None
    also: tuple[str, ...]
    recorded: Recorded


class Recording:
    """The attempts of some files, by task."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._draws: dict[str, Draws] = {}
        self._also: dict[str, str | None] = {}  # further prompts to the key of their task; None: of several tasks
        self._views: dict[tuple[Path, str], tuple[str, list[dict[str, Any]]]] = {}  # the first, and its grades
        self.rows = self.without_answer = self.repeated = 0
        self.bad: list[BadRow] = []
        self.found: set[str] = set()
        """The fields with names of the recipe's that some row has."""
        self.last: Mapping[str, Any] = {}
        self.graded: set[str] = set()
        """What the grades are called that some attempt has."""
        self._odd_grades: list[tuple[str, Any]] = []  # where they stand, and what they say

    @classmethod
    def read(cls, files: Sequence[Path], fields: Fields, named: Iterable[str] = ()) -> Recording:
        """The attempts in `files`. `named`: fields to look for, see `found`. Raises InputError for bad rows, if they
        are not to be left out; for files without an attempt; and MissingFile."""
        recording = cls(fields)
        wanted = set(named)
        for file in files:
            for row in rows_of(file, read_json):
                recording.rows += 1
                recording._take(row, wanted - recording.found)
        recording._refuse_bad_rows(files)
        return recording

    def _take(self, row: FileRow, wanted: set[str]) -> None:
        if isinstance(row.values, Fault):
            kind, told = row.values
            self.bad.append(BadRow(row.place, _FAULTS[kind], f"not JSON: {told}" if kind == "json" else told))
            return
        self.found |= {name for name in wanted if has_field(row.values, name)}
        self.last = row.values
        try:
            new = [each for values in self._laid(row.file, row.values) for each in self._attempts(row.place, values)]
            self._enter(new)
        except InputError as error:
            self.bad.append(BadRow(row.place, _NO_ATTEMPT, str(error)))

    def _laid(self, file: Path, values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The row as rows of our own. Raises InputError."""
        fields = self._fields
        if fields.layout is None:
            yield values
            return
        found = laid_out(fields.layout, values)
        self.without_answer += not found
        if found and (view := found[0].get("view")) is not None:
            grades = [each["graded"] for each in found]
            first, known = self._views.setdefault((file, view[0]), (view[1], grades))
            if first != view[1]:
                self.repeated += 1
                for mine, more in zip(known, grades, strict=False):  # another look at the same answers
                    mine.update(more)
                    self.graded |= more.keys()
                return
        for each in found:
            if fields.joined_by is not None:
                key = "prompt" if fields.by_prompt else "task_id"
                yield {**each, key: _key_text(values, fields.joined_by), "also": ()}
            else:
                yield each

    def _enter(self, new: Sequence[_New]) -> None:
        """Takes the attempts of a row, all or none. Raises InputError where a draw is there already."""
        taken: dict[str, Draws] = {}
        for each in new:
            known, of_row = self._draws.get(each.key, {}), taken.setdefault(each.key, {})
            index = max((*known, *of_row), default=-1) + 1 if each.draw is None else each.draw
            if index in known or index in of_row:
                raise InputError(f"draw {index} of this task stands there twice")
            of_row[index] = each.recorded
        for key, draws in taken.items():
            self._draws.setdefault(key, {}).update(draws)
        for each in new:
            for prompt in each.also:
                self._also[prompt] = each.key if self._also.get(prompt, each.key) == each.key else None

    # -- what a run asks of it -----------------------------------------------------------------------------------

    def of(self, task_id: str, messages: Messages) -> Draws:
        """The attempts of a task; none where there is none of it."""
        key = self._key(task_id, messages)
        return {} if key is None else self._draws[key]

    def _key(self, task_id: str, messages: Messages) -> str | None:
        asked = _plain(messages[-1].content) if self._fields.by_prompt else task_id
        return asked if asked in self._draws else self._also.get(asked)

    def matched(self, tasks: Iterable[Task]) -> str:
        """How much of the recording is of these tasks, in words."""
        counts = self.counts(tasks)
        told = f"{counts['matched_attempts']:,} of {counts['attempts']:,} attempts are of "
        told += f"{counts['matched_tasks']:,} of the {counts['tasks']:,} tasks to learn from"
        if self.without_answer:
            told += f"; {self.without_answer:,} rows hold no answer"
        if self.repeated:
            told += f"; {self.repeated:,} rows repeat the answers of another, with another filter"
        if self._odd_grades:
            place, value = self._odd_grades[0]
            told += f"; {len(self._odd_grades):,} grades say neither right nor wrong, the first {value!r} in {place}"
        if self.bad:
            told += f"; {self._left_out()}"
        return told

    def check_matched(self, tasks: Iterable[Task]) -> None:
        """Raises InputError where no attempt is of any of the tasks, with what both are called."""
        first: Task | None = None
        for task in tasks:
            first = first or task
            if self._key(task.id, task.messages) is not None:
                return
        if first is None:
            return
        known = next(iter(self._draws))[:SHOWN_TEXT]
        if self._fields.by_prompt:
            asked, kind = _plain(first.messages[-1].content)[:SHOWN_TEXT], "prompt"
            fix = "name the field that holds the task's prompt in teacher.prompt, or join by ids with teacher.task_id"
        else:
            asked, kind = first.id, "id"
            fix = "name the field of the ids in teacher.task_id and in tasks.id, or join by teacher.prompt"
        raise InputError(
            f"the recording holds an attempt of none of the tasks: the {kind} of the first task is {asked!r}, the "
            f"first of the recording {known!r}; {fix}"
        )

    def counts(self, tasks: Iterable[Task]) -> dict[str, Any]:
        """The same in numbers, for the record of the run."""
        asked = {task.id: self._key(task.id, task.messages) for task in tasks}
        keys = {key for key in asked.values() if key is not None}
        return {
            "rows": self.rows,
            "attempts": sum(len(draws) for draws in self._draws.values()),
            "matched_attempts": sum(len(self._draws[key]) for key in keys),
            "tasks": len(asked),
            "matched_tasks": sum(key is not None for key in asked.values()),
            "without_answer": self.without_answer,
            "repeated": self.repeated,
            "bad_rows": dict(Counter(bad.reason for bad in self.bad)),
        }

    # -- bad rows ------------------------------------------------------------------------------------------------

    def _refuse_bad_rows(self, files: Sequence[Path]) -> None:
        if self.bad and not self._fields.skip:
            lines = [f"  {each.place}: {each.told}" for each in self.bad[:SHOWN]]
            if len(self.bad) > 3 and len({each.told for each in self.bad}) == 1:  # a field that no row has
                places = ", ".join(each.place for each in self.bad[:3])
                lines = [f"  {places} and {len(self.bad) - 3:,} more: {self.bad[0].told}"]
            elif len(self.bad) > SHOWN:
                lines.append(f"  and {len(self.bad) - SHOWN:,} more ({_tally(self.bad)} in all)")
            one = len(self.bad) == 1
            what = "1 row is not an attempt" if one else f"{len(self.bad):,} rows are not attempts"
            fix = f"Fix {'it' if one else 'them'}, or set `teacher.bad_rows: skip` to leave out and count such rows."
            raise InputError("\n".join([f"{what}:", *lines, fix]))
        if self._draws:
            return
        path = files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1:,} more"
        if self.bad:
            raise InputError(f"no row of {path} is an attempt: {self._left_out()}, which says: {self.bad[0].told}")
        if self.rows:
            raise InputError(f"none of the {self.rows:,} rows of {path} holds an answer: every request had failed")
        raise InputError(f"{path} holds no row: the file is empty")

    def _left_out(self) -> str:
        rows = "1 bad row is" if len(self.bad) == 1 else f"{len(self.bad):,} bad rows are"
        return f"{rows} left out ({_tally(self.bad)}), the first {self.bad[0].place}"

    # -- the attempts of a row -----------------------------------------------------------------------------------

    def _attempts(self, place: str, row: Mapping[str, Any]) -> Iterator[_New]:
        """The attempts of a row: one, those of its columns, or those of a list. Raises InputError."""
        f = self._fields
        by = (f.prompt or "prompt") if f.by_prompt else f.task_id
        key = _key_text(row, by) if f.layout else _text(row, by)
        if f.by_prompt and f.input:
            key = with_input(key, str(found_at(row, f.input) or ""))
        key = _plain(key) if f.by_prompt else key
        also = tuple(_plain(each) for each in row.get("also", ())) if f.layout and f.by_prompt else ()
        count = _count(row, f.text) if has_star(f.text) and not f.columns else None
        own = None if f.columns or count is not None else _number(found_at(row, f.index))
        if own is not None and (not isinstance(own, int) or isinstance(own, bool) or own < 0):
            raise InputError(f"{f.index} is {own!r}, expected a whole number from 0")
        columns = f.columns or (Column(f.text, f.grade),) * (1 if count is None else count)
        for number, column in enumerate(columns):
            yield _New(key, own, also, self._attempt(place, row, column, number))

    def _attempt(self, place: str, row: Mapping[str, Any], column: Column, number: int) -> Recorded:
        """One attempt of a row. `number`: which of its list, for fields that are named with [*]."""
        f = self._fields
        # Where the recording keeps the thinking part and the answer apart, the text is left as it is.
        text, reasoning = _text(row, column.text, number), _one_of(row, f.reasoning, number)
        if reasoning is None or reasoning == "":
            reasoning, text = split_thinking(text)
        else:
            reasoning = _text(row, f.reasoning, number)
        end = _end(_one_of(row, f.finish_reason, number), f)
        prompt_tokens = tokens_in(_number(_one_of(row, f.prompt_tokens, number))) or 0
        completion_tokens = tokens_in(_number(_one_of(row, f.completion_tokens, number)))
        if completion_tokens is None:
            completion_tokens = estimated_tokens((reasoning or "") + text)
        completion = Completion(text, end.reason, prompt_tokens, completion_tokens, reasoning)
        failure = f"{place}: the recorded attempt ended in a failure ({end.raw})" if end.failed else ""
        said = None if column.grade is None else kept(_one_of(row, column.grade, number))
        graded = row.get("graded") if f.layout else None
        return self._graded(place, Recorded(completion, None, failure, graded), said)

    def _graded(self, place: str, recorded: Recorded, said: Any) -> Recorded:
        """The attempt with the grade `said`. One that nobody understands says nothing, and is counted."""
        if said is None:
            self.graded |= recorded.grades.keys()
            return recorded
        self.graded.add(GRADE)
        grade = read_grade(said)
        if grade.reason == UNKNOWN and not self._fields.layout:  # of a layout, nobody may have asked for grades
            self._odd_grades.append((place, said))
        return recorded._replace(grade=grade.right, graded=None if grade.right is not None else {GRADE: said})


def layout_of(files: Sequence[Path], plainly: Any) -> str | None:
    """The layout that the first row of the files is plainly of."""
    first = next((row.values for file in files for row in rows_of(file, read_json)), None)
    found: str | None = plainly(first) if isinstance(first, dict) else None
    return found


def joins_by_id(layout: str) -> bool:
    """Whether the rows of a layout are found by the id of their task, if nothing else is named."""
    return LAYOUTS[layout].joined_by_id


def _tally(bad: Iterable[BadRow]) -> str:
    return ", ".join(f"{reason} {n:,}" for reason, n in Counter(each.reason for each in bad).most_common())


def _plain(prompt: str) -> str:
    """A prompt as tasks are found by it: white space made single."""
    return " ".join(prompt.split())


def _count(row: Mapping[str, Any], field: str) -> int:
    """How many attempts the list of a row holds. Raises InputError."""
    try:
        return len(value_at(row, field))
    except NoField as error:
        raise InputError(str(error)) from None


def _one_of(row: Mapping[str, Any], field: str, number: int) -> Any:
    """The value of a field; of one that is named with [*], that of the attempt."""
    value = found_at(row, field)
    if not has_star(field) or field in row or value is None:
        return value
    return value[number] if number < len(value) else None


def _end(said: Any, fields: Fields) -> Ending:
    """How an attempt ended. Raises InputError for a word that nobody knows: it costs nothing to say first."""
    end = ending_of(said, fields.finish_reasons)
    if end.raw == MISSING:
        return Ending("stop")
    if end.raw and not end.failed and end.raw != "unknown":
        raise InputError(
            f"{fields.finish_reason} is {end.raw!r}, expected one of {', '.join(get_args(FinishReason))}, "
            f"or a word of a known server; say what it means in teacher.finish_reasons: {{{end.raw}: stop}}"
        )
    return end


def _text(row: Mapping[str, Any], field: str, number: int = 0) -> str:
    value = _one_of(row, field, number)
    if not isinstance(value, str):
        if value is None and not has_field(row, field):
            raise InputError(no_field(row, field))
        raise InputError(f"the field {field!r} is {kind_of(value)}, not text")
    return value


def _key_text(row: Mapping[str, Any], field: str) -> str:
    """What a task is found by: a text, or a whole number as one. Raises InputError."""
    value = found_at(row, field)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(row, field)


def _number(value: Any) -> Any:
    """A whole number that stands there as text, as in a cell of CSV; anything else as it is."""
    return (
        int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16 else value
    )


def estimated_tokens(text: str) -> int:
    """Tokens of a text that nobody counted, by its bytes."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
