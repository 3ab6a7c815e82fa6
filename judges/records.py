"""What judges say: a rating of one answer, or a preference between two. A failure is never a score, a tie or a loss.

>>> Rating(JudgeState.OK, 3.5).score
3.5
>>> Rating(JudgeState.PARSE_FAILED, None, detail="no rating in 'Sure!'").failed
True
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeVar

from stillroom.common.hashing import digest
from stillroom.common.records import Attempt, Task

T = TypeVar("T")


class JudgeState(StrEnum):
    """How a judgement ended. `tie` and `order_conflict` are judgements (of pairs only); what follows them are
    failures, which say nothing about the answers."""

    OK = "ok"
    TIE = "tie"
    ORDER_CONFLICT = "order_conflict"
    PARSE_FAILED = "parse_failed"
    REFUSED = "refused"
    TRUNCATED = "truncated"
    OVERFLOW = "overflow"
    API_ERROR = "api_error"


FAILURES = frozenset(JudgeState) - {JudgeState.OK, JudgeState.TIE, JudgeState.ORDER_CONFLICT}


@dataclass(frozen=True, slots=True)
class Rating:
    """A judge's rating of one answer.

    `score`: on the rubric's scale, None exactly where the judgement failed. `ratings`: by criterion. `expected`: the
    score is the expected value over the scale's tokens, not the one token that was drawn. `calls`: requests that it
    took. `text`: what the judge wrote last. `detail`: why it failed, for people.
    """

    state: JudgeState
    score: float | None
    ratings: Mapping[str, float] = field(default_factory=dict)
    expected: bool = False
    calls: int = 1
    text: str = ""
    detail: str = ""

    def __post_init__(self) -> None:
        if (self.score is None) is (self.state is JudgeState.OK):
            raise ValueError(f"a rating that is {self.state} has the score {self.score}")

    @property
    def failed(self) -> bool:
        """Whether there is no judgement."""
        return self.state in FAILURES


@dataclass(frozen=True, slots=True)
class OrderVerdict:
    """What a judge said with the answers shown in one order. `winner`: the one shown `first` or `second`; None for a
    tie or a failure."""

    state: JudgeState
    winner: Literal["first", "second"] | None
    text: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Preference:
    """A judge's preference between the answers a and b, each shown first once.

    `state`: `ok` (a or b won), `tie` (both orders say so), `order_conflict` (the orders disagree: counts as a tie),
    or the failure of an order that failed. `orders`: a first, then b first; one alone where only one was asked.
    """

    state: JudgeState
    winner: Literal["a", "b"] | None
    orders: tuple[OrderVerdict, ...]
    calls: int = 2

    def __post_init__(self) -> None:
        if (self.winner is None) is (self.state is JudgeState.OK):
            raise ValueError(f"a preference that is {self.state} has the winner {self.winner}")

    @property
    def failed(self) -> bool:
        """Whether there is no judgement."""
        return self.state in FAILURES

    @property
    def points(self) -> float | None:
        """What a gets: 1, 0, or a half for a tie or a conflict; None where the judgement failed."""
        if self.failed:
            return None
        return {"a": 1.0, "b": 0.0, None: 0.5}[self.winner]


def both_orders(forward: OrderVerdict, backward: OrderVerdict, calls: int) -> Preference:
    """The preference that two orders make: `forward` showed a first, `backward` b.

    Only what both agree on counts: the same winner twice is `ok`, a tie twice is `tie`, anything else is an
    `order_conflict` (a win in one order and a tie in the other too: how the answers stood decided part of it). If an
    order failed, the comparison failed: one order alone is not evidence against position bias, and never a win. Where
    both failed, each in its way, the failure is named alike whichever answer is called a.
    """
    orders = (forward, backward)
    failed = [order.state for order in orders if order.state in FAILURES]
    if failed:
        return Preference(min(failed), None, orders, calls)
    said = {_named(forward, exchanged=False), _named(backward, exchanged=True)}
    if len(said) > 1:
        return Preference(JudgeState.ORDER_CONFLICT, None, orders, calls)
    winner = said.pop()
    return Preference(JudgeState.TIE if winner is None else JudgeState.OK, winner, orders, calls)


def one_order(verdict: OrderVerdict, exchanged: bool, calls: int) -> Preference:
    """The preference that one order makes, `exchanged` where it showed b first."""
    return Preference(verdict.state, _named(verdict, exchanged), (verdict,), calls)


def _named(verdict: OrderVerdict, exchanged: bool) -> Literal["a", "b"] | None:
    if verdict.winner is None:
        return None
    return "a" if (verdict.winner == "first") is not exchanged else "b"


def shows_second_first(a: Attempt, b: Attempt) -> bool:
    """The order of a pair that is shown once: by a hash of the texts, whichever answer is called a."""
    return digest([b.text, a.text]) < digest([a.text, b.text])


async def together(*jobs: Coroutine[Any, Any, T]) -> list[T]:
    """The results of all, in order. When one raises, the others are cancelled and nothing is left running."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Judge(Protocol):
    """What every judge has."""

    @property
    def identity(self) -> str:
        """All that decides what it says (model, rubric and its version, sampling): judgements are kept under it."""

    async def close(self) -> None:
        """Frees connections. Safe to call twice."""


class PointwiseJudge(Judge, Protocol):
    """Rates one answer."""

    @property
    def scale(self) -> tuple[float, float]:
        """The lowest and the highest score."""

    async def rate(self, task: Task, answer: Attempt) -> Rating:
        """Never raises for what an answer or the judge says; failed requests become `api_error`. Raises what makes
        asking anybody pointless (a wrong key, nobody there, a ledger that cannot be written)."""


class PairwiseJudge(Judge, Protocol):
    """Compares two answers to one task."""

    async def compare(self, task: Task, a: Attempt, b: Attempt) -> Preference:
        """Asks in both orders. Raises as `PointwiseJudge.rate` does."""
