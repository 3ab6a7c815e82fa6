"""Which answers of a task meet in a pair: named strategies.

Each proposes pairs of one task, the most wanted first; length control and limits come after it (`pairs.py`).

- `best_worst`: the highest score against the lowest.
- `best_sigma`: the highest against the one nearest to mean − 2 standard deviations of the task's scores. With many
  draws, training on best against worst declines, and the rejected answer near μ − 2σ is the better choice (Xiao et
  al. 2025, Finding the Sweet Spot, https://arxiv.org/abs/2502.16825). Below six candidates no score can lie lower
  than that: the same pair as `best_worst`.
- `margin_quantile`: all pairs whose gap is at or above a quantile of that judge's own gaps, over all pairs of
  answers to one task in the data set that are not ties. An absolute margin does not carry from judge to judge.
- `margin`: all pairs whose gap is at least `margin` points.
- `on_policy`: the largest gap among pairs both sides of which the student wrote (`on_policy: both`, the default: what
  DPO then raises and lowers is what the student would say), or at least one (`one`: it also sees better answers than
  its own).
- `tournament`: what a tournament found best against what it found worst; no scores are needed.

None pairs an answer with itself, with an equal text (candidates are made one beforehand), or on equal scores: that is
a tie. Between equally wanted pairs a hash of the texts decides, so that neither the order of the candidates nor their
ids do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import fsum, sqrt
from typing import Literal, NamedTuple

from stillroom.preferences.lengths import length
from stillroom.preferences.records import Judged, Slate
from stillroom.preferences.settings import PairSettings

# Scores nearer to each other than this share of their size differ by rounding only.
_EQUAL = 1e-9

Reason = Literal["tie", "below_margin", "not_on_policy", "no_tournament", "contradicted"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A judged candidate that may enter pairs. `score`: what is compared (the judge's, or its residual); None where
    the judge only compares. `key`: orders equals."""

    judged: Judged
    score: float | None
    key: str

    @property
    def text(self) -> str:
        """The answer."""
        return self.judged.candidate.text

    @property
    def size(self) -> int:
        """Characters of the answer."""
        return length(self.text)

    @property
    def points(self) -> float:
        """The score, for strategies that compare scores: they are given no answer without."""
        if self.score is None:
            raise ValueError(f"{self.judged.candidate.id} has no score: only a tournament does without")
        return self.score


class Proposal(NamedTuple):
    """A pair that a strategy wants. `gap`: of the scores, None where there are none."""

    chosen: Entry
    rejected: Entry
    gap: float | None


class Ranked(NamedTuple):
    """Pairs of one task, the most wanted first. `many`: the strategy means all of them, not the first that fits.
    `reason`: why there is none. `below_margin`: pairs that a margin left out."""

    proposals: list[Proposal]
    many: bool = False
    reason: Reason | None = None
    below_margin: int = 0


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to one task that can enter pairs, of different texts. `threshold`: the least gap for the two margin
    strategies, None for the others."""

    slate: Slate
    entries: Sequence[Entry]
    settings: PairSettings
    threshold: float | None


def rank(answers: Answers) -> Ranked:
    """What the strategy of the settings wants of two answers or more."""
    return _STRATEGIES[answers.settings.strategy](answers)


def gaps(entries: Sequence[Entry]) -> list[float]:
    """All gaps between the answers to a task, ties left out."""
    return [proposal.gap for proposal in _all(entries) if proposal.gap is not None]


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie: the rest of them, or more where some are equal, reach it.

    It is one of the values, so that no interpolation decides which reach it. Raises ValueError without values.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5)
    3.0
    """
    if not values:
        raise ValueError("a quantile of no values: give at least one")
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered) + _EQUAL), len(ordered) - 1)]


def _best_worst(answers: Answers) -> Ranked:
    entries = _by_score(answers.entries)
    if answers.settings.length != "matched":
        entries = [entries[0], entries[-1]]  # without length control no other pair can be the one
    return _largest(_all(entries), "tie")


def _best_sigma(answers: Answers) -> Ranked:
    scores = [entry.points for entry in answers.entries]
    mean = fsum(scores) / len(scores)
    target = mean - 2 * sqrt(fsum((score - mean) ** 2 for score in scores) / len(scores))

    def wanted(pair: Proposal) -> tuple[float, float, str, str]:
        return (-pair.chosen.points, abs(pair.rejected.points - target), pair.chosen.key, pair.rejected.key)

    entries = _by_score(answers.entries)
    pairs = _all(entries)
    if answers.settings.length != "matched":
        pairs = (pair for pair in pairs if pair.chosen is entries[0])
    found = sorted(pairs, key=wanted)
    return Ranked(found, reason=None if found else "tie")


def _margin(answers: Answers) -> Ranked:
    pairs = list(_all(answers.entries))
    kept = [pair for pair in pairs if answers.threshold is not None and (pair.gap or 0.0) >= answers.threshold]
    found = _largest(kept, "below_margin" if pairs else "tie")
    return found._replace(many=True, below_margin=len(pairs) - len(kept))


def _on_policy(answers: Answers) -> Ranked:
    enough = 2 if answers.settings.on_policy == "both" else 1

    def own(a: Entry, b: Entry) -> bool:
        return a.judged.candidate.on_policy + b.judged.candidate.on_policy >= enough

    if not any(own(a, b) for a, b in combinations(answers.entries, 2)):
        return Ranked([], reason="not_on_policy")
    return _largest((pair for pair in _all(answers.entries) if own(pair.chosen, pair.rejected)), "tie")


def _tournament(answers: Answers) -> Ranked:
    by_id = {entry.judged.candidate.id: entry for entry in answers.entries}
    best, worst = by_id.get(answers.slate.best or ""), by_id.get(answers.slate.worst or "")
    if best is None or worst is None:
        return Ranked([], reason="no_tournament")
    if best is worst:
        return Ranked([], reason="tie")
    if best.score is None or worst.score is None:
        return Ranked([Proposal(best, worst, None)])
    if _tied(best.score, worst.score):
        return Ranked([], reason="tie")
    if best.score < worst.score:
        return Ranked([], reason="contradicted")
    return Ranked([Proposal(best, worst, best.score - worst.score)])


_STRATEGIES: Mapping[str, Callable[[Answers], Ranked]] = {
    "best_worst": _best_worst,
    "best_sigma": _best_sigma,
    "margin_quantile": _margin,
    "margin": _margin,
    "on_policy": _on_policy,
    "tournament": _tournament,
}


def _largest(pairs: Iterator[Proposal] | Sequence[Proposal], reason: Reason) -> Ranked:
    """One pair, of the largest gap; the others follow for the case that it does not fit."""
    found = sorted(pairs, key=lambda pair: (-(pair.gap or 0.0), pair.chosen.key, pair.rejected.key))
    return Ranked(found, reason=None if found else reason)


def _all(entries: Sequence[Entry]) -> Iterator[Proposal]:
    """Every two answers with a gap between them, the better one chosen."""
    for a, b in combinations(entries, 2):
        x, y = a.points, b.points
        if not _tied(x, y):
            yield Proposal(a, b, x - y) if x > y else Proposal(b, a, y - x)


def _by_score(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (-entry.points, entry.key))


def _tied(x: float, y: float) -> bool:
    return abs(x - y) <= _EQUAL * max(1.0, abs(x), abs(y))
