"""Where a budget draws next: as a look at all tasks would say, without looking at all tasks."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Attempt, ScoredAttempt, State, Task, Verdict, user
from stillroom.sampling.draws import TaskDraws
from stillroom.sampling.ledger import Recorded
from stillroom.sampling.policy import Budget, Tally
from stillroom.sampling.spending import Next, Spending

POLICY = Budget(policy="budget", tokens=10**9, per_task=2, max_attempts=5)
Spend = Literal["cheapest", "difficulty"]


def budget(spend: Spend) -> Budget:
    return POLICY.model_copy(update={"spend": spend})


def opened(number: int, policy: Budget = POLICY) -> TaskDraws:
    return TaskDraws(Task(str(number), user("?"), None, "test"), user("?"), str(number), "s", policy, None)


def attempt(draws: TaskDraws, index: int, tokens: int) -> Attempt:
    return Attempt(draws.task.id, index, "", None, "stop", 1, tokens, None, 0.0, "t")


def resolve(draws: TaskDraws, index: int, tokens: int, state: State) -> None:
    draws.resolve(index, ScoredAttempt(attempt(draws, index, tokens), Verdict(state, "")))


def by_looking_at_all(
    tasks: list[TaskDraws], policy: Budget, rate: float, mean: float, free_only: bool
) -> Next | None:
    """What the core did before: the first draw on record, else the lowest price, ties to the task opened first."""
    best: tuple[float, Next] | None = None
    for draws in tasks:
        index = draws.next_index(rate)
        if index is None:
            continue
        if index in draws.on_record:
            return Next(draws, index)
        price = policy.price(
            draws.tally, (draws.tokens + mean) / (draws.tally.spent + draws.tally.unscored + 1), rate
        )
        if not free_only and (best is None or price < best[0]):
            best = (price, Next(draws, index))
    return None if best is None else best[1]


@given(st.data(), st.sampled_from(["cheapest", "difficulty"]))
def test_it_draws_where_a_look_at_all_tasks_would(data: Any, spend: Spend) -> None:
    policy = budget(spend)
    tasks = [opened(number, policy) for number in range(data.draw(st.integers(1, 6)))]
    spending, running = Spending(policy), list[Next]()
    for draws in tasks:
        for index in data.draw(st.sets(st.integers(0, 3), max_size=2)):
            draws.on_record[index] = Recorded(1, attempt(draws, index, 3), None)
        spending.add(draws)
    for _ in range(data.draw(st.integers(1, 25))):
        if running and data.draw(st.booleans()):
            done = running.pop(data.draw(st.integers(0, len(running) - 1)))
            del done.draws.running[done.draw]
            resolve(done.draws, done.draw, data.draw(st.integers(1, 50)), data.draw(st.sampled_from(State)))
            if done.draws.stop is None:
                spending.add(done.draws)
            else:
                spending.drop(done.draws)
            continue
        rate, mean = data.draw(st.floats(0.05, 0.95)), data.draw(st.integers(1, 40)) + 0.5
        free_only = data.draw(st.booleans())
        still = [draws for draws in tasks if draws.stop is None]
        expected = by_looking_at_all(still, policy, rate, mean, free_only)
        found = spending.take(rate, mean, free_only=free_only)
        assert found == expected
        if found is not None:
            found.draws.running[found.draw] = asyncio.Future(loop=LOOP)  # type: ignore[assignment]
            running.append(found)
            spending.add(found.draws)


LOOP = asyncio.new_event_loop()
LOOP.close()


@pytest.mark.parametrize("number", [10, 10_000])
def test_the_work_of_a_draw_does_not_grow_with_the_tasks(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    priced = list[Tally]()
    price = Budget.price

    def counted(policy: Budget, tally: Tally, tokens: float, rate: float) -> float:
        priced.append(tally)
        return price(policy, tally, tokens, rate)

    monkeypatch.setattr(Budget, "price", counted)
    spending = Spending(POLICY)
    for i in range(number):
        draws = opened(i)
        for index in range(i % 3):
            resolve(draws, index, 5 + i % 7, State.REJECTED)
        spending.add(draws)
    assert spending.take(0.5, 10.0) is not None
    assert len(priced) == 3  # one for each tally: no draw, one, two


def test_draws_on_record_come_first_and_alone_once_all_is_spent() -> None:
    spending, first, second = Spending(POLICY), opened(0), opened(1)
    second.on_record[0] = Recorded(1, attempt(second, 0, 3), None)
    spending.add(first)
    spending.add(second)
    assert spending.take(0.5, 10.0, free_only=True) == Next(second, 0)
    assert spending.take(0.5, 10.0, free_only=True) is None
    assert spending.take(0.5, 10.0) == Next(first, 0)
