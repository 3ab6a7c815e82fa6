"""A teacher that replays attempts from a JSONL file: tests without a model, and traces people already own.

Each line is an object with one attempt, or with several in named columns. The draw index is the line's own (`index`),
or counts the attempts of a task in the order in which they stand in the file. Its identity is the content of the file
and how it is read, so an edited file is asked again. Token counts that the recording does not hold are estimated at
four bytes a token. Why an attempt ended may be said in the words of any server (`sampling.teachers.endings`); one
that ended in a server's error is a failed draw.

Bad lines are refused before anything is drawn, with file and line.

    RecordedTeacher(RecordedSettings(kind="recorded", path="traces.jsonl", prompt="question"), base=Path("."))
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, get_args

from pydantic import Field

from stillroom.common.files import reachable
from stillroom.common.hashing import digest
from stillroom.common.marks import split_thinking
from stillroom.common.outside import read_json, tokens_in
from stillroom.common.records import Completion, FinishReason, Messages, Request, Usage, with_input
from stillroom.common.secrets import named_in
from stillroom.common.settings import Settings
from stillroom.errors import InputError, MissingFile, RequestFailed
from stillroom.sampling.teachers.base import OutOfAttempts, Teacher, TeacherBase, teachers
from stillroom.sampling.teachers.endings import MISSING, Ending, ending_of

BYTES_PER_TOKEN = 4  # a common rule of thumb for English; used only where the recording has no counts


class RecordedColumn(Settings):
    """Where one attempt stands in a row that holds several."""

    text: str
    """Dotted path of the answer."""
    grade: str | None = None
    """Dotted path of its grade; null: none."""


@teachers.register
class RecordedSettings(TeacherBase):
    """Replays attempts from a JSONL file. Fields of a row are named with dots for nested ones."""

    replays: ClassVar[bool] = True

    kind: Literal["recorded"]
    path: str
    """The recording, relative to the recipe's folder."""
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
    """Field that holds the answer."""
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
        return self.grade is not None or any(column.grade for column in self.columns)

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
        self._path = reachable(base / settings.path, "teacher.path")
        if not self._path.is_file():
            raise MissingFile(f"the recording {self._path} is not there: correct teacher.path")
        later = {name for name in ("input", "finish_reasons") if getattr(settings, name)}
        how = settings.model_dump(mode="json", include=_IDENTIFYING | later)
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise MissingFile(f"the recording {self._path} cannot be read: {error.strerror}") from None
        self.identity = f"{named_in(settings.model)}@{digest([hashlib.sha256(content).hexdigest(), how], 12)}"
        self._recordings: dict[str, dict[int, _Recording]] = {}
        for number, raw in enumerate(content.splitlines(), 1):
            if not raw.strip():
                continue
            place = f"{self._path}:{number}"
            try:
                row = read_json(raw.decode("utf-8-sig"))
            except ValueError as error:
                raise InputError(f"{place}: not a line of JSON in UTF-8: {error}") from None
            if not isinstance(row, dict):
                raise InputError(f"{place}: expected an object, found {type(row).__name__}")
            self._add(place, row)

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
        """Takes the attempts of a row: one, or those of its columns. `place`: the file and the line."""
        s = self._settings
        key = _text(place, row, s.prompt or s.task_id)
        if s.prompt and s.input:
            key = with_input(key, str(_lookup(row, s.input) or ""))
        known = self._recordings.setdefault(" ".join(key.split()) if s.prompt else key, {})
        first = max(known, default=-1) + 1
        if not s.columns and (own := _lookup(row, s.index)) is not None:
            if not isinstance(own, int) or isinstance(own, bool) or own < 0:
                raise InputError(f"{place}: {s.index} is {own!r}, expected a whole number from 0")
            first = own
        end = _end(place, row, s)
        for index, column in enumerate(s.columns or (RecordedColumn(text=s.text, grade=s.grade),), first):
            if index in known:
                raise InputError(f"{place}: draw {index} of this task stands there twice")
            # Where the recording keeps the thinking part and the answer apart, the text is left as it is.
            text, reasoning = _text(place, row, column.text), _lookup(row, s.reasoning)
            if reasoning is None or reasoning == "":
                reasoning, text = split_thinking(text)
            else:
                reasoning = _text(place, row, s.reasoning)
            prompt_tokens = tokens_in(_lookup(row, s.prompt_tokens)) or 0
            completion_tokens = tokens_in(_lookup(row, s.completion_tokens))
            if completion_tokens is None:
                completion_tokens = estimated_tokens((reasoning or "") + text)
            grade = None if column.grade is None else _lookup(row, column.grade)
            if grade is not None and not isinstance(grade, bool):
                raise InputError(f"{place}: {column.grade} is {grade!r}, expected true or false")
            completion = Completion(text, end.reason, prompt_tokens, completion_tokens, reasoning)
            failure = f"{place}: the recorded attempt ended in a failure ({end.raw})" if end.failed else ""
            known[index] = _Recording(completion, grade, failure)


_IDENTIFYING = {"task_id", "prompt", "index", "text", "columns", "reasoning", "finish_reason"}


def _lookup(row: Mapping[str, Any], dotted: str) -> Any:
    value: Any = row
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _end(place: str, row: Mapping[str, Any], settings: RecordedSettings) -> Ending:
    """How the row's attempts ended. Raises InputError for a word that nobody knows: it costs nothing to say first."""
    end = ending_of(_lookup(row, settings.finish_reason), settings.finish_reasons)
    if end.raw == MISSING:
        return Ending("stop")
    if end.raw and not end.failed and end.raw != "unknown":
        raise InputError(
            f"{place}: {settings.finish_reason} is {end.raw!r}, expected one of {', '.join(get_args(FinishReason))}, "
            f"or a word of a known server; say what it means in teacher.finish_reasons: {{{end.raw}: stop}}"
        )
    return end


def _text(place: str, row: Mapping[str, Any], field: str) -> str:
    value = _lookup(row, field)
    if not isinstance(value, str):
        found = "nothing" if value is None else type(value).__name__
        raise InputError(f"{place}: no text in field {field!r} (found {found}; the row has {', '.join(row)})")
    return value


def estimated_tokens(text: str) -> int:
    """Tokens of a text that nobody counted, by its bytes."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
