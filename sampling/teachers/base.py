"""The protocol that every teacher follows.

class Echo:
    identity = "echo"
    concurrency = 8
    async def sample(self, request, usage): return Completion(request.messages[-1].content, "stop", 1, 1)
    async def close(self): ...
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from stillroom.common.records import Completion, Messages, Request, Usage


class OutOfAttempts(Exception):
    """A teacher that replays has no attempt with this draw index, nor a later one, for the task."""


class Teacher(Protocol):
    """Whatever answers.

    `identity` names all that decides what is answered (weights, revision, prompt format), never where it is
    served: it is hashed into the ledger's keys. `concurrency` bounds the requests in flight.
    """

    @property
    def identity(self) -> str:
        """All that decides what is answered, in a line; the same in every process."""
        ...

    @property
    def concurrency(self) -> int:
        """Requests in flight, at most."""
        ...

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """Answers one request. Updates `usage` as it goes; stops work on it when cancelled.

        Raises RequestFailed when this request got no answer (and says whether to ask again), OutOfAttempts when
        there is nothing left to replay, any other StillroomError when asking anybody is pointless (wrong key).
        """
        ...

    async def close(self) -> None:
        """Frees what was loaded. Safe to call twice, or when nothing was."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """What a teacher may offer beside: how long a prompt is, before it is sent."""

    @property
    def context(self) -> int | None:
        """Tokens that prompt and answer may have together; None: not known."""
        ...

    def count_tokens(self, messages: Messages) -> int:
        """Tokens of the prompt. Raises InputError for messages that the model's template does not take."""
        ...


@runtime_checkable
class KnowsTokens(Protocol):
    """What a teacher may offer besides: the special tokens of its tokenizer, which no text by others may hold."""

    @property
    def special_tokens(self) -> frozenset[str]:
        """As text, such as `<|im_end|>`. Loads the tokenizer, no weights."""
        ...


@runtime_checkable
class ComputesHere(Protocol):
    """What a teacher has that loads a model on this machine."""

    @property
    def dtype(self) -> str | None:
        """The type of number that the model computes in, as torch names it; None as long as it is not loaded."""
        ...


def special_tokens_of(teacher: Teacher) -> frozenset[str]:
    """The special tokens of a teacher's tokenizer; none where it has no tokenizer at hand."""
    return teacher.special_tokens if isinstance(teacher, KnowsTokens) else frozenset()


def dtype_of(teacher: Teacher) -> str | None:
    """What a teacher's model computes in; None where it is not on this machine, or was not needed."""
    return teacher.dtype if isinstance(teacher, ComputesHere) else None
