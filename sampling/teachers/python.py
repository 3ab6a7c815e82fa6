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
from stillroom.sampling.plugins import Hosted, PythonCode
from stillroom.sampling.teachers.base import Teacher
from stillroom.sampling.teachers.recorded import BYTES_PER_TOKEN
from stillroom.sampling.teachers.registry import TeacherBase, teachers
from stillroom.sampling.workers.pool import TIMEOUT


class PythonTeacher:
    """Answers with a function."""

    def __init__(self, function: Hosted, identity: str, concurrency: int) -> None:
        self._function, self._identity, self._concurrency = function, identity, concurrency

    @property
    def identity(self) -> str:
        """The function's file and settings."""
        return self._identity

    @property
    def concurrency(self) -> int:
        """Calls in flight at most."""
        return self._concurrency

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """One call. Raises RequestFailed for what the function raises, or gives back that is no answer."""
        messages = [message.as_dict() for message in request.messages]
        returned = await self._function.acall(messages, request.sampling)
        if isinstance(returned.other, Completion):
            return returned.other
        if returned.failed:
            retryable = returned.reason == TIMEOUT or returned.of_a_connection
            raise RequestFailed(f"{self._function.code.said}: {returned.detail}", retryable=retryable)
        if not isinstance(returned.value, str):
            raise RequestFailed(
                f"{self._function.code.said}: it returned {returned.value!r:.100}, expected a text", retryable=False
            )
        usage.uncounted = True
        prompt = "".join(message["content"] for message in messages)
        return Completion(returned.value, "stop", _tokens(prompt), _tokens(returned.value))

    async def close(self) -> None:
        """Nothing of its own to free. Safe to call twice."""
        self._function.close()


def _tokens(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


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
        """The function's file."""
        return (self.file_part,)

    def make(self, base: Path) -> Teacher:
        """As `TeacherBase.make`."""
        return PythonTeacher(self.hosted(base, "teacher"), self.identity_at(base), self.concurrency)
