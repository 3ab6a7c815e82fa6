"""A teacher that replays attempts from a file: tests without a model, and traces people already own.

Any file that `common/row_files` reads will do. Each row holds one attempt, or several in named columns. The draw
index is the row's own (`index`), or counts the attempts of a task in the order in which they stand in the file. Its
identity is the content of the file and how it is read, so an edited file is asked again. Token counts that the
recording does not hold are estimated at four bytes a token. Why an attempt ended may be said in the words of any
server (`sampling.teachers.endings`); one that ended in a server's error is a failed draw.

Bad rows are refused before anything is drawn, with file and line.

    RecordedTeacher(RecordedSettings(kind="recorded", path="traces.jsonl", prompt="question"), base=Path("."))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, get_args

from pydantic import Field, model_validator

from stillroom.common.fields import NoField, found_at, has_field, has_star, no_field, value_at
from stillroom.common.files import at_home
from stillroom.common.hashing import digest
from stillroom.common.marks import split_thinking
from stillroom.common.outside import read_json, tokens_in
from stillroom.common.records import Completion, FinishReason, Messages, Request, Task, Usage, with_input
from stillroom.common.row_files import Fault, digest_of, files_of, kind_of, rows_of
from stillroom.common.secrets import named_in
from stillroom.common.settings import Settings
from stillroom.errors import InputError, RequestFailed
from stillroom.sampling.teachers.base import OutOfAttempts, Teacher, TeacherBase, teachers
from stillroom.sampling.teachers.endings import MISSING, Ending, ending_of
from stillroom.sampling.teachers.layouts import BY_TASK, laid_out, plainly

BYTES_PER_TOKEN = 4  # a common rule of thumb for English; used only where the recording has no counts


class RecordedColumn(Settings):
    """Where one attempt stands in a row that holds several."""

    text: str
    """Dotted path of the answer."""
    grade: str | None = None
    """Dotted path of its grade; null: none."""


@teachers.register
class RecordedSettings(TeacherBase):
    """Replays attempts from a file. Fields of a row are named as in `a.b`, `a[-1].b`, `a[*].b`."""

    replays: ClassVar[bool] = True

    kind: Literal["recorded"]
    path: str
    """The recording, relative to the recipe's folder; several files by a pattern such as `answers-*.jsonl`."""
    layout: Literal["openai_batch", "messages", "openr1"] | None = None
    """How rows are laid out: an output of `openai_batch` (joined by custom_id), conversations as `messages`, `openr1`
    (both joined by the prompt); null: by the fields named here; if none is named, as the first row plainly is."""
    model: str = "recorded"
    """What the teacher is called in reports."""
    task_id: str = "task_id"
    """Field that holds the id of the row's task."""
    prompt: str | None = None
    """Field that holds the prompt, to find a row's task by its last user message; null: by `task_id`."""
    input: str | None = None
    """Field whose text follows the prompt, as in `tasks.input`."""
    index: str = "index"
    """Field that orders the attempts of a task; without it, the order of the rows."""
    text: str = "text"
    """Field that holds the answer; with [*] (`samples[*].text`), several attempts of one row."""
    columns: tuple[RecordedColumn, ...] = ()
    """For rows that hold several attempts: where each stands."""
    reasoning: str = "reasoning"
    """Field that holds the reasoning, if any."""
    finish_reason: str = "finish_reason"
    """Field that says why the answer ended, in the words of any server; without it, an answer is complete."""
    finish_reasons: dict[str, FinishReason] = Field(default_factory=dict)
    """What further words in that field mean, such as `{weird: stop}`."""
    prompt_tokens: str = "prompt_tokens"
    """Field that counts the tokens of the prompt."""
    completion_tokens: str = "completion_tokens"
    """Field that counts the tokens of the answer."""
    grade: str | None = None
    """Field that says whether the answer is right, to compare verdicts with; null: none."""
    concurrency: int = Field(default=64, ge=1)
    """Attempts in flight."""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def has_grades(self) -> bool:
        return self.layout == "openr1" or self.grade is not None or any(column.grade for column in self.columns)

    @model_validator(mode="after")
    def _one_way_to_read(self) -> RecordedSettings:
        named = [] if self.layout is None else [*_named(self), *(["prompt"] if self.prompt is not None else [])]
        if self.layout is not None and (named or self.columns or self.text != "text" or self.task_id != "task_id"):
            also = named[0] if named else "columns" if self.columns else "text" if self.text != "text" else "task_id"
            raise ValueError(f"layout {self.layout} says where everything stands: leave out {also}, or layout")
        return self

    def make(self, base: Path) -> Teacher:
        return RecordedTeacher(self, base=base)


class _Recording(NamedTuple):
    """`failure`: why there is no answer."""

    completion: Completion
    grade: bool | None
    failure: str = ""


