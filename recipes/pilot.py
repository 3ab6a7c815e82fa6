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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.errors import InputError
from stillroom.sampling.limits import Prices
from stillroom.sampling.records import Outcome, StopReason, Task
from stillroom.sampling.statistics import wilson

RESAMPLES = 2_000


class Forecast(NamedTuple):
    """An expected total with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PilotResult:
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

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        plain = asdict(self) | {"folder": str(self.folder)}
        named = {key: getattr(self, key) for key in ("attempts", "tokens", "seconds", "kept", "coverage", "usd")}
        return plain | {key: None if each is None else each._asdict() for key, each in named.items()}


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
    totals = _Totals(outcomes, tasks, random.Random(f"bootstrap {seed}"))
    satisfied = sum(outcome.stop is StopReason.SATISFIED for outcome in outcomes)
    share = wilson(satisfied, len(outcomes))
    return PilotResult(
        folder=folder,
        pilot_tasks=len(outcomes),
        tasks=tasks,
        attempts=totals.of(lambda o: len(o.attempts)),
        tokens=totals.of(lambda o: sum(s.attempt.prompt_tokens + s.attempt.completion_tokens for s in o.attempts)),
        seconds=totals.of(lambda o: sum(s.attempt.latency_s for s in o.attempts) / slots),
        kept=totals.of(lambda o: len(o.kept)),
        coverage=Forecast(satisfied / len(outcomes), share.low, share.high),
        usd=None if prices is None else totals.of(lambda o: _usd(o, prices)),
    )


def _usd(outcome: Outcome, prices: Prices) -> float:
    attempts = [scored.attempt for scored in outcome.attempts]
    return prices.of(sum(a.prompt_tokens for a in attempts), sum(a.completion_tokens for a in attempts))


class _Totals:
    """Totals over all tasks, from a sample of them; the same resamples for every total."""

    def __init__(self, outcomes: Sequence[Outcome], tasks: int, rng: random.Random) -> None:
        self._outcomes, self._scale = outcomes, tasks / len(outcomes)
        self._resamples = [rng.choices(range(len(outcomes)), k=len(outcomes)) for _ in range(RESAMPLES)]

    def of(self, measure: Callable[[Outcome], float]) -> Forecast:
        """The expected total of a measure."""
        each = [measure(outcome) for outcome in self._outcomes]
        sums = sorted(sum(each[k] for k in resample) for resample in self._resamples)
        low, high = sums[int(0.025 * RESAMPLES)], sums[int(0.975 * RESAMPLES)]
        return Forecast(*(self._scale * value for value in (sum(each), low, high)))
