"""A documented fake: a judge with known faults over qualities that only it is told. For tests and simulations.

What it perceives of an answer is `centre + slope · quality + error`, in points of its scale. `error` is its own and
the same whenever it sees the answer: no repetition averages it away. Around that its distribution over the scale's
points is a normal one of the width `spread`, as a model's over its tokens is soft; the expected rating is its mean,
a single draw one point of it. Of two answers it perceives the difference, with the noise of two such draws in each
order, plus `position_bias` for the one shown first; below `tie_width` it says tie. So position bias, coarse ratings,
ties and failures are there to be had in any amount, and a seed decides all: by text, not by id, order or time.

It follows both protocols, of ratings and of comparisons.

    judge = ScriptedJudge(lambda attempt: qualities[attempt.text], "table 1", Noise(error=0.5, position_bias=0.3))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Literal

from pydantic import Field

from stillroom.common.hashing import digest
from stillroom.common.records import Attempt, Task
from stillroom.errors import InputError
from stillroom.judges.records import (
    JudgeState,
    OrderVerdict,
    Preference,
    Rating,
    both_orders,
    one_order,
    shows_second_first,
)
from stillroom.judges.registry import JudgeBase, Made, Place, judges

VERSION = 1
_normal = NormalDist().inv_cdf


@dataclass(frozen=True, slots=True)
class Noise:
    """In points of the scale, but for the shares. `shared`: of the variance of `error`, what all scripted judges have
    in common, whatever their seed. `failures`: of all requests, how many come to no judgement."""

    error: float = 0.5
    spread: float = 0.7
    shared: float = 0.0
    position_bias: float = 0.0
    tie_width: float = 0.0
    failures: float = 0.0

    def __post_init__(self) -> None:
        widths = (self.error, self.spread, self.tie_width)
        if min(widths) < 0 or not 0 <= self.shared <= 1 or not 0 <= self.failures <= 1:
            raise InputError(f"{self}: widths must not be negative, and shares must lie in 0..1")


class ScriptedJudge:
    """`quality`: what an answer is truly worth, called `name` in the judge's identity. `expected`: rates by the mean
    of its distribution, else by one draw of it. `scale`: whole numbers. `both_orders`: of a pair, else one that a
    hash of the texts decides."""

    def __init__(
        self,
        quality: Callable[[Attempt], float],
        name: str,
        noise: Noise = Noise(),
        *,
        seed: int = 0,
        scale: tuple[int, int] = (1, 5),
        centre: float | None = None,
        slope: float = 1.0,
        expected: bool = True,
        both_orders: bool = True,
    ) -> None:
        self._quality, self._name, self._noise, self._seed = quality, name, noise, seed
        self._points, self._slope, self._expected = range(scale[0], scale[1] + 1), slope, expected
        self._both_orders = both_orders
        self._centre = sum(scale) / 2 if centre is None else centre
        self.scale = (float(scale[0]), float(scale[1]))
        made = [asdict(noise), seed, list(self._points), self._centre, slope, expected, both_orders]
        self.identity = f"scripted:{VERSION}:{name}:{digest(made, 12)}"

    async def rate(self, task: Task, answer: Attempt) -> Rating:
        """A rating, without a request to anybody; it counts as one call."""
        if self._share("fails", task, answer.text) < self._noise.failures:
            return Rating(JudgeState.PARSE_FAILED, None, detail="a scripted failure")
        # Probabilities of the points: a normal density at each, normalised.
        centre = self._perceived(task, answer)
        width = max(self._noise.spread, 1e-3)  # without a spread, all of it on the nearest point
        exponents = [-((point - centre) ** 2) / (2 * width**2) for point in self._points]
        densities = [math.exp(exponent - max(exponents)) for exponent in exponents]
        total = math.fsum(densities)
        weights = [density / total for density in densities]
        score = math.fsum(p * w for p, w in zip(self._points, weights, strict=True))
        if not self._expected:
            left = self._share("draw", task, answer.text)
            score = float(self._points[-1])
            for point, weight in zip(self._points, weights, strict=True):
                left -= weight
                if left < 0:
                    score = float(point)
                    break
        return Rating(JudgeState.OK, score, {"quality": score}, self._expected)

    async def compare(self, task: Task, a: Attempt, b: Attempt) -> Preference:
        """A preference; each order counts as a call."""
        if self._both_orders:
            return both_orders(self._order(task, a, b), self._order(task, b, a), 2)
        exchanged = shows_second_first(a, b)
        return one_order(self._order(task, b, a) if exchanged else self._order(task, a, b), exchanged, 1)

    async def close(self) -> None:
        """Nothing to free."""

    def _order(self, task: Task, first: Attempt, second: Attempt) -> OrderVerdict:
        texts = (first.text, second.text)
        if self._share("fails", task, *texts) < self._noise.failures:
            return OrderVerdict(JudgeState.PARSE_FAILED, None, detail="a scripted failure")
        noise = self._noise.spread * math.sqrt(2) * _normal(self._share("order", task, *texts))
        lead = self._perceived(task, first) - self._perceived(task, second) + self._noise.position_bias + noise
        if abs(lead) <= self._noise.tie_width:
            return OrderVerdict(JudgeState.TIE, None)
        return OrderVerdict(JudgeState.OK, "first" if lead > 0 else "second")

    def _perceived(self, task: Task, answer: Attempt) -> float:
        own = _normal(self._share("error", task, answer.text))
        common = _normal(self._share("error", task, answer.text, own=False))
        error = math.sqrt(1 - self._noise.shared) * own + math.sqrt(self._noise.shared) * common
        return self._centre + self._slope * self._quality(answer) + self._noise.error * error

    def _share(self, what: str, task: Task, *texts: str, own: bool = True) -> float:
        """A number in (0, 1) that a hash decides; where it is not this judge's own, the same for all."""
        asked = [message.content for message in task.messages]
        whose = [self._name, self._seed] if own else []
        return (int(digest([what, *whose, asked, *texts], 12), 16) + 0.5) / 16**12


