"""Policies: decide from a task's draws whether to draw more, and why it stopped.

Stopping looks only at the draws in draw order, up to the first that is still open: what is kept then depends on the
draws alone and never on which of them came back first, which would prefer short answers. How many draws to have in
flight is a matter of speed only; it follows the expected number still needed under a Beta posterior of the task's
pass rate, whose prior is the pass rate of the run so far.

>>> Until(per_task=1, max_attempts=4).stop([State.REJECTED, State.ACCEPTED])
<StopReason.SATISFIED: 'satisfied'>
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stillroom.sampling.records import State, StopReason

# Weight of the run's pass rate in a task's posterior, in draws. Small: tasks differ a lot.
PRIOR_STRENGTH = 2.0


class Until(BaseModel):
    """Draw until `per_task` are accepted, at most `max_attempts` times.

    `give_up_after`: stop early when that many draws brought none accepted; null never does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_task: int = Field(default=1, ge=1)
    max_attempts: int = Field(default=8, ge=1)
    give_up_after: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> Until:
        if self.max_attempts < self.per_task:
            raise ValueError(
                f"max_attempts is {self.max_attempts}, below per_task {self.per_task}: no task could be satisfied"
            )
        return self

    def stop(self, states_T: Sequence[State]) -> StopReason | None:
        """Why a task whose resolved draws, in draw order, are `states_T` stops; None: it goes on."""
        if sum(s is State.ACCEPTED for s in states_T) >= self.per_task:
            return StopReason.SATISFIED
        if len(states_T) >= self.max_attempts:
            return StopReason.EXHAUSTED
        limit = self.give_up_after
        if limit is not None and len(states_T) >= limit and State.ACCEPTED not in states_T[:limit]:
            return StopReason.GAVE_UP
        return None

    def wanted(self, accepted: int, resolved: int, run_rate: float) -> int:
        """How many draws to have in flight for a task with `accepted` of `resolved` draws accepted.

        `run_rate`: accepted share of all draws of the run so far, in (0, 1).
        """
        rate = (accepted + PRIOR_STRENGTH * run_rate) / (resolved + PRIOR_STRENGTH)
        needed = max(0, self.per_task - accepted)
        return max(0, min(math.ceil(needed / rate), self.max_attempts - resolved))
