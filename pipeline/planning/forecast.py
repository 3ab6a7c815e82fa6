"""A pilot: some tasks sampled first, to forecast what all of them will take and bring, with intervals.

The pilot's tasks are drawn at random from those to be sampled, by the run's seed; its attempts are in the ledger and
count for the whole run. Intervals are 95 % bootstrap percentiles over the pilot's tasks (Efron and Tibshirani 1993,
chapter 13), and Wilson's for the coverage. Time is the time of all requests divided by the teacher's slots: a server
that slows under load takes longer than its pilot says.

    run("recipe.yaml", pilot=50).tokens     # Forecast(value=812_000, low=742_000, high=893_000)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stillroom.common.formatting import duration, money, number, share
from stillroom.common.printing import Terminal, columns, terminal
from stillroom.common.records import Outcome, StopReason, Task
from stillroom.common.stats.bootstrap import bootstrap
from stillroom.common.stats.intervals import wilson
from stillroom.errors import InputError
from stillroom.pipeline.run.flow import FlowResult
from stillroom.sampling.limits import Prices


class Forecast(NamedTuple):
    """An expected total with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PilotResult(FlowResult):
    """What the pilot took, and what all tasks are expected to. `usd` is None without prices. `seconds` of sampling;
    `kept`: traces that will be kept before the filters; `coverage`: share of tasks that are satisfied."""

    folder: Path
    pilot_tasks: int
    tasks: int
    attempts: Forecast
    tokens: Forecast
    seconds: Forecast
    kept: Forecast
    coverage: Forecast
    usd: Forecast | None

    def show(self, console: Terminal | None = None) -> None:
        console = console or terminal()
        numbers = ("expected", "95 % from", "to")
        table = columns(f"forecast for {self.tasks:,} tasks, from {self.pilot_tasks:,}", *numbers, right=numbers)
        table.add_row("attempts", *map(number, self.attempts))
        table.add_row("tokens", *map(number, self.tokens))
        if self.usd is not None:
            table.add_row("US dollars", *(money(value) for value in self.usd))
        table.add_row("time", *map(duration, self.seconds))
        table.add_row("traces kept, before filters", *map(number, self.kept))
        table.add_row("tasks satisfied", *map(share, self.coverage))
        console.print(table)
        console.print("the pilot's attempts are kept: the same command without --pilot goes on from them")


def choose(tasks: Sequence[Task], count: int, seed: int) -> list[Task]:
    """The pilot's tasks, in the order of all. Raises InputError for a pilot of none."""
    if count < 2:
        raise InputError(f"--pilot is {count}: an interval needs at least 2 tasks")
    chosen = set(random.Random(f"pilot {seed}").sample(range(len(tasks)), min(count, len(tasks))))
    return [task for place, task in enumerate(tasks) if place in chosen]


def forecast(
    folder: Path, outcomes: Sequence[Outcome], tasks: int, slots: int, prices: Prices | None, seed: int
) -> PilotResult:
    """What `tasks` tasks will take and bring, from the outcomes of some of them."""
    scale = tasks / len(outcomes)

    def total(measure: Callable[[Outcome], float]) -> Forecast:
        each = [measure(outcome) for outcome in outcomes]
        found = bootstrap(range(len(each)), lambda weights: weights @ each, seed=seed, value=sum(each))
        return Forecast(*(scale * value for value in found[:3]))

    def usd(outcome: Outcome) -> float:
        attempts = [scored.attempt for scored in outcome.attempts]
        tokens = sum(a.prompt_tokens for a in attempts), sum(a.completion_tokens for a in attempts)
        return 0.0 if prices is None else prices.of(*tokens)

    satisfied = sum(outcome.stop is StopReason.SATISFIED for outcome in outcomes)
    share = wilson(satisfied, len(outcomes))
    return PilotResult(
        folder=folder,
        pilot_tasks=len(outcomes),
        tasks=tasks,
        attempts=total(lambda o: len(o.attempts)),
        tokens=total(lambda o: sum(s.attempt.prompt_tokens + s.attempt.completion_tokens for s in o.attempts)),
        seconds=total(lambda o: sum(s.attempt.latency_s for s in o.attempts) / slots),
        kept=total(lambda o: len(o.kept)),
        coverage=Forecast(satisfied / len(outcomes), share.low, share.high),
        usd=None if prices is None else total(usd),
    )
