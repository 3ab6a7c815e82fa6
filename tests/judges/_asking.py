"""A fake of the Asker, and the tasks and answers that tests of judges ask about."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stillroom.common.records import Attempt, FinishReason, Messages, SamplingParams, Task, TokenChoice, user
from stillroom.errors import RequestFailed

Answer = str | Attempt | Exception
TASK = Task("t1", user("Say hello to a colleague."), "Hello!", "by hand")


def answered(
    text: str, finish: FinishReason = "stop", choices: Sequence[TokenChoice] | None = None, index: int = 0
) -> Attempt:
    """An attempt with this text."""
    return Attempt(
        "t1", index, text, None, finish, 1, len(text.split()), None, 0.0, "fake", tuple(choices) if choices else None
    )


class FakeAsker:
    """Answers with `answer(messages, sampling)`, or the texts of a list in turn. `asked` holds what reached it."""

    def __init__(
        self,
        answer: Callable[[Messages, SamplingParams], Answer] | Sequence[Answer],
        *,
        room: int | None = None,
        sampling: SamplingParams | None = None,
    ) -> None:
        self.sampling = sampling or SamplingParams(temperature=0, max_tokens=64)
        self.asked: list[tuple[Messages, SamplingParams, str]] = []
        self.closed = 0
        self._answer, self._room = answer, room

    @property
    def identity(self) -> str:
        return "fake"

    async def ask(
        self, messages: Messages, *, about: str, index: int = 0, sampling: SamplingParams | None = None
    ) -> Attempt:
        params = sampling or self.sampling
        self.asked.append((messages, params, about))
        answer = self._answer
        said = answer(messages, params) if callable(answer) else answer[len(self.asked) - 1]
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Attempt) else answered(said)

    def room(self, messages: Messages, max_tokens: int) -> int | None:
        return None if self._room is None else self._room - sum(len(m.content.split()) for m in messages) - max_tokens

    async def close(self) -> None:
        self.closed += 1


def refused_by_server(message: str = "HTTP 400: guided decoding is off") -> RequestFailed:
    """A request that nothing but a change will help."""
    return RequestFailed(message, retryable=False)
