"""pass@k and majority@k from n >= k attempts at each task: the expected value over all choices of k.

    pass_at_k({"t1": [True, False, False, True], "t2": [False] * 4}, k=2, seed=7)      # value = (5/6 + 0) / 2
    majority_at_k({"t1": [Vote("12", True), Vote("12", True), Vote("13", False)]}, k=3, seed=7)

pass@k is the chance that any of k is right: 1 − C(n − c, k) / C(n, k), c of n being right (Chen et al. 2021,
arXiv:2107.03374, equation 1). majority@k is the chance that the answer most of k agree on is right (self-consistency,
Wang et al. 2022, arXiv:2203.11171); where several lead, each is taken with the same chance. Intervals are of a
bootstrap over tasks.

The number of attempts must not depend on how earlier ones came out, as it does under a policy that stops when it is
satisfied. Refuses tasks with fewer than k attempts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from math import comb
from typing import NamedTuple

from stillroom.common.stats.bootstrap import share_over_tasks
from stillroom.common.stats.intervals import Interval


class Vote(NamedTuple):
    """One attempt. `answer`: normalised, so that equal answers are equal; None where it cannot be read and does not
    vote. `right`: whether it was accepted."""

    answer: Hashable | None
    right: bool


def pass_at_k(right: Mapping[str, Sequence[bool]], k: int, *, seed: int) -> Interval:
    """Mean over tasks of the chance that any of k attempts is right; n counts tasks.

    Raises ValueError for no task, k below 1, or a task with fewer than k attempts.
    """
    _check({task: len(given) for task, given in right.items()}, k)
    shares = {task: any_of_k(len(given), sum(map(bool, given)), k) for task, given in right.items()}
    return share_over_tasks(shares, seed=seed)


def majority_at_k(votes: Mapping[str, Sequence[Vote]], k: int, *, seed: int) -> Interval:
    """Mean over tasks of the chance that the answer most of k attempts give is right; n counts tasks. Where none of
    the k votes, the majority is not right. Raises as `pass_at_k`, and for an attempt that is right without an answer.
    """
    _check({task: len(given) for task, given in votes.items()}, k)
    return share_over_tasks({task: most_of_k(given, k) for task, given in votes.items()}, seed=seed)


def any_of_k(n: int, right: int, k: int) -> float:
    """The chance that k of n attempts, drawn without replacement, hold one of the `right`."""
    return float(1 - Fraction(comb(n - right, k), comb(n, k)))


def most_of_k(votes: Sequence[Vote], k: int) -> float:
    """The chance that the answer leading among k of the votes, drawn without replacement, is right.

    Should one answer hold right and wrong attempts, it counts by the share of its attempts that are right: so
    majority@1 is accuracy, whatever the answers are.
    """
    if any(vote.right and vote.answer is None for vote in votes):
        raise ValueError("an attempt is right but has no answer: give the answer that was read, or None and False")
    sizes = Counter(vote.answer for vote in votes)
    silent = sizes.pop(None, 0)
    right = Counter(vote.answer for vote in votes if vote.right)
    ways = Fraction(0)
    for answer, size in sizes.items():
        if right[answer]:
            others = [count for other, count in sizes.items() if other != answer]
            ways += Fraction(right[answer], size) * _leading(size, others, silent, k)
    return float(ways / comb(len(votes), k))


def _leading(size: int, others: Sequence[int], silent: int, k: int) -> Fraction:
    """In how many of the choices of k an answer with `size` attempts leads, a tie of t answers counted 1/t."""
    total = Fraction(0)
    for votes in range(1, min(size, k) + 1):
        rivals = _rivals(others, votes, k - votes)
        for (used, level), ways in rivals.items():
            total += Fraction(comb(size, votes) * ways * comb(silent, k - votes - used), level + 1)
    return total


def _rivals(others: Sequence[int], most: int, room: int) -> Counter[tuple[int, int]]:
    """Choices from the other answers, none with more than `most` attempts and `room` in all: how many there are, by
    (attempts used, answers with exactly `most`)."""
    ways: Counter[tuple[int, int]] = Counter({(0, 0): 1})
    for size in others:
        longer: Counter[tuple[int, int]] = Counter()
        for (used, level), count in ways.items():
            for taken in range(min(size, most, room - used) + 1):
                longer[used + taken, level + (taken == most)] += count * comb(size, taken)
        ways = longer
    return ways


def _check(counts: Mapping[str, int], k: int) -> None:
    if not counts or k < 1:
        raise ValueError(f"{len(counts)} tasks and k = {k}: give at least one task, and k of 1 or more")
    if short := [task for task, n in counts.items() if n < k]:
        raise ValueError(
            f"{len(short)} of {len(counts)} tasks have fewer than {k} attempts, {short[0]!r} has {counts[short[0]]}: "
            "draw more, lower k, or leave these tasks out and say so"
        )
