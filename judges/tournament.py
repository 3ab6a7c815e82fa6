"""The best and the worst of N answers by comparisons, about 1.5 N of them, without any score.

All are paired up once; the winners play on for the best, the losers for the worst: 3N/2 − 2 comparisons for an even N
(Pohl 1972, A sorting problem and its complexity, CACM 15(6), which is the least that finds both). A tie or an order
conflict is decided by a coin that the seed and the two texts throw, and is on record. A failed comparison decides
nothing: both play on against others; who had two in one bracket leaves it, neither best nor worst for it.

It names nobody the best who never won a comparison, nor the worst who never lost one, and none where the same answer
came out as both. The answers' order and ids change nothing.

    found = await tournament(judge, task, answers, seed=0)
    found.best, found.worst, found.calls, found.comparisons
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from stillroom.common.hashing import digest
from stillroom.common.records import Attempt, Task
from stillroom.judges.records import PairwiseJudge, Preference, together

FAILURES_TO_LEAVE = 2


class Match(NamedTuple):
    """One comparison: `a` and `b` are indexes of answers."""

    a: int
    b: int
    preference: Preference


class Tournament(NamedTuple):
    """`best` and `worst`: indexes of answers, None where no judgement tells. `calls`: requests made. `out`: answers
    of which no comparison came to a judgement."""

    best: int | None
    worst: int | None
    calls: int
    comparisons: tuple[Match, ...]
    out: tuple[int, ...] = ()


async def tournament(judge: PairwiseJudge, task: Task, answers: Sequence[Attempt], seed: int) -> Tournament:
    """Finds the best and the worst of `answers`. Fewer than two have neither. Raises what the judge raises."""
    field = _Field(judge, task, answers, seed)
    order = sorted(range(len(answers)), key=lambda i: (digest([seed, answers[i].text]), i))
    pairs = list(zip(order[::2], order[1::2], strict=False))
    spare = order[len(pairs) * 2 :]
    first = await field.play(pairs)
    undecided = [*spare, *(i for pair in pairs if pair in first.failed for i in pair)]
    failures = Counter(i for pair in first.failed for i in pair)
    best, worst = await together(
        field.bracket([*first.winners, *undecided], Counter(failures), "best"),
        field.bracket([*first.losers, *undecided], Counter(failures), "worst"),
    )
    return field.result(best, worst)


class _Round(NamedTuple):
    winners: list[int]
    losers: list[int]
    failed: list[tuple[int, int]]


class _Field:
    """The answers of one tournament, and every comparison made of them."""

    def __init__(self, judge: PairwiseJudge, task: Task, answers: Sequence[Attempt], seed: int) -> None:
        self._judge, self._task, self._answers, self._seed = judge, task, answers, seed
        self._matches: dict[tuple[int, int], Match] = {}

    async def bracket(self, left: list[int], failures: Counter[int], which: Literal["best", "worst"]) -> int | None:
        """Who is left of these: of each comparison the winner for the best, the loser for the worst."""
        left = [i for i in left if failures[i] < FAILURES_TO_LEAVE]
        while len(left) > 1:
            # The first with the last, and so on inwards: those who failed together stand together, and part.
            inwards = [(left[i], left[-1 - i]) for i in range(len(left) // 2)]
            known = [self._matches.get((min(pair), max(pair))) for pair in inwards]
            pairs = [p for p, m in zip(inwards, known, strict=True) if m is None or not m.preference.failed]
            if not pairs:
                return None  # those left cannot be compared
            paired = {i for pair in pairs for i in pair}
            played = await self.play(pairs)
            failed = [i for pair in played.failed for i in pair]
            failures.update(failed)
            on = played.winners if which == "best" else played.losers
            left = [*on, *(i for i in left if i not in paired), *failed]
            left = [i for i in left if failures[i] < FAILURES_TO_LEAVE]
        return left[0] if left else None

    async def play(self, pairs: Sequence[tuple[int, int]]) -> _Round:
        """Compares each pair, all at once; of ties and conflicts a coin names the winner."""
        matches = await together(*(self._match(*pair) for pair in pairs))
        result = _Round([], [], [])
        for pair, match in zip(pairs, matches, strict=True):
            if match.preference.failed:
                result.failed.append(pair)
            else:
                winner = self._winner(match)
                result.winners.append(winner)
                result.losers.append(match.b if winner == match.a else match.a)
        return result

    def result(self, best: int | None, worst: int | None) -> Tournament:
        """The tournament, without a best that never won or a worst that never lost."""
        matches = tuple(self._matches[key] for key in sorted(self._matches))
        won = {self._winner(match) for match in matches if match.preference.winner is not None}
        lost = {m.a + m.b - self._winner(m) for m in matches if m.preference.winner is not None}
        best, worst = best if best in won else None, worst if worst in lost else None
        if best == worst:
            best = worst = None
        judged = {i for match in matches if not match.preference.failed for i in (match.a, match.b)}
        out = tuple(i for i in range(len(self._answers)) if i not in judged)
        return Tournament(best, worst, sum(match.preference.calls for match in matches), matches, out)

    async def _match(self, x: int, y: int) -> Match:
        """Compared once: byes can bring the same two together in both brackets."""
        a, b = min(x, y), max(x, y)
        if (a, b) not in self._matches:
            preference = await self._judge.compare(self._task, self._answers[a], self._answers[b])
            self._matches[a, b] = Match(a, b, preference)
        return self._matches[a, b]

    def _winner(self, match: Match) -> int:
        if match.preference.winner is not None:
            return match.a if match.preference.winner == "a" else match.b
        texts = [self._answers[i].text for i in (match.a, match.b)]
        heads = int(digest(["coin", self._seed, *sorted(texts)], 8), 16) % 2 == 0
        return match.a if (texts[0] <= texts[1]) is heads else match.b
