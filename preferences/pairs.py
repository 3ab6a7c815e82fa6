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
from dataclasses import dataclass, replace
from math import isfinite
from typing import NamedTuple

from stillroom.common.hashing import digest
from stillroom.common.records import Prompt
from stillroom.errors import InputError
from stillroom.preferences.candidates import same_text
from stillroom.preferences.lengths import LengthReport, fit, length, matched, report
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
    left_out: list[LeftOut] = []
    by_slate = [list(_usable(slate, settings, seed, left_out)) for slate in slates]
    lost = Counter(left.reason for left in left_out)
    slope = None
    if settings.length == "residual":  # each score becomes what is left of it without what length explains
        found = fit([[(entry.points, entry.size) for entry in entries] for entries in by_slate])
        slope = found.slope
        by_slate = [
            [replace(entry, score=found.adjusted(entry.points, entry.size)) for entry in entries]
            for entries in by_slate
        ]
    least_gap = settings.margin
    if settings.strategy == "margin_quantile":
        every_gap = [gap for entries in by_slate for gap in gaps(entries)]
        least_gap = quantile(every_gap, settings.quantile) if every_gap else None

    prompt, pairs = Prompt(system=system), list[Pair]()
    kept_out, without = Counter[str](), Counter[str]()  # pairs, and slates that give none, by reason
    for slate, entries in zip(slates, by_slate, strict=True):
        proposals = _proposals(Answers(slate, entries, settings, least_gap), kept_out)
        if isinstance(proposals, LeftOut):
            without[proposals.reason] += 1
            left_out.append(proposals)
            continue
        for chosen, rejected, gap in proposals:
            messages = prompt.messages(slate.task)
            pairs.append(Pair(slate.task, messages, chosen.judged, rejected.judged, gap, settings.strategy))
    counts = BuiltCounts(
        slates=len(slates),
        with_pairs=len({pair.task.id for pair in pairs}),
        slates_left_out=dict(sorted(without.items())),
        candidates=sum(len(slate.judged) for slate in slates),
        usable=sum(map(len, by_slate)),
        candidates_left_out=dict(sorted(lost.items())),
        pairs=len(pairs),
        below_margin=kept_out["below_margin"],
        length_mismatch=kept_out["length_mismatch"],
        over_limit=kept_out["over_limit"],
        threshold=least_gap,
    )
    return Built(tuple(pairs), tuple(left_out), report(pairs, slope), counts)


def _usable(slate: Slate, settings: PairSettings, seed: int, left_out: list[LeftOut]) -> Iterator[Entry]:
    """The answers that can enter pairs, in a fixed order; the others are left out with their reason."""
    taken: dict[str, str] = {}
    # Of equal texts the student's own stays, then the one with the better score.
    for judged in sorted(slate.judged, key=_preferred):
        name, score, text = judged.candidate.id, judged.score, same_text(judged.candidate.text)
        if judged.failed:
            reason = LeftOut(name, "judge_failed", f"{judged.state}: {judged.detail}".rstrip(": "))
        elif not length(judged.candidate.text):
            reason = LeftOut(name, "empty")
        elif score is None and settings.strategy != "tournament":
            reason = LeftOut(name, "no_score", judged.state.value)
        elif score is not None and not isfinite(score):
            reason = LeftOut(name, "no_score", f"the score is {score}")
        elif text in taken:
            reason = LeftOut(name, "same_text", f"as {taken[text]}")
        else:
            taken[text] = name
            yield Entry(judged, score, digest([seed, judged.candidate.text]))
            continue
        left_out.append(reason)


def _preferred(judged: Judged) -> tuple[bool, float, str, int]:
    candidate, score = judged.candidate, judged.score
    best_first = -score if score is not None and isfinite(score) else float("inf")
    return (not candidate.on_policy, best_first, candidate.source, candidate.index)


def _proposals(answers: Answers, kept_out: Counter[str]) -> list[Proposal] | LeftOut:
    """The pairs of a task, or why there are none. `kept_out`: counts those that a margin, the length control or the
    limit keep out of a task with others."""
    settings, task = answers.settings, answers.slate.task.id
    if len(answers.entries) < 2:
        detail = f"{len(answers.entries)} of {len(answers.slate.judged)} answers can enter a pair"
        return LeftOut(task, "too_few", detail)
    ranked = rank(answers)
    kept_out["below_margin"] += ranked.below_margin
    if ranked.reason is not None:
        return LeftOut(task, ranked.reason)
    fitting = ranked.proposals
    if settings.length == "matched":
        fitting = [each for each in fitting if matched(each.chosen.text, each.rejected.text, settings.max_ratio)]
    if not fitting:
        return LeftOut(task, "length_mismatch", f"no pair within a ratio of {settings.max_ratio:g}")
    if not ranked.many:
        return fitting[:1]
    kept_out["length_mismatch"] += len(ranked.proposals) - len(fitting)
    kept_out["over_limit"] += len(fitting[settings.per_task :])
    return fitting[: settings.per_task]


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
