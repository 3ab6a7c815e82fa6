"""The guard of the self-distillation loop: did this round do damage? Each measure against the round before.

    now, before = facts_of(answers, traces=kept), facts_of(answers_before, traces=kept_before)
    report = guard(now, before, GuardSettings(), seed=7)
    report.passed, [check.sentence for check in report.failures]

A measure is worse where the whole 95 % interval of its change lies beyond its tolerance. A round that passes is not
shown to be better or as good, only not shown to be worse; a slow decline that no single round shows passes. What
cannot be compared is not a failure: it is named in `not_checked`, with its reason.

False alarms, simulated with the default tolerances: of 1,000 rounds with two students of equal quality and 100
held-out tasks, and two families of 100 untrained tasks, 4.0 % were rolled back by chance (accuracy alone
3.0 %); with 300 tasks 1.4 %, with 50 3.9 %. Power, at 100 tasks of which half were right: it sees a fall by 10 points
in 35 % of rounds, by 20 in 89 %, by 30 in 99 %.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Literal

from pydantic import Field

from stillroom.common.formatting import interval, number, points, share
from stillroom.common.records import ScoredAttempt
from stillroom.common.settings import Settings
from stillroom.common.stats.bootstrap import mean_over_tasks, ratio_over_tasks
from stillroom.common.stats.intervals import PairedCounts, paired_difference
from stillroom.evaluation.diversity import FEWEST, Items, distinct_change, runs, whole
from stillroom.evaluation.forgetting import TextLoss, exp_of, exp_of_all
from stillroom.evaluation.metrics import answer_words, repeats, right

ACCURACY, STOPPED, REPETITION, PERPLEXITY = "accuracy", "share_stopped", "share_repeating", "perplexity"
DISTINCT_TEXTS, DISTINCT_RUNS, UNTRAINED = "distinct_traces", "distinct_4", "untrained"
LENIENT = "untrained_lenient"
NAMES = {
    ACCURACY: "accuracy",
    STOPPED: "share that stops",
    REPETITION: "share that repeats itself",
    DISTINCT_TEXTS: "share of distinct traces",
    DISTINCT_RUNS: "share of distinct runs of 4 words",
    UNTRAINED: "accuracy on what was not trained",
    PERPLEXITY: "perplexity on held-out text",
}
OFF = "switched off"


class GuardSettings(Settings):
    """How much worse each measure may be than before; null: not looked at.

    The defaults: accuracy is what the loop is for, so any fall that is shown counts. Stopping and repetition have 2
    points, for they sit at an end of their scale, where intervals are narrow and a point harms nobody. Diversity has
    30 %: a teacher that repeats one trace loses more than 90 %, a student's traces held against its teacher's were
    within 2 %. Forgetting has 5 points and perplexity 10 %, since training on anything costs a little of the rest.
    """

    accuracy: float | None = Field(default=0.0, ge=0, lt=1)
    """Held-out accuracy, as a share (0.02: 2 points)."""
    stopped: float | None = Field(default=0.02, ge=0, lt=1)
    """Share of answers that stop."""
    repetition: float | None = Field(default=0.02, ge=0, lt=1)
    """Share of answers that repeat themselves."""
    diversity: float | None = Field(default=0.3, ge=0, lt=1)
    """Diversity of the traces, as a part of what it was (0.5: by half)."""
    forgetting: float | None = Field(default=0.05, ge=0, lt=1)
    """Accuracy on what was not trained, as a share."""
    forgetting_by: Literal["strict", "lenient"] = "strict"
    """Which accuracy `forgetting` looks at: `strict`, the scorer's; `lenient`, right when the answer stopped and its
    last number is the reference. A kind of tasks without numbers as references is always looked at strictly."""
    perplexity: float | None = Field(default=0.1, ge=0)
    """Perplexity on held-out text, as a part of what it was."""


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """What is known of a student, by task id; each may be empty where it was not measured.

    `right`, `stopped`, `repeating`: of its greedy answer to each held-out task, 1 or 0 (or a mean over several).
    `traces`: the texts that were kept in its round, none for the base before any. `untrained`: by family, whether it
    was right on each task of what was not trained; `lenient`: the same, read leniently. `losses`: on held-out text,
    by the text's id.
    """

    right: Mapping[str, float] = field(default_factory=dict)
    stopped: Mapping[str, float] = field(default_factory=dict)
    repeating: Mapping[str, float] = field(default_factory=dict)
    traces: Mapping[str, Sequence[str]] = field(default_factory=dict)
    untrained: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    losses: Mapping[str, TextLoss] = field(default_factory=dict)
    lenient: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def facts_of(
    answers: Mapping[str, ScoredAttempt],
    *,
    traces: Mapping[str, Sequence[str]] | None = None,
    untrained: Mapping[str, Mapping[str, float]] | None = None,
    lenient: Mapping[str, Mapping[str, float]] | None = None,
    losses: Mapping[str, TextLoss] | None = None,
) -> RoundFacts:
    """From a student's one greedy answer to each held-out task; the rest is handed on."""
    return RoundFacts(
        right={task: float(right(a)) for task, a in answers.items()},
        stopped={task: float(a.attempt.finish_reason == "stop") for task, a in answers.items()},
        repeating={task: float(repeats(answer_words(a.attempt))) for task, a in answers.items()},
        traces=traces or {},
        untrained=untrained or {},
        losses=losses or {},
        lenient=lenient or {},
    )


