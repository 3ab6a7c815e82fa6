"""What the guard says of one round: each measure with its change, and the whole.

    check = Check("share_stopped", now=0.03, before=0.98, difference=-0.95, low=-0.99, high=-0.88,
                  tolerance=0.02, n=100)
    check.worse, check.sentence

Plain records, and the words for them; how they come about is in `guard`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ACCURACY, STOPPED, REPETITION, PERPLEXITY = "accuracy", "share_stopped", "share_repeating", "perplexity"
DISTINCT_TEXTS, DISTINCT_RUNS, UNTRAINED = "distinct_traces", "distinct_4", "untrained"
NAMES = {
    ACCURACY: "accuracy",
    STOPPED: "share that stops",
    REPETITION: "share that repeats itself",
    DISTINCT_TEXTS: "share of distinct traces",
    DISTINCT_RUNS: "share of distinct runs of 4 words",
    UNTRAINED: "accuracy on what was not trained",
    PERPLEXITY: "perplexity on held-out text",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One measure of one round against the round before.

    `measure`: as in `eval.json`, `untrained:<family>` for what was not trained. `now`, `before`: on the tasks that
    both have. `difference`, `low`, `high`: now − before; where `relative`, over before. `rises`: harm is a rise, not
    a fall. `n`: tasks, or texts; `left_out`: those that one side lacks.
    """

    measure: str
    now: float
    before: float
    difference: float
    low: float
    high: float
    tolerance: float
    n: int
    rises: bool = False
    relative: bool = False
    left_out: int = 0

    @property
    def worse(self) -> bool:
        """Whether the whole interval lies beyond the tolerance."""
        return self.low > self.tolerance if self.rises else self.high < -self.tolerance

    @property
    def name(self) -> str:
        """The measure, as people say it."""
        return measure_name(self.measure)

    @property
    def sentence(self) -> str:
        """`share that stops fell from 98 % to 3 %, −95 points [−99, −88], tolerance 2`."""
        unit = "%" if self.relative else "points"
        change, low, high = (_signed(x) for x in (self.difference, self.low, self.high))
        moved = f"{self.name} {self._moved} {change} {unit} [{low}, {high}]"
        return f"{moved}, tolerance {100 * self.tolerance:g}{' %' if self.relative else ''}"

    @property
    def _moved(self) -> str:
        before, now = self._shown(self.before), self._shown(self.now)
        if before == now:
            return f"stayed at {now},"
        return f"{'rose' if self.now > self.before else 'fell'} from {before} to {now},"

    def _shown(self, value: float) -> str:
        return f"{value:,.2f}" if self.measure == PERPLEXITY else f"{_hundredths(value)} %"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        own = {name: getattr(self, name) for name in self.__slots__}
        return own | {"worse": self.worse, "sentence": self.sentence}


@dataclass(frozen=True, slots=True)
class GuardReport:
    """`not_checked`: measures that could not be compared, with the reason."""

    checks: tuple[Check, ...]
    not_checked: Mapping[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The measures that got worse beyond their tolerance."""
        return tuple(check for check in self.checks if check.worse)

    @property
    def passed(self) -> bool:
        """Whether nothing got worse beyond its tolerance."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        checks = [check.as_dict() for check in self.checks]
        return {"passed": self.passed, "checks": checks, "not_checked": dict(self.not_checked)}


def measure_name(measure: str) -> str:
    """A measure, as people say it."""
    kind, _, family = measure.partition(":")
    return f"accuracy on {family.replace('_', ' ')} (not trained)" if family else NAMES.get(kind, kind)


def _hundredths(share: float) -> str:
    """With a decimal where there is one."""
    return f"{100 * share:,.1f}".removesuffix(".0")


def _signed(change: float) -> str:
    """Hundredths with their sign; what rounds to nothing has none."""
    size = _hundredths(abs(change))
    return size if size == "0" else f"{'−' if change < 0 else '+'}{size}"
