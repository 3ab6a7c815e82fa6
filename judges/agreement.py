"""How well a judge agrees with people, and what else could explain it: the order shown, or the length.

Everything is counted in the order shown (first, second), both orders together, so it does not matter which answer
of a pair is called a. Failures are left out here (`failures` counts them): they are not wins, losses or ties.

    accuracy        of one judgement; a tie where people named a winner is worth a half, as a coin would get
    final_accuracy  of both orders together; a tie or a conflict is right only where people said tie
    decided         of the pairs for which both orders name one winner: what a pair built from it is worth
    kappa           Cohen's (1960): order verdicts against labels, three categories (first, second, tie). People's
                    labels come out half first, half second, so chance agreement holds the judge's habits alone
    final_kappa     the same for the final verdict, a conflict being a tie
    consistency     share of pairs of which both orders say the same
    first           share of order verdicts with a winner in which it is the one shown first
    length          Spearman's (1904) correlation of the verdict with the difference in characters
    longer          accuracy of "the longer answer wins" on the pairs that were judged
    beats_longer    accuracy minus that of "longer wins", pair by pair

An interval is None where nothing was measured. Limits are 95 %: Wilson's where each pair counts once, Wilson's for
clusters where it counts twice, else the percentile bootstrap over pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isnan
from typing import Any, Literal, NamedTuple

from stillroom.common.stats.bootstrap import bootstrap
from stillroom.common.stats.intervals import Interval, clustered_share, wilson
from stillroom.judges.human_labels import LabelledPair
from stillroom.judges.records import FAILURES, OrderVerdict, Preference, Rating

Said = Literal["a", "b", "tie"]
Place = Literal["first", "second", "tie"]
_PLACES: tuple[Place, ...] = ("first", "second", "tie")
_SIGN = {"first": 1.0, "second": -1.0, "tie": 0.0}
Sums = tuple[float, ...]
"""What one pair adds to the sums that a statistic is computed from."""


class Order(NamedTuple):
    """An order verdict, and whether a was the one shown first."""

    verdict: OrderVerdict
    a_first: bool

    @property
    def said(self) -> Said | None:
        """The answer that it names, or tie. None where it failed."""
        if self.verdict.state in FAILURES:
            return None
        if self.verdict.winner is None:
            return "tie"
        return "a" if (self.verdict.winner == "first") is self.a_first else "b"


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """What a judge made of a labelled pair. `orders`: those that were asked, none for a pointwise judge. `final`:
    None where it failed. `ratings`: of a and b, None for a judge that compares."""

    pair: LabelledPair
    orders: tuple[Order, ...]
    final: Said | None
    calls: int
    ratings: tuple[Rating, Rating] | None = None


class Shown(NamedTuple):
    """One order verdict. `label`: what people say, by place. `longer`: characters of the first minus the second."""

    said: Place
    label: Place
    longer: int


def compared(pair: LabelledPair, preference: Preference) -> JudgedPair:
    """Of a pairwise judge. A preference that failed before any order was asked failed in both."""
    orders = preference.orders or (OrderVerdict(preference.state, None),) * 2
    a_first: tuple[bool, ...] = (True, False)
    if len(orders) < 2:
        # The winner tells which order was asked. Without one it does not matter, as long as it does not hang on the
        # names a and b: by text.
        named, shown = preference.winner == "a", orders[0].winner == "first"
        a_first = (pair.a.text < pair.b.text if preference.winner is None else named is shown,)
    final: Said | None = None if preference.failed else preference.winner or "tie"
    placed = tuple(Order(*order) for order in zip(orders, a_first, strict=True))
    return JudgedPair(pair, placed, final, preference.calls)


def rated(pair: LabelledPair, a: Rating, b: Rating) -> JudgedPair:
    """Of a pointwise judge: the higher score wins, equal scores are a tie. There are no orders to it."""
    final: Said | None = None
    if a.score is not None and b.score is not None:
        final = "tie" if a.score == b.score else "a" if a.score > b.score else "b"
    return JudgedPair(pair, (), final, a.calls + b.calls, (a, b))


def verdicts(judged: JudgedPair) -> tuple[Shown, ...]:
    """The order verdicts that did not fail. A pointwise judge would say the same in both orders."""
    pair = judged.pair
    longer = len(pair.a.text) - len(pair.b.text)
    said = [(order.said, order.a_first) for order in judged.orders] or [(judged.final, True), (judged.final, False)]
    return tuple(
        Shown(_place(answer, a_first), _place(pair.label, a_first), longer if a_first else -longer)
        for answer, a_first in said
        if answer is not None
    )


def _place(answer: Said, a_first: bool) -> Place:
    return "tie" if answer == "tie" else "first" if (answer == "a") is a_first else "second"


def _longer_wins(shown: Shown) -> Place:
    return "tie" if shown.longer == 0 else "first" if shown.longer > 0 else "second"


def _credit(said: Place, label: Place) -> float:
    return 1.0 if said == label else 0.5 if said == "tie" else 0.0


def accuracy(judged: Sequence[JudgedPair]) -> Interval | None:
    """Of one judgement."""
    # Those that rest on separate judgements: one a pair where the judge was shown no order.
    shown = [verdicts(one) if one.orders else verdicts(one)[:1] for one in judged]
    return clustered_share([(sum(_credit(v.said, v.label) for v in vs), len(vs)) for vs in shown])


def consistency(judged: Sequence[JudgedPair]) -> Interval | None:
    """Of the pairs judged in both orders. None for a pointwise judge."""
    said = [[order.said for order in one.orders] for one in judged if len(one.orders) == 2]
    return _share([one == other for one, other in said if one is not None and other is not None])


def measures(judged: Sequence[JudgedPair], *, seed: int) -> dict[str, Interval | None]:
    """All that the module lists, by name, and how length correlates with people's labels (a judge may follow it as
    far as people do) and with a pointwise judge's scores. None: nothing was measured, or it does not apply."""
    shown = [verdicts(one) for one in judged]
    seen = [vs for vs in shown if vs]
    final = [one for one in judged if one.final is not None]
    # Each final verdict counts under both names of its answers.
    finals = [verdicts(JudgedPair(one.pair, (), one.final, 0)) for one in final]
    winners = [[v.said for v in verdicts(one) if v.said != "tie"] for one in judged if one.orders]
    gaps = [
        (sum(_credit(v.said, v.label) - _credit(_longer_wins(v), v.label) for v in vs) / len(vs), 1.0) for vs in seen
    ]
    scores = [
        [
            (len(answer.text), rating.score)
            for answer, rating in zip((one.pair.a, one.pair.b), one.ratings, strict=True)
            if rating.score is not None
        ]
        for one in judged
        if one.ratings
    ]
    per_judgement = accuracy(judged)
    questions = per_judgement.n if per_judgement else 0
    return {
        "accuracy": per_judgement,
        "final_accuracy": _share([one.final == one.pair.label for one in final]),
        "decided_accuracy": _share([one.final == one.pair.label for one in final if one.final != "tie"]),
        "kappa": _over_pairs([_confusion(vs) for vs in seen], _kappa, n=questions, seed=seed),
        "final_kappa": _over_pairs([_confusion(vs) for vs in finals], _kappa, n=len(final), seed=seed),
        "consistency": consistency(judged),
        "first": clustered_share([(float(places.count("first")), len(places)) for places in winners]),
        "length_correlation": _correlation([[(v.longer, _SIGN[v.said]) for v in vs] for vs in shown], seed),
        "label_length_correlation": _correlation([[(v.longer, _SIGN[v.label]) for v in vs] for vs in shown], seed),
        "score_length_correlation": _correlation(scores, seed),
        "longer_accuracy": clustered_share([(_credit(_longer_wins(vs[0]), vs[0].label), 1) for vs in seen]),
        "beats_longer": _over_pairs(gaps, lambda sums: sums[0] / sums[1], n=len(gaps), seed=seed),
    }