@dataclass(frozen=True, slots=True)
class Check:
    """One measure of one round against the round before.

    `measure`: as in `eval.json`, `untrained:<family>` for what was not trained, `untrained_lenient:<family>` where
    it was read leniently. `now`, `before`: on the tasks that
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
    def sentence(self) -> str:
        """`share that stops fell from 98 % to 3 %, −95 points [−99, −88], tolerance 2`."""
        before, now = (
            number(value, 2) if self.measure == PERPLEXITY else share(value, trim=True)
            for value in (self.before, self.now)
        )
        moved = f"{'rose' if self.now > self.before else 'fell'} from {before} to {now},"
        if before == now:
            moved = f"stayed at {now},"
        unit = "%" if self.relative else "points"
        change = f"{points(self.difference, trim=True)} {unit} {interval(self.low, self.high, trim=True)}"
        tolerance = f"tolerance {100 * self.tolerance:g}{' %' if self.relative else ''}"
        return f"{measure_name(self.measure)} {moved} {change}, {tolerance}"


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
        checks = [asdict(check) | {"worse": check.worse, "sentence": check.sentence} for check in self.checks]
        return {"passed": self.passed, "checks": checks, "not_checked": dict(self.not_checked)}


def measure_name(measure: str) -> str:
    """A measure, as people say it."""
    kind, _, family = measure.partition(":")
    if not family:
        return NAMES.get(kind, kind)
    how = ", read leniently" if kind == LENIENT else ""
    return f"accuracy on {family.replace('_', ' ')} (not trained{how})"


def guard(now: RoundFacts, before: RoundFacts, settings: GuardSettings, *, seed: int) -> GuardReport:
    """Holds a round against the one before, on the tasks and texts that both have.

    Shares of 0 and 1 have Newcombe's interval for pairs, other values a paired bootstrap over tasks or texts;
    diversity, whose tasks may be others, samples of both sides. The order of tasks decides nothing.
    """
    found: dict[str, Check | str] = {
        ACCURACY: _paired(ACCURACY, now.right, before.right, settings.accuracy, seed),
        STOPPED: _paired(STOPPED, now.stopped, before.stopped, settings.stopped, seed),
        REPETITION: _paired(REPETITION, now.repeating, before.repeating, settings.repetition, seed, rises=True),
        DISTINCT_TEXTS: _diversity(DISTINCT_TEXTS, now, before, whole, settings.diversity, seed),
        DISTINCT_RUNS: _diversity(DISTINCT_RUNS, now, before, runs, settings.diversity, seed),
    }
    families = sorted(now.untrained.keys() | before.untrained.keys())
    for family in families:
        leniently = settings.forgetting_by == "lenient" and any(side.lenient.get(family) for side in (now, before))
        measure = f"{LENIENT if leniently else UNTRAINED}:{family}"
        of_now, of_before = (
            (side.lenient if leniently else side.untrained).get(family, {}) for side in (now, before)
        )
        found[measure] = _paired(measure, of_now, of_before, settings.forgetting, seed)
    if not families:
        found[UNTRAINED] = OFF if settings.forgetting is None else "not measured"
    found[PERPLEXITY] = _perplexity(now.losses, before.losses, settings.perplexity, seed)
    checks = tuple(check for check in found.values() if isinstance(check, Check))
    return GuardReport(checks, {measure: why for measure, why in found.items() if isinstance(why, str)})


def _unfit(now: Mapping[str, object], before: Mapping[str, object]) -> str | None:
    """Why the two sides cannot be compared."""
    missing = [when for when, side in (("before", before), ("in this round", now)) if not side]
    if missing:
        return f"not measured {' nor '.join(missing)}"
    return None if now.keys() & before.keys() else "nothing in common was measured"


def _paired(
    measure: str,
    now: Mapping[str, float],
    before: Mapping[str, float],
    tolerance: float | None,
    seed: int,
    *,
    rises: bool = False,
) -> Check | str:
    if tolerance is None:
        return OFF
    if (why := _unfit(now, before)) is not None:
        return why
    shared = sorted(now.keys() & before.keys())
    pairs = [(now[task], before[task]) for task in shared]
    table = Counter(pairs)
    counts = PairedCounts(table[1, 1], table[1, 0], table[0, 1], table[0, 0])
    if counts.n == len(pairs):
        found = paired_difference(counts)
    else:
        found = mean_over_tasks({f"{i:09}": a - b for i, (a, b) in enumerate(pairs)}, seed=seed)
    return Check(
        measure,
        fmean(a for a, _ in pairs),
        fmean(b for _, b in pairs),
        *found[:3],
        tolerance,
        found.n,
        rises=rises,
        left_out=len(now.keys() ^ before.keys()),
    )


def _diversity(
    measure: str, now: RoundFacts, before: RoundFacts, items: Items, tolerance: float | None, seed: int
) -> Check | str:
    if tolerance is None:
        return OFF
    counts = [sum(map(bool, side.traces.values())) for side in (now, before)]
    if not all(counts):
        return f"no traces {'before' if not counts[1] else 'in this round'}"
    found = distinct_change(now.traces, before.traces, items, seed=seed)
    if found is None:
        return f"{counts[0]} tasks with traces in this round, {counts[1]} before: {FEWEST} are needed to tell"
    change = found.relative
    return Check(measure, found.now.value, found.before.value, *change[:3], tolerance, change.n, relative=True)


def _perplexity(
    now: Mapping[str, TextLoss], before: Mapping[str, TextLoss], tolerance: float | None, seed: int
) -> Check | str:
    if tolerance is None:
        return OFF
    sides = [{text: loss for text, loss in side.items() if loss.tokens} for side in (now, before)]
    if (why := _unfit(*sides)) is not None:
        return why
    shared = sorted(sides[0].keys() & sides[1].keys())
    if any(now[text].tokens != before[text].tokens for text in shared):
        return "the texts have other numbers of tokens: with another tokenizer, perplexity says nothing"
    means = [sum(side[text].nats for text in shared) / sum(side[text].tokens for text in shared) for side in sides]
    rise = ratio_over_tasks({t: (now[t].nats - before[t].nats, now[t].tokens) for t in shared}, seed=seed)
    assert rise is not None  # every text has tokens
    change = exp_of_all(rise)
    return Check(
        PERPLEXITY,
        exp_of(means[0]),
        exp_of(means[1]),
        change.value - 1,
        change.low - 1,
        change.high - 1,
        tolerance,
        rise.n,
        rises=True,
        relative=True,
        left_out=len(sides[0].keys() ^ sides[1].keys()),
    )
