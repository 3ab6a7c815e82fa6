"""One judgement by a model: asked, read, asked once more where it could not be read, and then a failure with a name.

Before anything is asked, the prompt and its answer are counted against the judge's context: what does not fit is
`overflow`, and nothing is cut. A request that failed is `api_error`, an answer that was cut off `truncated`, one that
declines `refused`; none of these is asked again. One that cannot be read is, once, with what was wrong. What a server
does not offer (structured output, log-probabilities) is left out from then on, where leaving it out is what helps.
A judge that nobody can read is stopped (`judges.unread`). A failure on record is asked again where the run was told
to (`sampling.again`).

What is read, and how, is told by whoever asks.

    said = await dialogue.judge(lambda structured: Question(messages, "Write …"), read_winner)
    said.state, said.read
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from stillroom.common.hashing import digest
from stillroom.common.records import Attempt, Messages, SamplingParams
from stillroom.errors import RequestFailed
from stillroom.judges.prompts import repair_prompt
from stillroom.judges.records import JudgeState
from stillroom.judges.unread import MOST_UNREAD, UnreadRow
from stillroom.sampling.requests import Asker
from stillroom.sampling.scorers.base import Place
from stillroom.sampling.teachers.base import KnowsTokens, Teacher, TeacherBase

TOP_LOGPROBS = 20
UNREAD = frozenset({JudgeState.PARSE_FAILED, JudgeState.TRUNCATED})
"""States of replies that hold no verdict that can be read."""
JUDGE_PREFIX = "judge-"
"""How the requests of a judge are called in the ledger."""
_TOO_LONG = re.compile(
    r"context.{0,10}(?:length|window|limit|size)|maximum.{0,20}(?:length|tokens)|max_model_len"
    r"|too long|too many (?:input )?tokens|reduce (?:the|your) (?:length|prompt|input)",
    re.IGNORECASE,
)


class Asks(Protocol):
    """What makes a judge's requests: `stillroom.sampling.requests.Asker`, or a fake of it."""

    @property
    def identity(self) -> str:
        """All that decides an answer but the messages: the judgements are kept under it."""

    @property
    def sampling(self) -> SamplingParams:
        """How it asks where nothing else is said."""

    async def ask(
        self, messages: Messages, *, about: str, index: int = 0, sampling: SamplingParams | None = None
    ) -> Attempt:
        """The answer. Raises RequestFailed where this request got none."""

    def room(self, messages: Messages, max_tokens: int) -> int | None:
        """Tokens that prompt and answer leave free, below 0 where they do not fit; None: cannot be told."""

    async def close(self) -> None:
        """Frees connections. Safe to call twice."""


class Readable(Protocol):
    """What is read from a judge's answer: how it ended, and what to tell people about it."""

    @property
    def state(self) -> JudgeState: ...
    @property
    def detail(self) -> str: ...


R = TypeVar("R", bound=Readable)


class Question(NamedTuple):
    """What is asked, and the form that a repair asks for."""

    messages: Messages
    form: str


@dataclass(frozen=True, slots=True)
class Said(Generic[R]):
    """How a judgement ended. `read`: what was read, None where nothing came to be read. `attempt`: the judge's last
    answer, None where there is none. `calls`: requests made."""

    state: JudgeState
    read: R | None
    attempt: Attempt | None
    calls: int
    detail: str = ""
    unread: Attempt | None = None
    """An answer before that, which could not be read."""

    @property
    def tokens(self) -> int:
        """Tokens of prompts and answers, those from the ledger included."""
        attempts = [attempt for attempt in (self.unread, self.attempt) if attempt is not None]
        return sum(attempt.prompt_tokens + attempt.completion_tokens for attempt in attempts)

    @property
    def text(self) -> str:
        """What the judge wrote last, or empty."""
        return "" if self.attempt is None else self.attempt.text


