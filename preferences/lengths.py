"""Lengths of answers, and the judge's failures: control while pairs are made, and the reports of what came out.

Judges prefer longer answers beyond what their quality explains, and DPO amplifies it (Park et al. 2024,
https://arxiv.org/abs/2403.19159). Length is counted in characters, since every source counts its own tokens.

*Matched*: of two answers the longer is at most a given multiple of the shorter. *Residual*: each score without what
length explains of it. The slope is that of score on log length within tasks (each task has its own mean of both: a
task that calls for long answers and is easy would pass for a preference of length otherwise), over all tasks of the
judge, by least squares. A score at the data set's mean log length stays what it is.

A judgement that failed says nothing of the answer, but it is not missing at random: long answers overflow the judge,
odd ones break its format. Where failures gather on a source or a length, the pairs say less about those answers.

>>> matched("four", "seventeen letters", 2.0)
False
>>> fit([[(1.0, 10), (2.0, 100)], [(3.0, 10), (4.0, 100)]]).adjusted(4.0, 100)
3.5
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import fsum, log, sqrt
from statistics import variance
from typing import Any, NamedTuple

from stillroom.common.stats.intervals import Interval, mean_interval, wilson
from stillroom.preferences.records import Judged, Pair, Slate

TERCILES = ("short", "middle", "long")


def length(text: str) -> int:
    """Characters, white space at both ends apart."""
    return len(text.strip())


def matched(a: str, b: str, max_ratio: float) -> bool:
    """Whether the longer of two texts is at most `max_ratio` times as long as the shorter; not with an empty one."""
    short, long = sorted((length(a), length(b)))
    return short > 0 and long <= max_ratio * short


class Fit(NamedTuple):
    """Score on log length. `slope`: points for a length e times as long. `centre`: mean log length."""

    slope: float
    centre: float

    def adjusted(self, score: float, characters: int) -> float:
        """The score without what length explains."""
        return score - self.slope * (log(characters) - self.centre)


def fit(tasks: Iterable[Sequence[tuple[float, int]]]) -> Fit:
    """The fit over (score, characters) of the answers to each task. Without any spread of length the slope is 0.

    The order of tasks and answers does not matter, to the last digit.
    """
    products: list[float] = []
    squares: list[float] = []
    logs: list[float] = []
    for answers in tasks:
        scores, sizes = [score for score, _ in answers], [log(characters) for _, characters in answers]
        logs += sizes
        if answers:
            score, size = fsum(scores) / len(scores), fsum(sizes) / len(sizes)
            products += [(s - score) * (x - size) for s, x in zip(scores, sizes, strict=True)]
            squares += [(x - size) ** 2 for x in sizes]
    spread = fsum(squares)
    # Equal lengths leave a spread of rounding errors only.
    slope = fsum(products) / spread if spread > 1e-12 * max(1, len(logs)) else 0.0
    return Fit(slope, fsum(logs) / len(logs) if logs else 0.0)


@dataclass(frozen=True, slots=True)
class LengthReport:
    """Characters of the chosen and the rejected side of pairs; each with its 95 % interval, None without any pair.

    `gap`: chosen minus rejected, pair by pair. `effect`: the mean gap in pooled standard deviations, None where
    lengths do not vary. `longer_chosen`: share of the pairs of unequal length in which the longer side is chosen.
    `slope`: what `length: residual` took out, in points for a length e times as long; None without it.
    """

    pairs: int
    chosen: Interval | None
    rejected: Interval | None
    gap: Interval | None
    effect: float | None
    longer_chosen: Interval | None
    slope: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: intervals as objects."""
        found = asdict(self)
        return {k: v._asdict() if isinstance(v, Interval) else v for k, v in found.items()}


def report(pairs: Sequence[Pair], slope: float | None = None) -> LengthReport:
    """Lengths of the pairs."""
    sides = [(pair.chosen.candidate.text, pair.rejected.candidate.text) for pair in pairs]
    return report_of(sides, slope)


def report_of(sides: Sequence[tuple[str, str]], slope: float | None = None) -> LengthReport:
    """Lengths of (chosen, rejected) texts."""
    if not sides:
        return LengthReport(0, None, None, None, None, None, slope)
    chosen, rejected = [length(a) for a, _ in sides], [length(b) for _, b in sides]
    gaps = [a - b for a, b in zip(chosen, rejected, strict=True)]
    unequal = [gap for gap in gaps if gap]
    effect = None
    if len(sides) > 1 and (pooled := sqrt((variance(chosen) + variance(rejected)) / 2)):
        effect = (fsum(chosen) - fsum(rejected)) / len(chosen) / pooled  # Cohen's d with the mean of both variances
    return LengthReport(
        pairs=len(sides),
        chosen=mean_interval(chosen),
        rejected=mean_interval(rejected),
        gap=mean_interval(gaps),
        effect=effect,
        longer_chosen=wilson(sum(gap > 0 for gap in unequal), len(unequal)) if unequal else None,
        slope=slope,
    )


# -- failures of the judge -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FailureReport:
    """Share of failed judgements with 95 % intervals: of all candidates, by their source, and by their length among
    all that were judged (`short`, `middle`, `long`: thirds, equal lengths in one). `by_state`: failures by kind.
    `all` is None where nothing was judged.
    """

    all: Interval | None
    by_source: Mapping[str, Interval]
    by_length: Mapping[str, Interval]
    by_state: Mapping[str, int]

    @property
    def failed(self) -> int:
        """Judgements that failed."""
        return sum(self.by_state.values())

    @property
    def concentrated(self) -> tuple[str, ...]:
        """Sources and lengths whose interval lies wholly above the share of all: "source x", "long"."""
        if self.all is None:
            return ()
        above = self.all.value
        sources = [f"source {name}" for name, share in self.by_source.items() if share.low > above]
        return (*sources, *(name for name, share in self.by_length.items() if share.low > above))

    def as_dict(self) -> dict[str, Any]:
        return {
            "all": None if self.all is None else self.all._asdict(),
            "by_source": {name: share._asdict() for name, share in self.by_source.items()},
            "by_length": {name: share._asdict() for name, share in self.by_length.items()},
            "by_state": dict(self.by_state),
            "concentrated": list(self.concentrated),
        }


def failures(slates: Iterable[Slate]) -> FailureReport:
    """The failures among all candidates of the slates."""
    judged = [each for slate in slates for each in slate.judged]
    ordered = sorted(length(each.candidate.text) for each in judged) or [0]
    short, middle = (ordered[share * (len(ordered) - 1) // 3] for share in (1, 2))  # the longest of the first thirds

    def third(each: Judged) -> str:
        size = length(each.candidate.text)
        return TERCILES[(size > short) + (size > middle)]

    by_length = _shares(judged, third)
    states = Counter(each.state.value for each in judged if each.failed)
    return FailureReport(
        all=wilson(states.total(), len(judged)) if judged else None,
        by_source=dict(sorted(_shares(judged, lambda each: each.candidate.source).items())),
        by_length={name: by_length[name] for name in TERCILES if name in by_length},
        by_state=dict(sorted(states.items())),
    )


def _shares(judged: Sequence[Judged], group: Callable[[Judged], str]) -> dict[str, Interval]:
    seen, failed = Counter(map(group, judged)), Counter(group(each) for each in judged if each.failed)
    return {name: wilson(failed[name], count) for name, count in seen.items()}
