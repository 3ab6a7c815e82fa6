"""Makes a judge that compares of one that rates: the answer with the better score wins.

    judge = ByScore(ReadabilityJudge(), tie=1.0)
    preference = await judge.compare(task, a, b)

Each answer is rated once, and what it gets does not depend on the order, so both orders say the same: a judge of this
kind has no position bias and no order conflict by construction. A rating that failed makes the comparison fail.
"""

from __future__ import annotations

from stillroom.errors import InputError
from stillroom.judges.records import JudgeState, OrderVerdict, PointwiseJudge, Preference, Rating
from stillroom.sampling.records import Attempt, Task


class ByScore:
    """A `PairwiseJudge` by the scores of `judge`; those within `tie` points of its scale are a tie.

    Raises InputError for a negative `tie`.
    """

    def __init__(self, judge: PointwiseJudge, tie: float = 0.0) -> None:
        if not tie >= 0:
            raise InputError(f"tie is {tie}: it is the largest difference that counts as none, 0 or more")
        self._judge, self._tie = judge, tie

    @property
    def identity(self) -> str:
        """The rating judge's, with the width of a tie."""
        return f"by-score:{self._tie:g}:{self._judge.identity}"

    async def compare(self, task: Task, a: Attempt, b: Attempt) -> Preference:
        """Rates both. Raises as the judge's `rate` does."""
        one, other = await self._judge.rate(task, a), await self._judge.rate(task, b)
        return preference(one, other, self._tie)

    async def close(self) -> None:
        """Closes the judge."""
        await self._judge.close()


def preference(a: Rating, b: Rating, tie: float = 0.0) -> Preference:
    """What two ratings say of the answers that they are of."""
    calls = a.calls + b.calls
    for rating in (a, b):
        if rating.score is None:
            verdict = OrderVerdict(rating.state, None, rating.text, rating.detail)
            return Preference(rating.state, None, (verdict, verdict), calls)
    assert a.score is not None
    assert b.score is not None
    gap = a.score - b.score
    detail = f"{a.score:g} against {b.score:g}"
    if abs(gap) <= tie:
        verdict = OrderVerdict(JudgeState.TIE, None, detail=detail)
        return Preference(JudgeState.TIE, None, (verdict, verdict), calls)
    won = gap > 0
    orders = (
        OrderVerdict(JudgeState.OK, "first" if won else "second", detail=detail),
        OrderVerdict(JudgeState.OK, "second" if won else "first", detail=detail),
    )
    return Preference(JudgeState.OK, "a" if won else "b", orders, calls)
