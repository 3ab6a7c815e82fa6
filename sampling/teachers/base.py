"""What every teacher follows, which kinds of teacher there are, and how a recipe names one.

A new kind is a module in this package with one registered class: its settings, and how to build the teacher. Import
what is heavy in `make`, or in the teacher, not at the top of the module.

    class Echo:
        identity = "echo"
        concurrency = 8
        async def sample(self, request, usage): return Completion(request.messages[-1].content, "stop", 1, 1)
        async def close(self): ...

    @teachers.register
    class EchoSettings(TeacherBase):
        kind: Literal["echo"]
        model: str = "echo"
        concurrency: int = 8

        def make(self, base: Path) -> Teacher:
            return Echo()
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from stillroom.common.records import Completion, Example, Messages, Prompt, Request, SamplingParams, Usage
from stillroom.common.registry import Registry
from stillroom.common.settings import Settings
from stillroom.sampling.counts import Counts
from stillroom.sampling.live import as_kind

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""What a local model computes in; `auto` is what this machine does fast (see `models.pick_dtype`)."""


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

    @property
    def concurrency(self) -> int:
        """Requests in flight, at most."""

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """Answers one request. Updates `usage` as it goes; stops work on it when cancelled.

        Raises RequestFailed when this request got no answer (and says whether to ask again), OutOfAttempts when
        there is nothing left to replay, any other StillroomError when asking anybody is pointless (wrong key).
        """

    async def close(self) -> None:
        """Frees what was loaded. Safe to call twice, or when nothing was."""


@runtime_checkable
class CountsTokens(Protocol):
    """What a teacher may also offer: how long a prompt is, before it is sent."""

    @property
    def context(self) -> int | None:
        """Tokens that prompt and answer may have together; None: not known."""

    def count_tokens(self, messages: Messages) -> int:
        """Tokens of the prompt. Raises InputError for messages that the model's template does not take."""


@runtime_checkable
class KnowsTokens(Protocol):
    """What a teacher may also offer: the special tokens of its tokenizer, which no text by others may hold."""

    @property
    def special_tokens(self) -> frozenset[str]:
        """As text, such as `<|im_end|>`. Loads the tokenizer, no weights."""


@runtime_checkable
class SendsBatches(Protocol):
    """What a teacher may also offer: it gathers requests and sends them together, and their answers take hours."""

    def keep_in(self, folder: Path, counts: Counts) -> None:
        """Tells it where its run is, for what has to be found again there, and where to tell its progress."""

    def send_gathered(self, overdraw: float = 0.0) -> None:
        """Sends what was gathered: nothing more comes without an answer. `overdraw`: requests of it that are expected
        not to be needed."""


def special_tokens_of(teacher: Teacher) -> frozenset[str]:
    """The special tokens of a teacher's tokenizer; none where it has no tokenizer at hand."""
    return teacher.special_tokens if isinstance(teacher, KnowsTokens) else frozenset()


def dtype_of(teacher: Teacher) -> str | None:
    """The type of number that a teacher's model computes in, as torch names it. A teacher that loads a model on this
    machine offers it as `dtype`; None where it does not, or has not loaded it."""
    found: str | None = getattr(teacher, "dtype", None)
    return found


class RetrySettings(Settings):
    """How failed requests are repeated. Waits are random in [0, min(cap_s, base_s · 2^i)]."""

    attempts: int = Field(default=6, ge=1)
    """How often a request is sent in all."""
    base_s: float = Field(default=0.5, ge=0)
    """Longest first wait, in seconds; it doubles each time."""
    cap_s: float = Field(default=30.0, ge=0)
    """Longest wait, in seconds."""


class TeacherBase(BaseModel):
    """Settings that every kind of teacher has.

    `replays`: it hands out answers that are on file, so asking it costs nothing. `local`: its model computes in the
    process that asks it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    replays: ClassVar[bool] = False
    local: ClassVar[bool] = False

    sampling: SamplingParams = SamplingParams()
    """How answers are sampled."""
    licence: str | None = None
    """Licence of the teacher's answers, for the data set card."""
    system: str | None = None
    """System prompt for the teacher only; the student never sees it."""
    examples: tuple[Example, ...] = ()
    """Worked examples for the teacher only, as turns before the task."""
    retry: RetrySettings = RetrySettings()
    """How failed requests are repeated."""

    if TYPE_CHECKING:
        # Every kind declares these itself, since fields are written to recipe.yaml in the order of their declaration.
        kind: str
        model: str
        concurrency: int

    @property
    def teacher_prompt(self) -> Prompt:
        """The system prompt and worked examples as they are put before a task."""
        return Prompt(system=self.system, examples=self.examples)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that decide its answers, as the recipe names them; their hashes go on record."""
        return ()

    @property
    def gathers(self) -> bool:
        """Whether it gathers requests and sends them together, so that an answer takes hours: for draws, and for
        nobody whose next request depends on it."""
        return False

    @property
    def has_grades(self) -> bool:
        """Whether its answers come with grades to compare our verdicts with."""
        return False

    def make(self, base: Path) -> Teacher:
        """The teacher; relative paths start at `base`. Loads no model yet.

        Raises MissingExtra, MissingKey or MissingFile.
        """
        raise NotImplementedError


teachers: Registry[TeacherBase] = Registry(
    "teacher", tag="kind", where=("stillroom.sampling.teachers",), bare=as_kind("kind")
)
"""Every kind of teacher by its name in a recipe."""

TeacherSettings = Annotated[TeacherBase, teachers.field()]
"""The settings of any kind, as the type of a recipe's field."""


def identity_of(settings: TeacherBase, base: Path) -> str:
    """The identity of the teacher that `settings` describe. Raises as `TeacherBase.make` does."""
    teacher = settings.make(base)
    try:
        return teacher.identity
    finally:
        asyncio.run(teacher.close())
