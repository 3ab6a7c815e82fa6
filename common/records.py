"""The records that the rooms hand to each other: tasks, prompts, requests, attempts, verdicts.

They are small and frozen, hold plain data only, and know nothing of where they came from or where they are
kept. See "Words" in the design for what each word means.

>>> task = Task(id="1", messages=user("What is 2 + 2?"), reference="4", source="by hand")
>>> prompt = Prompt(system="Be brief.", examples=(Example(prompt="1 + 1?", answer="2"),))
>>> [message.role for message in prompt.messages(task)]
['system', 'user', 'assistant', 'user']
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple, get_args

from pydantic import (
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from stillroom.common.marks import NamedMarks
from stillroom.common.settings import Settings

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "content_filter", "unknown"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def as_dict(self) -> dict[str, str]:
        """The form that chat templates and servers read."""
        return {"role": self.role, "content": self.content}


Messages = tuple[Message, ...]


def asked(messages: Messages) -> str:
    """What a conversation asks: its user's turns. A system prompt is the same for all, and answers are examples."""
    return "\n".join(message.content for message in messages if message.role == "user")


def user(content: str) -> Messages:
    """A conversation of one user turn."""
    return (Message("user", content),)


def with_input(instruction: str, text: str) -> str:
    """An instruction and the text that it is about, if any, as one prompt.

    >>> with_input("Make it shorter.", "It was, in fact, raining.")
    'Make it shorter.\\n\\nIt was, in fact, raining.'
    """
    return f"{instruction.strip()}\n\n{text.strip()}" if text.strip() else instruction.strip()


SECOND_OPINION = "verifier"
"""The reason of a verdict that a model gave, where the rules could not read an answer."""
AnswerType = Literal[
    "integer",
    "number",
    "expression",
    "equation",
    "set",
    "list",
    "tuple",
    "interval",
    "matrix",
    "choice",
    "text",
    "gold",
]
"""What the answers to a task are. `gold`: what the reference itself is, if it is plainly of one type."""
ANSWER_TYPES: tuple[str, ...] = get_args(AnswerType)


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt to be answered.

    `reference` is the gold answer, or None where there is none. `source` says where the task is from
    (`problems.jsonl:17`). `metadata` is carried along untouched. `answer_type`: what an answer must be, "" for
    anything.
    """

    id: str
    messages: Messages
    reference: str | None
    source: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    answer_type: str = ""


class Example(Settings):
    """A worked example."""

    prompt: str = Field(min_length=1)
    """What is asked."""
    answer: str = Field(min_length=1)
    """The answer as the teacher should write it."""


class Prompt(Settings):
    """How a teacher is prompted. `system` replaces the task's own system prompt; `examples` come before the task, as
    turns. They belong to the teacher, not to the task: a student is trained on the task's own messages, so it learns
    to do without them."""

    system: str | None = None
    examples: tuple[Example, ...] = ()

    def messages(self, task: Task) -> Messages:
        """What the teacher is sent for a task. The shared part comes first, so that it can be computed once."""
        system = tuple(m for m in task.messages if m.role == "system")
        if self.system is not None:
            system = (Message("system", self.system),)
        turns = tuple(m for m in task.messages if m.role != "system")
        examples = tuple(
            m for e in self.examples for m in (Message("user", e.prompt), Message("assistant", e.answer))
        )
        return system + examples + turns


class SamplingParams(Settings):
    """How a teacher samples. None leaves a setting to the teacher's default."""

    temperature: float = Field(default=1.0, ge=0, le=5)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Sample from the most likely tokens that add up to this probability."""
    top_k: int | None = Field(default=None, ge=1)
    """Sample from this many of the most likely tokens; null: the teacher's default."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    """Drop tokens below this share of the most likely one's probability; null: the teacher's default."""
    max_tokens: int = Field(default=1024, ge=1)
    """Longest answer, in tokens."""
    stop: tuple[str, ...] = ()
    """Texts at which an answer ends."""
    logprobs: bool = False
    """Also ask for the log-probability of each token drawn."""
    top_logprobs: int = Field(default=0, ge=0, le=20)
    """And for those of this many of the most likely tokens at each place."""
    thinking: NamedMarks | None = None
    """Marks that the model puts around its thinking, where they are its own; the usual ones are known."""
    json_schema: str | None = None
    """JSON text of a schema that the answer must follow."""

    @model_serializer(mode="wrap")
    def _as_given(self, dump: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """With `context={"as_given": True}` without a temperature and top_p that nobody gave: a recipe that is
        written out asks servers for no more than it did."""
        values: dict[str, Any] = dump(self)
        if isinstance(info.context, dict) and info.context.get("as_given"):
            for name in {"temperature", "top_p"} - self.model_fields_set:
                values.pop(name, None)
        return values

    @field_validator("json_schema")
    @classmethod
    def _an_object(cls, text: str | None) -> str | None:
        """A schema is kept as it was written: servers let the order of its properties decide the answer's."""
        if text is None:
            return None
        try:
            schema = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"json_schema is not JSON ({error}): give the text of a JSON schema") from None
        if not isinstance(schema, dict):
            found = type(schema).__name__
            raise ValueError(f'json_schema is a {found}, expected an object such as {{"type": "object"}}')
        return text


