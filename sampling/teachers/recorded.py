"""A teacher that replays attempts from a file: tests without a model, and traces people already own.

Any file that `common/row_files` reads will do (`recording.py` says how). Each row holds one attempt, or several in
named columns or a list. The draw index is the row's own (`index`), or counts the attempts of a task in the order in
which they stand in the file. Its identity is the content of the file and how it is read, so an edited file is asked
again. Token counts that the recording does not hold are estimated at four bytes a token. Why an attempt ended may be
said in the words of any server (`sampling.teachers.endings`); one that ended in a server's error is a failed draw.

Bad rows are refused before anything is drawn, with file and line, or left out and counted (`bad_rows: skip`).

    RecordedTeacher(RecordedSettings(kind="recorded", path="traces.jsonl", prompt="question"), base=Path("."))
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal
from weakref import WeakValueDictionary

from pydantic import Field, model_validator

from stillroom.common.fields import no_field
from stillroom.common.files import at_home
from stillroom.common.hashing import digest
from stillroom.common.records import Completion, FinishReason, Messages, Request, Task, Usage
from stillroom.common.row_files import digest_of, files_of
from stillroom.common.secrets import named_in
from stillroom.common.settings import Settings
from stillroom.errors import InputError, RequestFailed
from stillroom.sampling.teachers.base import OutOfAttempts, Teacher, TeacherBase, teachers
from stillroom.sampling.teachers.layouts import LAYOUTS, plainly
from stillroom.sampling.teachers.recording import Column, Draws, Fields, Recording, joins_by_id, layout_of


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
    layout: str | None = None
    """How rows are laid out: `openai_batch`, `anthropic_batch` (joined by custom_id), `lm_eval`, `inspect`,
    `distilabel`, `curator`, `openr1`, `attempts`, `alpaca`, `messages` (joined by the prompt; `prompt` or `task_id`
    names another field of the row); null: by the fields named here, or as the first row plainly is."""
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
    bad_rows: Literal["refuse", "skip"] = "refuse"
    """Whether a row that holds no attempt ends the run or is left out and counted."""
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
        if self.layout is None:
            return self
        if self.layout not in LAYOUTS:
            near = get_close_matches(self.layout, LAYOUTS, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"there is no layout {self.layout!r}{meant} There are {', '.join(LAYOUTS)}")
        if named := _named(self) or self.columns or self.text != "text":
            also = next(iter(named)) if isinstance(named, dict) else "columns" if self.columns else "text"
            raise ValueError(f"layout {self.layout} says where everything stands: leave out {also}, or layout")
        return self

    def make(self, base: Path) -> Teacher:
        return RecordedTeacher(self, base=base)


_OPEN: WeakValueDictionary[str, Recording] = WeakValueDictionary()
"""The recordings that are in use, by content and how they are read."""


class RecordedTeacher:
    """Replays a recording. Raises MissingFile, or InputError for lines that are not attempts."""

    def __init__(self, settings: RecordedSettings, *, base: Path) -> None:
        self.settings, self.concurrency = settings, settings.concurrency
        self._path = base / at_home(settings.path)
        files = files_of(self._path, "teacher.path")
        how = settings.model_dump(mode="json", include=_identifying(settings))
        self.identity = f"{named_in(settings.model)}@{digest([digest_of(files), how], 12)}"
        layout = settings.layout
        if layout is None and _names_no_answer(settings):
            layout = layout_of(files, plainly)
        self._told = f"read with teacher.layout: {layout}, " if layout != settings.layout else ""
        named = _named(settings)
        fields = _fields(settings, layout)
        # The teacher of a run and what takes its grades read the same files in the same way, once.
        key = digest([digest_of(files), *map(str, files), repr(fields), *named.values()])
        self._recording = _OPEN.get(key) or Recording.read(files, fields, named.values())
        _OPEN[key] = self._recording
        for key, name in named.items():
            if name not in self._recording.found and self._recording.last:
                raise InputError(f"teacher.{key}: in no row of {self._path}: {no_field(self._recording.last, name)}")

    @property
    def graded(self) -> frozenset[str]:
        """What the grades are called that some attempt has."""
        return frozenset(self._recording.graded)

    def draws_of(self, task_id: str, messages: Messages) -> Draws:
        """All that is on record of a task, by draw."""
        return self._recording.of(task_id, messages)

    def matched(self, tasks: Iterable[Task]) -> str:
        """How much of the recording is of these tasks, in words."""
        return f"recording: {self._told}{self._recording.matched(tasks)}"

    def check_matched(self, tasks: Iterable[Task]) -> None:
        """Raises InputError where no attempt is of any of the tasks."""
        self._recording.check_matched(tasks)

    def counts(self, tasks: Iterable[Task]) -> dict[str, Any]:
        """The same in numbers, with what was left out, for the record of the run."""
        return self._recording.counts(tasks)

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """The recorded attempt with that draw index. Raises OutOfAttempts beyond the last."""
        draws = self._recording.of(request.task_id, request.messages)
        if request.index > max(draws, default=-1):
            raise OutOfAttempts
        if request.index not in draws:
            raise RequestFailed(f"{self._path} has no draw {request.index} of this task", retryable=False)
        recorded = draws[request.index]
        completion = recorded.completion
        if recorded.failure:
            raise RequestFailed(recorded.failure, retryable=False)
        usage.prompt_tokens, usage.completion_tokens = completion.prompt_tokens, completion.completion_tokens
        return completion

    async def close(self) -> None:
        """Nothing to free."""

    def grade(self, task_id: str, messages: Messages, index: int) -> bool | None:
        """The grade that the recording holds for a draw; None where it holds none."""
        recorded = self._recording.of(task_id, messages).get(index)
        return None if recorded is None else recorded.grade


_IDENTIFYING = {"task_id", "prompt", "index", "text", "columns", "reasoning", "finish_reason"}


def _identifying(settings: RecordedSettings) -> set[str]:
    """The settings that say how a file is read; later ones only where they are used: older identities stay."""
    later = {"input": settings.input, "layout": settings.layout, "finish_reasons": settings.finish_reasons}
    return _IDENTIFYING | {name for name, value in later.items() if value}


def _fields(settings: RecordedSettings, layout: str | None) -> Fields:
    """How the rows are read. With a layout, they are made into rows with the default names of fields first."""
    columns = tuple(Column(each.text, each.grade) for each in settings.columns)
    names = ("input", "index", "text", "reasoning", "finish_reason", "prompt_tokens", "completion_tokens", "grade")
    given: dict[str, Any] = {name: getattr(settings, name) for name in names}
    given |= {"finish_reasons": settings.finish_reasons, "columns": columns, "skip": settings.bad_rows == "skip"}
    by_prompt = settings.prompt is not None
    if layout is None:
        return Fields(task_id=settings.task_id, prompt=settings.prompt, by_prompt=by_prompt, **given)
    own_id = settings.task_id != RecordedSettings.model_fields["task_id"].default
    joined_by = settings.prompt if by_prompt else settings.task_id if own_id else None
    by_prompt = by_prompt or not (own_id or joins_by_id(layout))
    given |= {"grade": "grade", "layout": layout, "by_prompt": by_prompt, "joined_by": joined_by}
    return Fields(task_id="task_id", prompt="prompt", **given)


def _names_no_answer(settings: RecordedSettings) -> bool:
    """Whether the recipe names no field of the answers at all."""
    fields = RecordedSettings.model_fields
    return all(getattr(settings, name) == fields[name].default for name in ("text", "columns", *_OPTIONAL))


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
