"""`kind: python`: an async function of the user's as the teacher.

    teacher: {kind: python, path: "mine.py:teacher", model: my-server, concurrency: 8, style: brief}

    async def teacher(messages, sampling, style="long") -> str: ...

`messages` is a list of `{"role": …, "content": …}`, `sampling` the `SamplingParams` of the request. The function may
return a `Completion`, too; of a text alone the tokens are estimated. What it raises is a failed request: it is asked
again after an error of a connection, and the run goes on without the draw after any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from stillroom.common.records import Completion, Request, Usage
from stillroom.errors import RequestFailed
from stillroom.sampling.live import Live, LiveFunction
from stillroom.sampling.plugins import Hosted, PythonCode
from stillroom.sampling.teachers.base import Teacher, TeacherBase, teachers
from stillroom.sampling.teachers.recording import estimated_tokens
from stillroom.sampling.workers.pool import TIMEOUT


class PythonTeacher:
    """Answers with a function."""

    def __init__(self, function: Hosted | Live, identity: str, concurrency: int) -> None:
        self._function, self.identity, self.concurrency = function, identity, concurrency

    async def sample(self, request: Request, usage: Usage) -> Completion:
        messages = [message.as_dict() for message in request.messages]
        returned = await self._function.acall(messages, request.sampling)
        if isinstance(returned.other, Completion):
            return returned.other
        if returned.reason:
            retryable = returned.reason == TIMEOUT or returned.of_a_connection
            raise RequestFailed(f"{self._function.said}: {returned.detail}", retryable=retryable)
        if not isinstance(returned.value, str):
            raise RequestFailed(
                f"{self._function.said}: it returned {returned.value!r:.100}, expected a text", retryable=False
            )
        usage.uncounted = True
        prompt = "".join(message["content"] for message in messages)
        return Completion(returned.value, "stop", estimated_tokens(prompt), estimated_tokens(returned.value))

    async def close(self) -> None:
        self._function.close()


@teachers.register
class PythonTeacherSettings(TeacherBase, PythonCode):
    """An async function of the user's (see docs/plugins.md)."""

    given: ClassVar[tuple[str, ...]] = ("messages", "sampling")
    may_be: ClassVar[frozenset[str]] = frozenset({"async"})

    kind: Literal["python"]
    model: str = Field(default="python", min_length=1)
    """What the teacher is called in reports."""
    concurrency: int = Field(default=8, ge=1)
    """Calls in flight."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Time limit of one call, in seconds."""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.file_part,)

    def make(self, base: Path) -> Teacher:
        return PythonTeacher(self.hosted(base, "teacher"), self.identity_at(base), self.concurrency)


@teachers.register
class FunctionTeacherSettings(TeacherBase, LiveFunction):
    """An async function of the program that makes the run, as for `python`. `model`: what it is called in reports."""

    kind: Literal["function"]
    model: str = Field(default="function", min_length=1)
    concurrency: int = Field(default=8, ge=1)

    def make(self, base: Path) -> Teacher:
        function = self.live(PythonTeacherSettings.given, may_be_plain=False)
        return PythonTeacher(function, self.name_and_hash, self.concurrency)
