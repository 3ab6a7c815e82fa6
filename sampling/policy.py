"""Policies: decide from a task's draws whether to draw more, why it stopped, and where the next draw is worth most.

Only an accepted or a rejected attempt spends a draw. What could not be scored (cut off, unreadable) is not
evidence about the task; it has a separate limit, so that a task always ends.

Stopping looks at the draws in draw order, up to the first that is still open: what is kept then depends on the draws
alone and never on which of them came back first, which would prefer short answers. `order: arrival` gives that up.

In flight, a task has the draws that it needs in any case; none of them is wasted. Only where slots would stand idle
(no other task wants one) it is given what it is expected to need, under a Beta posterior of its pass rate with the
pass rate of the run as prior.

>>> Until(per_task=1, max_attempts=4).stop(Tally(accepted=1, rejected=1))
<StopReason.SATISFIED: 'satisfied'>
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from stillroom.common.records import State, StopReason
from stillroom.common.registry import Registry
from stillroom.common.settings import Settings

# Weight of the run's pass rate in a task's posterior, in draws. Small: tasks differ a lot.
PRIOR_STRENGTH = 2.0
CONFIDENCE = 0.95
"""Of the upper bound of a pass rate that decides whether a task is hopeless."""


class Tally(NamedTuple):
    """What a task's draws have come to, those that count towards stopping it."""

    accepted: int = 0
    rejected: int = 0
    unscored: int = 0

    @property
    def spent(self) -> int:
        """Draws that were spent: unscored ones are not."""
        return self.accepted + self.rejected

    def plus(self, state: State) -> Tally:
        """With one more attempt."""
        return self._replace(**{state.value: getattr(self, state.value) + 1})


class _Policy(Settings):
    """What the policies share."""

    order: Literal["draw", "arrival"] = "draw"
    """Which accepted attempts are kept: the first in draw order, or by `arrival`, a little sooner but biased to short
    answers."""
    max_unscored: int | None = Field(default=None, ge=1)
    """Attempts without a verdict that a task may have; null: as many as draws."""
    escalate: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Token limits under which an attempt is drawn again while it is cut off, in place of the teacher's
    `max_tokens`; empty: what is cut off is dropped."""

    @model_validator(mode="after")
    def _rising(self) -> _Policy:
        if list(self.escalate) != sorted(set(self.escalate)):
            raise ValueError(f"escalate is {list(self.escalate)}: each limit must be above the one before")
        return self

    @property
    def draws(self) -> int:
        """Draws that a task may spend."""
        raise NotImplementedError

    def stop(self, tally: Tally) -> StopReason | None:
        """Why a task with these draws stops; None: it goes on."""
        raise NotImplementedError

    def needed(self, tally: Tally) -> int:
        """Draws that are needed in any case before the task can stop."""
        raise NotImplementedError

    def expected(self, tally: Tally, run_rate: float) -> int:
        """Draws that are expected to be needed; as a rule no more than are needed in any case. `run_rate`: accepted
        share of all draws of the run, in (0, 1)."""
        return self.needed(tally)

    def overdraw(self, tally: Tally, running: int, run_rate: float) -> float:
        """How many of the draws under way are expected not to be needed, were they answered in draw order; none where
        no task is given more than it needs in any case."""
        return 0.0

    def _out_of_draws(self, tally: Tally) -> bool:
        return tally.spent >= self.draws or self._unscored_left(tally) <= 0

    def _unscored_left(self, tally: Tally) -> int:
        """Further draws that, all unscored, would end the task."""
        return (self.max_unscored or self.draws) - tally.unscored


policies: Registry[_Policy] = Registry("policy", tag="policy", default="until")
"""The policies by their names in a recipe."""


@policies.register
class Until(_Policy):
    """Draw until enough are accepted."""

    policy: Literal["until"] = "until"
    per_task: int = Field(default=1, ge=1)
    """Accepted attempts to keep of a task."""
    max_attempts: int = Field(default=8, ge=1)
    """Draws of a task at most."""
    give_up_after: int | None = Field(default=None, ge=1)
    """Stop a task early if this many draws brought none accepted; null: never."""
    give_up_below: float | None = Field(default=None, gt=0, lt=1)
    """Stop a task when its chance to be satisfied falls below this, were its pass rate at the upper 95 % bound;
    null: never."""

    @model_validator(mode="after")
    def _possible(self) -> Until:
        if self.max_attempts < self.per_task:
            raise ValueError(
                f"max_attempts is {self.max_attempts}, below per_task {self.per_task}: no task could be satisfied"
            )
        return self

    @property
    def draws(self) -> int:
        return self.max_attempts

    def stop(self, tally: Tally) -> StopReason | None:
        if tally.accepted >= self.per_task:
            return StopReason.SATISFIED
        if self._out_of_draws(tally):
            return StopReason.EXHAUSTED
        limit = self.give_up_after
        if limit is not None and tally.rejected >= limit and not tally.accepted:
            return StopReason.GAVE_UP
        if self.give_up_below is not None:
            best = upper_bound(tally.accepted, tally.rejected)
            if chance_of(self.per_task - tally.accepted, self.draws - tally.spent, best) < self.give_up_below:
                return StopReason.GAVE_UP
        return None

    def needed(self, tally: Tally) -> int:
        """As many as are missing, since fewer cannot satisfy it; but no more than would end it, all rejected or all
        unscored."""
        missing = min(self.per_task - tally.accepted, self.draws - tally.spent, self._unscored_left(tally))
        for rejected in range(1, missing):
            if self.stop(tally._replace(rejected=tally.rejected + rejected)) is not None:
                return rejected
        return max(0, missing)

    def expected(self, tally: Tally, run_rate: float) -> int:
        """What is missing, divided by the posterior mean of the pass rate."""
        missing = max(0, self.per_task - tally.accepted)
        return max(0, min(math.ceil(missing / _pass_rate(tally, run_rate)), self.draws - tally.spent))

    def overdraw(self, tally: Tally, running: int, run_rate: float) -> float:
        """The k-th of them is not needed where those before it bring all that is missing.

        >>> Until(per_task=1).overdraw(Tally(), 2, run_rate=0.5)
        0.5
        """
        missing, rate = max(0, self.per_task - tally.accepted), _pass_rate(tally, run_rate)
        return math.fsum(chance_of(missing, before, rate) for before in range(running))


@policies.register
class Fixed(_Policy):
    """Draw the same number for every task, whatever comes back."""

    policy: Literal["fixed"]
    attempts: int = Field(ge=1)
    """Draws of each task."""
    per_task: int | None = Field(default=None, ge=1)
    """Accepted attempts to keep of a task; null: all."""

    @property
    def draws(self) -> int:
        return self.attempts

    def stop(self, tally: Tally) -> StopReason | None:
        """When all are drawn: satisfied if as many were accepted as are to be kept, or any."""
        if not self._out_of_draws(tally):
            return None
        return StopReason.SATISFIED if tally.accepted >= (self.per_task or 1) else StopReason.EXHAUSTED

    def needed(self, tally: Tally) -> int:
        return max(0, min(self.draws - tally.spent, self._unscored_left(tally)))


@policies.register
class Budget(_Policy):
    """Spend a total over all tasks. What their draws on record have cost counts, whichever call paid for them. All
    tasks are held open, and so in memory."""

    policy: Literal["budget"]
    tokens: int | None = Field(default=None, ge=1)
    """Completion tokens to spend in all; this or `usd`."""
    usd: float | None = Field(default=None, gt=0)
    """US dollars to spend in all; needs `prices`."""
    per_task: int = Field(default=4, ge=1)
    """Accepted attempts to keep of a task."""
    max_attempts: int = Field(default=16, ge=1)
    """Draws of a task at most."""
    spend: Literal["cheapest", "difficulty"] = "cheapest"
    """`cheapest` draws next where an accepted trace is expected to cost least (mean tokens of the task's draws over
    the posterior mean of its pass rate). `difficulty` gives each task a share in proportion to how often it fails
    (after "Prop2Diff" of DART-Math, arXiv:2407.13690), at least one draw."""

    @model_validator(mode="after")
    def _has_a_total(self) -> Budget:
        if self.tokens is None and self.usd is None:
            raise ValueError("budget needs a total: tokens, or usd with prices")
        return self

    @property
    def draws(self) -> int:
        return self.max_attempts

    def stop(self, tally: Tally) -> StopReason | None:
        """When its share is accepted, or it is out of draws. The total is the core's to watch."""
        if tally.accepted >= self.share(tally):
            return StopReason.SATISFIED
        return StopReason.EXHAUSTED if self._out_of_draws(tally) else None

    def share(self, tally: Tally) -> int:
        """How many accepted traces a task is to bring: all tasks the same, or hard ones more."""
        if self.spend == "cheapest":
            return self.per_task
        failing = (tally.rejected + 1) / (tally.spent + 2)
        return max(1, round(self.per_task * min(1.0, 2 * failing)))

    def needed(self, tally: Tally) -> int:
        """One at a time: each answer may change where the next is worth most."""
        return int(self.stop(tally) is None)

    def price(self, tally: Tally, tokens: float, run_rate: float) -> float:
        """Expected tokens for the next accepted trace of a task whose draws take `tokens` on average; tasks that lack
        most of their share first where `spend` is `difficulty`."""
        if self.spend == "cheapest":
            return tokens / _pass_rate(tally, run_rate)
        return -(self.share(tally) - tally.accepted) / self.share(tally)


