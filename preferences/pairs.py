"""From judged candidates to pairs: strategy, length control, a limit for each task.

    built = build_pairs(slates, PairSettings(strategy="best_worst", length="matched"), seed=0)
    built.pairs, built.left_out, built.counts.as_dict()

All slates are of one judge: quantiles and residuals are its own. Candidates are joined by id, never by position. A
candidate whose judgement failed enters no pair: its failure says nothing of the answer. Every slate gives pairs, or
stands in `left_out` under its task's id with the reason:

- `too_few`: less than two answers with a judgement;
- `tie`: all that could meet have the same score (or a tournament found one answer best and worst);
- `below_margin`: no gap reaches the margin, or the quantile of the judge's gaps;
- `length_mismatch`: pairs, but none of matched length;
- `not_on_policy`: not enough answers of the student;
- `no_tournament`, `contradicted`: the tournament has no best and worst, or the scores say the opposite.

Candidates stand there under their own ids: `judge_failed`, `no_score` (none, or none that is a number), `same_text`,
`empty`. Pairs that a margin, the length control or the limit of a task kept out of a task with others are counted.

Slates and settings decide, nothing else: neither the order of candidates nor what they are called. `seed` decides
between pairs that are wanted equally.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any, NamedTuple

from stillroom.common.hashing import digest
from stillroom.common.records import Prompt
from stillroom.errors import InputError
from stillroom.preferences.candidates import same_text
from stillroom.preferences.failures import FailureReport, failures
from stillroom.preferences.lengths import Fit, LengthReport, fit, length, matched, report
from stillroom.preferences.records import Judged, LeftOut, Pair, Slate
from stillroom.preferences.settings import PairSettings
from stillroom.preferences.strategies import Answers, Entry, Proposal, gaps, quantile, rank


@dataclass(frozen=True, slots=True)
class BuiltCounts:
    """What became of the slates. `slates`: all of them; `with_pairs`: those that gave some; the rest by reason.

    `candidates`: that were given, `usable`: that could enter a pair, the rest by reason. `below_margin`,
    `length_mismatch`, `over_limit`: pairs that a margin, the length control and the limit of a task kept out of it.
    `threshold`: the least gap of the strategy's pairs in points, None where it has none.
    """

    slates: int
    with_pairs: int
    slates_left_out: Mapping[str, int]
    candidates: int
    usable: int
    candidates_left_out: Mapping[str, int]
    pairs: int
    below_margin: int
    length_mismatch: int
    over_limit: int
    threshold: float | None
    failures: FailureReport

    def as_dict(self) -> dict[str, Any]:
        return asdict(replace(self, failures=FailureReport(None, {}, {}, {}))) | {"failures": self.failures.as_dict()}


class Built(NamedTuple):
    """Pairs in the order of the slates, what was left out, and what is to be told of both."""

    pairs: tuple[Pair, ...]
    left_out: tuple[LeftOut, ...]
    lengths: LengthReport
    counts: BuiltCounts


def build_pairs(
    slates: Sequence[Slate], settings: PairSettings, *, system: str | None = None, seed: int = 0
) -> Built:
    """Pairs of one judge's slates.

    `system`: the student's own system prompt, in place of the tasks' (None: the tasks' own). Raises InputError where
    two slates are of one task, or a slate holds a candidate of another task or one candidate twice.
    """
    _check(slates)
    return _Builder(slates, settings, Prompt(system=system), seed).build()


class _Builder:
    def __init__(self, slates: Sequence[Slate], settings: PairSettings, prompt: Prompt, seed: int) -> None:
        self._slates, self._settings, self._prompt, self._seed = slates, settings, prompt, seed
        self._left_out: list[LeftOut] = []
        self._kept_out: Counter[str] = Counter()
        self._without: Counter[str] = Counter()  # slates that give no pair
        self._entries = [list(self._usable(slate)) for slate in slates]
        self._lost = Counter(left.reason for left in self._left_out)
        self._fit: Fit | None = None
        if settings.length == "residual":  # each score becomes what is left of it without what length explains
            self._fit = fit([[(e.score or 0.0, _size(e)) for e in task] for task in self._entries])
            self._entries = [[_adjusted(entry, self._fit) for entry in task] for task in self._entries]
        self._least_gap = self._threshold()

    def build(self) -> Built:
        of_slates = [
            self._of_slate(slate, entries) for slate, entries in zip(self._slates, self._entries, strict=True)
        ]
        pairs = tuple(pair for found in of_slates for pair in found)
        slope = None if self._fit is None else self._fit.slope
        return Built(pairs, tuple(self._left_out), report(pairs, slope), self._counts(pairs))

    # -- candidates ------------------------------------------------------------------------------------------

    def _usable(self, slate: Slate) -> Iterator[Entry]:
        """The answers that can enter pairs, in a fixed order; the others are left out with their reason."""
        taken: dict[str, str] = {}
        # Of equal texts the student's own stays, then the one with the better score.
        for judged in sorted(slate.judged, key=_preferred):
            candidate, text = judged.candidate, same_text(judged.candidate.text)
            reason = self._unfit(judged)
            if reason is None and text in taken:
                reason = LeftOut(candidate.id, "same_text", f"as {taken[text]}")
            if reason is not None:
                self._left_out.append(reason)
                continue
            taken[text] = candidate.id
            yield Entry(judged, judged.score, digest([self._seed, candidate.text]))

    def _unfit(self, judged: Judged) -> LeftOut | None:
        what, needs_score = judged.candidate.id, self._settings.strategy != "tournament"
        if judged.failed:
            return LeftOut(what, "judge_failed", f"{judged.state}: {judged.detail}".rstrip(": "))
        if not length(judged.candidate.text):
            return LeftOut(what, "empty")
        if judged.score is None:
            return LeftOut(what, "no_score", judged.state.value) if needs_score else None
        return None if isfinite(judged.score) else LeftOut(what, "no_score", f"the score is {judged.score}")

    def _threshold(self) -> float | None:
        if self._settings.strategy == "margin":
            return self._settings.margin
        if self._settings.strategy != "margin_quantile":
            return None
        found = [gap for entries in self._entries for gap in gaps(entries)]
        return quantile(found, self._settings.quantile) if found else None

    # -- pairs -----------------------------------------------------------------------------------------------

    def _of_slate(self, slate: Slate, entries: Sequence[Entry]) -> list[Pair]:
        if len(entries) < 2:
            return self._none(slate, "too_few", f"{len(entries)} of {len(slate.judged)} answers can enter a pair")
        ranked = rank(Answers(entries, self._settings, self._least_gap, slate.best, slate.worst))
        self._kept_out["below_margin"] += ranked.below_margin
        if ranked.reason is not None:
            return self._none(slate, ranked.reason)
        fitting = [proposal for proposal in ranked.proposals if self._matched(proposal)]
        if not fitting:
            return self._none(slate, "length_mismatch", f"no pair within a ratio of {self._settings.max_ratio:g}")
        if not ranked.many:
            return [self._pair(slate, fitting[0])]
        self._kept_out["length_mismatch"] += len(ranked.proposals) - len(fitting)
        limit = self._settings.per_task
        self._kept_out["over_limit"] += len(fitting[limit:])
        return [self._pair(slate, proposal) for proposal in fitting[:limit]]

    def _none(self, slate: Slate, reason: str, detail: str = "") -> list[Pair]:
        self._without[reason] += 1
        self._left_out.append(LeftOut(slate.task.id, reason, detail))
        return []

    def _matched(self, proposal: Proposal) -> bool:
        a, b = proposal.chosen.judged.candidate.text, proposal.rejected.judged.candidate.text
        return self._settings.length != "matched" or matched(a, b, self._settings.max_ratio)

    def _pair(self, slate: Slate, proposal: Proposal) -> Pair:
        return Pair(
            task=slate.task,
            prompt=self._prompt.messages(slate.task),
            chosen=proposal.chosen.judged,
            rejected=proposal.rejected.judged,
            margin=proposal.gap,
            strategy=self._settings.strategy,
        )

    def _counts(self, pairs: Sequence[Pair]) -> BuiltCounts:
        return BuiltCounts(
            slates=len(self._slates),
            with_pairs=len({pair.task.id for pair in pairs}),
            slates_left_out=dict(sorted(self._without.items())),
            candidates=sum(len(slate.judged) for slate in self._slates),
            usable=sum(map(len, self._entries)),
            candidates_left_out=dict(sorted(self._lost.items())),
            pairs=len(pairs),
            below_margin=self._kept_out["below_margin"],
            length_mismatch=self._kept_out["length_mismatch"],
            over_limit=self._kept_out["over_limit"],
            threshold=self._least_gap,
            failures=failures(self._slates),
        )


def _preferred(judged: Judged) -> tuple[bool, float, str, int]:
    candidate, score = judged.candidate, judged.score
    best_first = -score if score is not None and isfinite(score) else float("inf")
    return (not candidate.on_policy, best_first, candidate.source, candidate.index)


def _size(entry: Entry) -> int:
    return length(entry.judged.candidate.text)


def _adjusted(entry: Entry, found: Fit) -> Entry:
    return entry if entry.score is None else replace(entry, score=found.adjusted(entry.score, _size(entry)))


def _check(slates: Sequence[Slate]) -> None:
    tasks: set[str] = set()
    for slate in slates:
        if slate.task.id in tasks:
            raise InputError(f"two slates are of task {slate.task.id!r}: put all its candidates into one")
        tasks.add(slate.task.id)
        ids: set[str] = set()
        for judged in slate.judged:
            candidate = judged.candidate
            if candidate.task_id != slate.task.id:
                other = f"another task than {slate.task.id!r}, its slate's"
                raise InputError(f"candidate {candidate.id!r} answers {other}")
            if candidate.id in ids:
                raise InputError(f"candidate {candidate.id!r} is twice in its slate: give each judgement once")
            ids.add(candidate.id)