def _share(right: Sequence[bool]) -> Interval | None:
    return wilson(sum(right), len(right)) if right else None


def _confusion(shown: Sequence[Shown]) -> Sums:
    """Counts of (said, label), nine of them."""
    pairs = [(v.said, v.label) for v in shown]
    return tuple(float(pairs.count((said, label))) for said in _PLACES for label in _PLACES)


def _over_pairs(pairs: Sequence[Sums], statistic: Callable[[Any], Any], *, n: int, seed: int) -> Interval | None:
    """A statistic of the sums over the pairs, with its bootstrap over pairs. None where it has no value.

    `statistic`: from one array (S,) for each of the sums to (S,). `n`: what it rests on.
    """
    found = bootstrap(range(len(pairs)), lambda weights: statistic((weights @ pairs).T), seed=seed)
    return None if isnan(found.value) else found._replace(n=n)


def _kappa(counts: Any) -> Any:
    """(observed - chance) / (1 - chance) of (9, S) counts; NaN where chance alone agrees on everything."""
    import numpy as np

    n = counts.sum(0)
    table = counts.reshape(3, 3, -1)  # (said, label, S)
    chance = (table.sum(0) * table.sum(1)).sum(0) / n**2
    observed = counts[::4].sum(0) / n
    return np.where(chance == 1, np.nan, (observed - chance) / np.where(chance == 1, 1, 1 - chance))


def _correlation(groups: Sequence[Sequence[tuple[float, float]]], seed: int) -> Interval | None:
    """Spearman's, of (x, y) that come in pairs. The bootstrap keeps the ranks of the whole sample."""
    groups = [sorted(group) for group in groups if group]  # the same sums, whichever answer is called a
    x, y = (_ranks([point[axis] for group in groups for point in group]) for axis in (0, 1))
    ranked = ((1.0, x, y, x * x, y * y, x * y) for x, y in zip(x, y, strict=True))
    sums = [tuple(map(sum, zip(*islice(ranked, len(group)), strict=True))) for group in groups]
    return _over_pairs(sums, _pearson, n=len(x), seed=seed)


def _pearson(sums: Any) -> Any:
    """Of (6, S) moments: n, Σx, Σy, Σx², Σy², Σxy; NaN where one of the two is the same everywhere."""
    import numpy as np

    n, x, y, xx, yy, xy = sums
    spread = (n * xx - x * x) * (n * yy - y * y)
    found = (n * xy - x * y) / np.sqrt(np.where(spread > 0, spread, 1))
    return np.where(spread > 0, np.clip(found, -1, 1), np.nan)


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks about their mean, 0; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in order[start : end + 1]:
            ranks[place] = (start + end) / 2 - (len(order) - 1) / 2
        start = end + 1
    return ranks
