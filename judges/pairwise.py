"""A model that compares two answers, shown in both orders.

Only what both orders agree on counts: the same winner twice is `ok`, a tie twice is `tie`, anything else is an
`order_conflict` (a win in one order and a tie in the other too: how the answers stood decided part of it). If an
order failed, the comparison failed: one order alone is not evidence against position bias, and never a win. Two
answers of the same text are a tie, which nobody is asked about.

With `both_orders=False` each pair is shown in one order, which a hash of the two texts decides: half the calls, and
position bias becomes noise; what a swap does cannot be told then.

    judge = Pairwise(asker, load_rubric("helpfulness"))
    preference = await judge.compare(task, a, b)
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Literal, TypeVar

from stillroom.common.hashing import digest
from stillroom.common.records import Attempt, Task
from stillroom.judges.dialogue import Asks, Dialogue, Question, Said
from stillroom.judges.prompts import VERSION as PROMPTS
from stillroom.judges.prompts import Form, pairwise_prompt, repair_form, winner_schema
from stillroom.judges.reading import VERSION as READING
from stillroom.judges.reading import Winner, read_winner
from stillroom.judges.records import FAILURES, JudgeState, OrderVerdict, Preference
from stillroom.judges.rubric import Rubric

T = TypeVar("T")
SAME = OrderVerdict(JudgeState.TIE, None, detail="the two are the same text: nobody was asked")


class Pairwise:
    """`structured`: ask for JSON by schema, where the server knows that. `reasons`: reasons before the verdict.
    `both_orders`: show each pair twice."""

    def __init__(
        self,
        ask: Asks,
        rubric: Rubric,
        *,
        structured: bool = False,
        reasons: bool = True,
        both_orders: bool = True,
    ) -> None:
        self._rubric, self._reasons, self._both_orders = rubric, reasons, both_orders
        self._dialogue = Dialogue(ask, schema=winner_schema(reasons) if structured else None)

    @property
    def identity(self) -> str:
        """Prompt and parser versions, rubric, reasons, orders, sampling (with the schema), model."""
        flags = " reasons" * self._reasons + " one order" * (not self._both_orders)
        return f"pairwise:{PROMPTS}.{READING} {self._rubric.identity}{flags} {self._dialogue.identity}"

    async def compare(self, task: Task, a: Attempt, b: Attempt) -> Preference:
        """Compares `a` and `b`; exchanging them exchanges the verdict. Raises TaskError where the rubric needs a
        reference answer that the task lacks."""
        if a.text == b.text:
            return Preference(JudgeState.TIE, None, (SAME, SAME), calls=0)
        if not self._both_orders:
            exchanged = shows_second_first(a, b)
            said = await (self._order(task, b, a) if exchanged else self._order(task, a, b))
            return one_order(_verdict(said), exchanged, said.calls)
        forward, backward = await together(self._order(task, a, b), self._order(task, b, a))
        return both_orders(_verdict(forward), _verdict(backward), forward.calls + backward.calls)

    async def close(self) -> None:
        await self._dialogue.close()

    async def _order(self, task: Task, first: Attempt, second: Attempt) -> Said[Winner]:
        def question(structured: bool) -> Question:
            form, special = Form(structured, self._reasons), self._dialogue.special_tokens
            prompt = pairwise_prompt(self._rubric, task, first, second, form, special=special)
            return Question(prompt.messages, repair_form(None, structured))

        return await self._dialogue.judge(question, read_winner)


def both_orders(forward: OrderVerdict, backward: OrderVerdict, calls: int) -> Preference:
    """The preference that two orders make: `forward` showed a first, `backward` b. Where both failed, each in its
    way, the failure is named alike whichever answer is called a."""
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


def _named(verdict: OrderVerdict, exchanged: bool) -> Literal["a", "b"] | None:
    if verdict.winner is None:
        return None
    return "a" if (verdict.winner == "first") is not exchanged else "b"


def _verdict(said: Said[Winner]) -> OrderVerdict:
    winner = None if said.read is None else said.read.winner
    return OrderVerdict(said.state, winner, said.text, said.detail)