QUALITIES: dict[str, Callable[[Attempt], float]] = {
    "longer": lambda attempt: len(attempt.text) / 200,
    "shorter": lambda attempt: -len(attempt.text) / 200,
    "random": lambda attempt: int(digest(["quality", attempt.text], 8), 16) / 2**31 - 1,
}
"""What a scripted judge takes for the truth, about -1 to 1 for usual answers."""


@judges.register
class ScriptedJudgeSettings(JudgeBase):
    """A fake with known faults, for trying out everything around a judge. Its scale is 1 to 5; see `Noise` in
    `scripted.py`."""

    kind: Literal["scripted"]
    quality: Literal["longer", "shorter", "random"] = "random"
    """What it takes for the truth: `longer` or `shorter` answers, or nothing visible (`random`)."""
    mode: Literal["pointwise", "pairwise", "tournament"] = "pointwise"
    """Whether it rates each candidate, compares two, or runs a tournament."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of its errors."""
    error: float = Field(default=0.5, ge=0)
    """Standard deviation of its errors, in points."""
    spread: float = Field(default=0.7, ge=0)
    """Width of the distribution of one rating, in points."""
    position_bias: float = 0.0
    """Points that it adds to the answer shown first."""
    tie_width: float = Field(default=0.0, ge=0)
    """Difference in points below which it calls a tie."""
    failures: float = Field(default=0.0, ge=0, le=1)
    """Share of requests that come to no judgement."""
    expected: bool = True
    """Rate by the mean of its distribution, not by one draw."""

    @property
    def compares(self) -> bool:
        return self.mode != "pointwise"

    def make(self, place: Place) -> Made:
        noise = Noise(
            error=self.error,
            spread=self.spread,
            position_bias=self.position_bias,
            tie_width=self.tie_width,
            failures=self.failures,
        )
        judge = ScriptedJudge(QUALITIES[self.quality], self.quality, noise, seed=self.seed, expected=self.expected)
        return Made(judge, None) if self.mode == "pointwise" else Made(None, judge)
