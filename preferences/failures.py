"""Judge failures: how many, and whether they fall on some source or length rather than on all alike.

A judgement that failed says nothing of the answer, but it is not missing at random: long answers overflow the judge,
odd ones break its format. Where failures gather, the pairs say less about those answers than about the rest.

    found = failures(slates)
    found.all, found.by_source["teacher"], found.concentrated
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.common.stats.intervals import Interval, wilson
from stillroom.preferences.lengths import length
from stillroom.preferences.records import Judged, Slate

TERCILES = ("short", "middle", "long")


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