class EveryDraw(Fixed):
    """A fixed number of draws of each task, whatever comes out of them.

    For measuring: what cannot be scored is not drawn again, or the number of draws would depend on how they came out
    and every measure over them would be biased."""

    def stop(self, tally: Tally) -> StopReason | None:
        if tally.spent + tally.unscored < self.attempts:
            return None
        return StopReason.SATISFIED if tally.accepted else StopReason.EXHAUSTED

    def needed(self, tally: Tally) -> int:
        return max(0, self.attempts - tally.spent - tally.unscored)


ONCE = Until(per_task=1, max_attempts=1)
"""One answer to each task: what a user of the model would get. What cannot be scored is drawn again, a few times."""


Policy = Annotated[Until | Fixed | Budget, policies.field()]
"""Any of them, by the key `policy`; without it `until`."""


def _pass_rate(tally: Tally, run_rate: float) -> float:
    """The posterior mean of a task's pass rate."""
    return (tally.accepted + PRIOR_STRENGTH * run_rate) / (tally.spent + PRIOR_STRENGTH)


@lru_cache(maxsize=4096)
def upper_bound(accepted: int, rejected: int) -> float:
    """The upper 95 % bound of a pass rate: the quantile of the posterior Beta(1 + accepted, 1 + rejected).

    With a uniform prior and whole numbers its distribution function is a binomial tail (Abramowitz and Stegun
    26.5.24), so that bisection finds the quantile without a table.
    """
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if chance_of(accepted + 1, accepted + rejected + 1, middle) < CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def chance_of(successes: int, draws: int, rate: float) -> float:
    """The chance of at least `successes` in `draws` independent draws that succeed at `rate`."""
    if successes <= 0:
        return 1.0
    terms = (math.comb(draws, k) * rate**k * (1 - rate) ** (draws - k) for k in range(successes, draws + 1))
    return min(1.0, math.fsum(terms))