class Dialogue:
    """Asks one judge. `logprobs`: with the likeliest tokens at each place. `schema`: of the structured output, or
    None. `max_unread`: unreadable replies in a row after which it stops, where an Asker asks; None: never."""

    def __init__(
        self,
        ask: Asks,
        *,
        logprobs: bool = False,
        schema: str | None = None,
        max_unread: int | None = MOST_UNREAD,
    ) -> None:
        self._ask, self._unread = ask, UnreadRow(ask.identity, max_unread)
        self._asker = ask if isinstance(ask, Asker) else None
        if self._asker is not None:
            self._asker.before_asking = self._unread.before_asking
        # Settings from the most that is wanted to the least that will do.
        plain = ask.sampling.model_copy(update={"logprobs": False, "top_logprobs": 0, "json_schema": None})
        tops: dict[str, Any] = {"logprobs": True, "top_logprobs": TOP_LOGPROBS} if logprobs else {}
        levels = [plain.model_copy(update=update) for update in ({**tops, "json_schema": schema}, tops, {})]
        self._levels = tuple(dict.fromkeys(levels))
        self._level = 0
        self._proven = len(self._levels) == 1
        self._proving = asyncio.Lock()

    @property
    def identity(self) -> str:
        """The model and how it samples."""
        return f"{digest(self._levels[0].model_dump(mode='json'), 12)} {self._ask.identity}"

    @property
    def special_tokens(self) -> frozenset[str]:
        """Those of the judge's own tokenizer: no text by others may hold them. Empty where it is not at hand."""
        return self._ask.special_tokens if isinstance(self._ask, KnowsTokens) else frozenset()

    async def judge(self, question: Callable[[bool], Question], read: Callable[[str], R]) -> Said[R]:
        """One judgement. `question(structured)`: what to ask. Raises what makes asking anybody pointless."""
        if over := self._too_long(question(self._structured).messages):
            return Said(JudgeState.OVERFLOW, None, None, 0, over)
        said = await self._judged(question, read)
        again = None if self._asker is None else self._asker.again
        if again is None or said.state not in UNREAD | {JudgeState.REFUSED} or self._is_new(said.attempt):
            return said
        return await self._judged(question, read, again=True) if again.take() else said

    async def _judged(
        self, question: Callable[[bool], Question], read: Callable[[str], R], *, again: bool = False
    ) -> Said[R]:
        """One judgement. `again`: replies of earlier calls do not do."""
        said = await self._asked(question, read, again)
        if said.state is not JudgeState.PARSE_FAILED:
            return said
        # Asked once more, with what was wrong; what cannot be read then stays so.
        asked, form = question(self._structured)
        messages = repair_prompt(asked, said.text, said.detail, form, special=self.special_tokens)
        if self._too_long(messages):
            return said
        more, _ = await self._once(messages, read, again)
        detail = f"{said.detail}; asked again: {more.detail}" if more.detail else f"repaired: {said.detail}"
        unread = None if more.attempt is None else said.attempt
        return Said(more.state, more.read, more.attempt or said.attempt, said.calls + 1, detail, unread)

    async def close(self) -> None:
        """Closes what asks."""
        await self._ask.close()

    @property
    def _structured(self) -> bool:
        return self._levels[self._level].json_schema is not None

    def _too_long(self, messages: Messages) -> str:
        """Why these messages cannot be asked, or empty."""
        most = self._levels[self._level].max_tokens
        room = self._ask.room(messages, most)
        if room is None or room >= 0:
            return ""
        return (
            f"prompt and answer are {-room:,} tokens longer than the judge's context: lower "
            f"teacher.sampling.max_tokens ({most:,}), or choose a judge with a longer context"
        )

    async def _asked(self, question: Callable[[bool], Question], read: Callable[[str], R], again: bool) -> Said[R]:
        """The first answer of all is asked with as much as the server takes: a refusal for good leads one level down,
        which stays if it is answered there. One goes ahead: many that a server refuses would look like a dead server.
        """
        if not self._proven:
            async with self._proving:
                calls = 0
                while not self._proven:
                    said, refused = await self._once(question(self._structured).messages, read, again)
                    calls += 1
                    if refused and self._level + 1 < len(self._levels):
                        self._level += 1
                        continue
                    self._proven = said.attempt is not None
                    if not self._proven:
                        self._level = 0  # leaving things out did not help: it was refused for what it says
                    return replace(said, calls=calls)
        said, _ = await self._once(question(self._structured).messages, read, again)
        return said

    def _is_new(self, attempt: Attempt | None) -> bool:
        return self._asker is not None and attempt is not None and self._asker.is_new(attempt)

    async def _once(self, messages: Messages, read: Callable[[str], R], again: bool) -> tuple[Said[R], bool]:
        """What one request comes to: what was read, or a failure with a name; and whether the server refused it for
        good, other than for its length."""
        said: Said[R] | None = None
        try:
            said, refused = await self._reply(messages, read, again)
        finally:
            self._note(said)
        return said, refused

    def _note(self, said: Said[R] | None) -> None:
        """Tells the row of unreadable replies how a request ended. Replies on record that are to be asked again say
        nothing."""
        attempt = None if said is None else said.attempt
        paid = attempt is None or self._is_new(attempt)
        old = not paid and self._asker is not None and self._asker.again is not None
        if said is None or attempt is None or old or said.state is JudgeState.REFUSED:
            self._unread.passed(paid=paid)
        elif said.state in UNREAD:
            self._unread.take(attempt.text, said.detail, paid=paid)
        else:
            self._unread.read(paid=paid)

    async def _reply(self, messages: Messages, read: Callable[[str], R], again: bool) -> tuple[Said[R], bool]:
        # Named by content: the same question is the same request, whatever the ids of task and candidates are.
        about = f"{JUDGE_PREFIX}{digest([message.as_dict() for message in messages], 16)}"
        sampling = self._levels[self._level]
        try:
            if self._asker is not None and again:
                attempt = await self._asker.ask(messages, about=about, sampling=sampling, again=True)
            else:
                attempt = await self._ask.ask(messages, about=about, sampling=sampling)
        except RequestFailed as error:
            too_long = _TOO_LONG.search(str(error)) is not None
            state = JudgeState.OVERFLOW if too_long else JudgeState.API_ERROR
            return Said(state, None, None, 1, str(error)), not (error.retryable or too_long)
        if attempt.finish_reason == "length":
            cut = (
                f"the judge was cut off after {attempt.completion_tokens:,} tokens: raise teacher.sampling.max_tokens"
            )
            return Said(JudgeState.TRUNCATED, None, attempt, 1, cut), False
        if attempt.finish_reason == "content_filter":
            return Said(JudgeState.REFUSED, None, attempt, 1, "stopped by the server's content filter"), False
        reading = read(attempt.text)
        return Said(reading.state, reading, attempt, 1, reading.detail), False


def asker(teacher: Teacher, settings: TeacherBase, place: Place) -> Asker:
    """What asks a teacher in a run: it keeps its requests in the ledger and within the run's limits."""
    sampling, retry = settings.sampling, settings.retry
    made = Asker(teacher, place.kept, sampling, seed=place.seed, retry=retry, meter=place.meter, again=place.again)
    if place.meter is not None:
        place.meter.watch(made.counts, place.prices)
    return made