class RecordedTeacher:
    """Replays a recording. Raises MissingFile, or InputError for lines that are not attempts."""

    def __init__(self, settings: RecordedSettings, *, base: Path) -> None:
        self._settings, self.concurrency = settings, settings.concurrency
        self._path = base / at_home(settings.path)
        files = files_of(self._path, "teacher.path")
        how = settings.model_dump(mode="json", include=_identifying(settings))
        self.identity = f"{named_in(settings.model)}@{digest([digest_of(files), how], 12)}"
        layout = settings.layout or _plain_layout(settings, files)
        self._told = f"read with teacher.layout: {layout}, " if layout != settings.layout else ""
        if layout is not None:
            prompt = None if layout == BY_TASK else "prompt"
            self._settings = settings.model_copy(update={"layout": layout, "grade": "grade", "prompt": prompt})
        self.failed = 0
        self._recordings: dict[str, dict[int, _Recording]] = {}
        self._named, last = _named(settings), {}
        for file in files:
            for row in rows_of(file, read_json):
                if isinstance(row.values, Fault):
                    what = "not JSON: " if row.values.kind == "json" else ""
                    raise InputError(f"{row.place}: {what}{row.values.told}")
                for values in self._attempts_in(row.place, row.values):
                    self._add(row.place, values)
                last = row.values
        if self._named and last:
            key, name = next(iter(self._named.items()))
            raise InputError(f"teacher.{key}: in no row of {self._path}: {no_field(last, name)}")

    def _attempts_in(self, place: str, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        if self._settings.layout is None:
            return (values,)
        try:
            found = laid_out(self._settings.layout, values)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        self.failed += not found
        return found

    def matched(self, tasks: Iterable[Task]) -> str:
        """How much of the recording is of these tasks, in words."""
        keys = {self._key(task.id, task.messages) for task in tasks}
        attempts = {key: len(known) for key, known in self._recordings.items()}
        found = [count for key, count in attempts.items() if key in keys]
        failed = f"; {self.failed:,} rows hold no answer" if self.failed else ""
        return (
            f"recording: {self._told}{sum(found):,} of {sum(attempts.values()):,} attempts are of {len(found):,} of "
            f"the {len(keys):,} tasks to learn from{failed}"
        )

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """The recorded attempt with that draw index. Raises OutOfAttempts beyond the last."""
        recordings = self._recordings.get(self._key(request.task_id, request.messages), {})
        if request.index > max(recordings, default=-1):
            raise OutOfAttempts
        if request.index not in recordings:
            raise RequestFailed(f"{self._path} has no draw {request.index} of this task", retryable=False)
        completion, _, failure = recordings[request.index]
        if failure:
            raise RequestFailed(failure, retryable=False)
        usage.prompt_tokens, usage.completion_tokens = completion.prompt_tokens, completion.completion_tokens
        return completion

    async def close(self) -> None:
        """Nothing to free."""

    def grade(self, task_id: str, messages: Messages, index: int) -> bool | None:
        """The grade that the recording holds for a draw; None where it holds none."""
        recording = self._recordings.get(self._key(task_id, messages), {}).get(index)
        return None if recording is None else recording.grade

    def _key(self, task_id: str, messages: Messages) -> str:
        return task_id if self._settings.prompt is None else " ".join(messages[-1].content.split())

    def _add(self, place: str, row: Mapping[str, Any]) -> None:
        """Takes the attempts of a row: one, those of its columns, or those of a list. `place`: file and line."""
        s = self._settings
        self._named = {key: name for key, name in self._named.items() if not has_field(row, name)}
        key = _text(place, row, s.prompt or s.task_id)
        if s.prompt and s.input:
            key = with_input(key, str(found_at(row, s.input) or ""))
        known = self._recordings.setdefault(" ".join(key.split()) if s.prompt else key, {})
        first = max(known, default=-1) + 1
        count = _attempts(place, row, s.text) if has_star(s.text) and not s.columns else None
        if not s.columns and count is None and (own := _number(found_at(row, s.index))) is not None:
            if not isinstance(own, int) or isinstance(own, bool) or own < 0:
                raise InputError(f"{place}: {s.index} is {own!r}, expected a whole number from 0")
            first = own
        columns = s.columns or (RecordedColumn(text=s.text, grade=s.grade),) * (1 if count is None else count)
        for number, column in enumerate(columns):
            if first + number in known:
                raise InputError(f"{place}: draw {first + number} of this task stands there twice")
            known[first + number] = self._attempt(place, row, column, number)

    def _attempt(self, place: str, row: Mapping[str, Any], column: RecordedColumn, number: int) -> _Recording:
        """One attempt of a row. `number`: which of its list, for fields that are named with [*]."""
        s = self._settings
        # Where the recording keeps the thinking part and the answer apart, the text is left as it is.
        text, reasoning = _text(place, row, column.text, number), _one_of(row, s.reasoning, number)
        if reasoning is None or reasoning == "":
            reasoning, text = split_thinking(text)
        else:
            reasoning = _text(place, row, s.reasoning, number)
        end = _end(place, _one_of(row, s.finish_reason, number), s)
        prompt_tokens = tokens_in(_number(_one_of(row, s.prompt_tokens, number))) or 0
        completion_tokens = tokens_in(_number(_one_of(row, s.completion_tokens, number)))
        if completion_tokens is None:
            completion_tokens = estimated_tokens((reasoning or "") + text)
        grade = None if column.grade is None else _one_of(row, column.grade, number)
        if isinstance(grade, str):  # a cell of CSV
            grade = {"true": True, "false": False}.get(grade.lower(), grade)
        if grade is not None and not isinstance(grade, bool):
            raise InputError(f"{place}: {column.grade} is {grade!r}, expected true or false")
        completion = Completion(text, end.reason, prompt_tokens, completion_tokens, reasoning)
        failure = f"{place}: the recorded attempt ended in a failure ({end.raw})" if end.failed else ""
        return _Recording(completion, grade, failure)


_IDENTIFYING = {"task_id", "prompt", "index", "text", "columns", "reasoning", "finish_reason"}


def _identifying(settings: RecordedSettings) -> set[str]:
    """The settings that say how a file is read; later ones only where they are used: older identities stay."""
    later = {"input": settings.input, "layout": settings.layout, "finish_reasons": settings.finish_reasons}
    return _IDENTIFYING | {name for name, value in later.items() if value}


def _plain_layout(settings: RecordedSettings, files: Sequence[Path]) -> str | None:
    """The layout of the first row, where the recipe names no field at all."""
    fields = RecordedSettings.model_fields
    asked = ("task_id", "prompt", "text", "columns", *_OPTIONAL)
    if any(getattr(settings, name) != fields[name].default for name in asked):
        return None
    first = next((row.values for file in files for row in rows_of(file, read_json)), None)
    return plainly(first) if isinstance(first, dict) else None


_OPTIONAL = ("input", "index", "reasoning", "finish_reason", "prompt_tokens", "completion_tokens", "grade")
"""Settings that name a field which a row may go without."""


def _named(settings: RecordedSettings) -> dict[str, str]:
    """The fields that the recipe names, by their keys; a default name is only looked for. A resolved recipe spells
    the defaults out, so those do not count as named."""
    given = {key: getattr(settings, key) for key in _OPTIONAL}
    fields = RecordedSettings.model_fields
    named = {key: name for key, name in given.items() if name is not None and name != fields[key].default}
    grades = {f"columns.{number}.grade": each.grade for number, each in enumerate(settings.columns)}
    return named | {key: name for key, name in grades.items() if name is not None}


def _attempts(place: str, row: Mapping[str, Any], field: str) -> int:
    """How many attempts the list of a row holds."""
    try:
        return len(value_at(row, field))
    except NoField as error:
        raise InputError(f"{place}: {error}") from None


def _one_of(row: Mapping[str, Any], field: str, number: int) -> Any:
    """The value of a field; of one that is named with [*], that of the attempt."""
    value = found_at(row, field)
    if not has_star(field) or field in row or value is None:
        return value
    return value[number] if number < len(value) else None


def _end(place: str, said: Any, settings: RecordedSettings) -> Ending:
    """How an attempt ended. Raises InputError for a word that nobody knows: it costs nothing to say first."""
    end = ending_of(said, settings.finish_reasons)
    if end.raw == MISSING:
        return Ending("stop")
    if end.raw and not end.failed and end.raw != "unknown":
        raise InputError(
            f"{place}: {settings.finish_reason} is {end.raw!r}, expected one of {', '.join(get_args(FinishReason))}, "
            f"or a word of a known server; say what it means in teacher.finish_reasons: {{{end.raw}: stop}}"
        )
    return end


def _text(place: str, row: Mapping[str, Any], field: str, number: int = 0) -> str:
    value = _one_of(row, field, number)
    if not isinstance(value, str):
        if value is None and not has_field(row, field):
            raise InputError(f"{place}: {no_field(row, field)}")
        raise InputError(f"{place}: the field {field!r} is {kind_of(value)}, not text")
    return value


def _number(value: Any) -> Any:
    """A whole number that stands there as text, as in a cell of CSV; anything else as it is."""
    return (
        int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16 else value
    )


def estimated_tokens(text: str) -> int:
    """Tokens of a text that nobody counted, by its bytes."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