class TokenChoice(NamedTuple):
    """One token of a completion. `logprob`: its natural log-probability. `top`: the most likely tokens at its place
    with theirs, the likeliest first; the token itself is among them only if it is that likely."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One draw asked of a teacher: `index` counts the draws of a task from 0; `seed` is stable per draw."""

    task_id: str
    index: int
    messages: Messages
    sampling: SamplingParams
    seed: int


@dataclass(slots=True)
class Usage:
    """Tokens a request has cost so far. A teacher updates it while it works, so that a cancelled request
    still says what it had cost. None: the teacher cannot tell. `uncounted`: nobody counted the tokens of the answer
    that was given, or not all of them; what its completion says is at least how many there are. `odd`: something next
    to the answer (log-probabilities, counts, thinking) could not be read, and is absent. `begun`: it has left for a
    server, which bills what it begins. `resumes`: whoever stops waiting loses nothing, since the same request is
    found again."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    uncounted: bool = False
    odd: bool = False
    begun: bool = False
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """What a teacher answered to one request.

    `text` is the answer without the thinking part; `reasoning` is the thinking part where the teacher keeps it
    apart, else None. `logprobs`: the log-probability of each completion token, or None if not asked for.
    `choices`: each completion token (thinking included) with the most likely ones at its place; None where not asked
    for or not given. `ended`: why it ended, as the teacher said it, where the finish reason is unknown; else empty.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    reasoning: str | None = None
    logprobs: tuple[float, ...] | None = None
    choices: tuple[TokenChoice, ...] | None = None
    ended: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One answer of a teacher to a task, as the ledger keeps it. `latency_s`: from asking to the whole answer.

    The rest is as in Completion.
    """

    task_id: str
    index: int
    text: str
    reasoning: str | None
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    logprobs: tuple[float, ...] | None
    latency_s: float
    teacher: str
    choices: tuple[TokenChoice, ...] | None = None


class State(StrEnum):
    """The three values of a verdict. Unscored is not evidence about the answer."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNSCORED = "unscored"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A scorer's verdict on an attempt.

    `reason` is from the scorer's closed set. `score` is None where the scorer gives none. `detail` holds what a
    person wants to see (the answer that was read, say), or is empty. `seconds`: what the scoring took.
    """

    state: State
    reason: str
    score: float | None = None
    detail: str = ""
    seconds: float = 0.0


class StopReason(StrEnum):
    """Why no more is drawn for a task."""

    SATISFIED = "satisfied"
    GAVE_UP = "gave_up"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class ScoredAttempt:
    """An attempt with its verdict."""

    attempt: Attempt
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished task: its scored attempts in draw order, and why it stopped.

    `kept` are the draw indexes of the first k accepted, in draw order. `failed` counts draws that got no answer.
    """

    task: Task
    attempts: tuple[ScoredAttempt, ...]
    kept: tuple[int, ...]
    stop: StopReason
    failed: int = 0
