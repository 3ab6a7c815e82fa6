"""Several judges as one, for ratings or for comparisons; every vote stays on record.

A member that failed is left out and counted. Where fewer than a majority of the members came to a judgement, the
jury has failed: a lone survivor is not a jury. Members must differ (the same judge twice has one opinion) and rate on
the same scale.

    jury = Jury([Pointwise(one, rubric), Pointwise(other, rubric), Pointwise(third, rubric)], how="mean")
    rating = await jury.rate(task, attempt)
    rating.ratings                                                       # {"member_1": 4.0, "member_2": 3.2, …}

A panel of small judges from different families can beat one large judge (Verga et al. 2024, arXiv:2404.18796), as far
as their errors differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, median
from typing import Annotated, ClassVar, Generic, Literal, TypeVar

from pydantic import Field

from stillroom.common.records import Attempt, Task
from stillroom.errors import InputError
from stillroom.judges.records import (
    FAILURES,
    JudgeState,
    OrderVerdict,
    PairwiseJudge,
    PointwiseJudge,
    Preference,
    Rating,
    together,
)
from stillroom.judges.registry import JudgeBase, Made, Place, judges

How = Literal["mean", "majority"]
J = TypeVar("J", bound=PointwiseJudge | PairwiseJudge)


class _Members(Generic[J]):
    """What both kinds of jury have."""

    _kind: ClassVar[str]

    def __init__(self, judges: Sequence[J], how: How) -> None:
        if not judges:
            raise InputError("a jury has no members: give at least one judge")
        twice = [name for name, count in Counter(judge.identity for judge in judges).items() if count > 1]
        if twice:
            raise InputError(f"two members of a jury are the same judge, which has one vote: {twice[0]}")
        self._judges: tuple[J, ...] = tuple(judges)
        self._how = how

    @property
    def identity(self) -> str:
        """How it votes, and its members."""
        return f"{self._kind} by {self._how}: {' | '.join(judge.identity for judge in self._judges)}"

    async def close(self) -> None:
        """Closes every member."""
        for judge in self._judges:
            await judge.close()


class Jury(_Members[PointwiseJudge]):
    """Rates by the members' votes. `how`: their mean, or the whole number that more than half of them gave, else (a
    split vote, which the detail tells) their median."""

    _kind = "jury"

    def __init__(self, judges: Sequence[PointwiseJudge], how: How = "mean") -> None:
        super().__init__(judges, how)
        scales = {judge.scale for judge in judges}
        if len(scales) > 1:
            raise InputError(
                f"the members of a jury rate on different scales: {sorted(scales)}; give them one rubric"
            )

    @property
    def scale(self) -> tuple[float, float]:
        return self._judges[0].scale

    async def rate(self, task: Task, answer: Attempt) -> Rating:
        """Asks all members. `ratings` holds their scores, `member_1` on; a member that failed is not among them."""
        votes = await together(*(judge.rate(task, answer) for judge in self._judges))
        scores = {f"member_{n}": vote.score for n, vote in enumerate(votes, 1) if vote.score is not None}
        calls, texts = sum(vote.calls for vote in votes), "\n---\n".join(vote.text for vote in votes)
        state, absent = _absent([vote.state for vote in votes])
        given = list(scores.values())
        if 2 * len(given) <= len(votes):
            return Rating(state, None, scores, calls=calls, text=texts, detail=absent)
        if self._how == "mean":
            expected = all(vote.expected for vote in votes if vote.score is not None)
            return Rating(JudgeState.OK, fmean(given), scores, expected, calls, texts, absent)
        # The median and the whole number that most gave are not expected values, whatever the votes were. Scales
        # begin at 0 or above; a half goes up, not to the even number.
        point, count = Counter(int(score + 0.5) for score in given).most_common(1)[0]
        if 2 * count > len(given):
            return Rating(JudgeState.OK, float(point), scores, False, calls, texts, absent)
        split = f"split vote: {', '.join(f'{score:g}' for score in sorted(given))}"
        detail = "; ".join(filter(None, [split, absent]))
        return Rating(JudgeState.OK, median(given), scores, False, calls, texts, detail)


class JuryPairwise(_Members[PairwiseJudge]):
    """Compares by the members' preferences. `how`: who has more than half of those that came to a judgement
    (`majority`), or more points, a tie or conflict giving each a half (`mean`)."""

    _kind = "jury of pairs"

    def __init__(self, judges: Sequence[PairwiseJudge], how: How = "majority") -> None:
        super().__init__(judges, how)

    async def compare(self, task: Task, a: Attempt, b: Attempt) -> Preference:
        """Asks all members. `orders` holds what most of them said in each order, with the votes as its detail.

        Without a winner it is an `order_conflict` where most of those who judged had one, else a `tie`.
        """
        votes = await together(*(judge.compare(task, a, b) for judge in self._judges))
        shown = max(len(vote.orders) for vote in votes)
        orders = tuple(
            _order([vote.orders[place] for vote in votes if len(vote.orders) == shown]) for place in range(shown)
        )
        calls = sum(vote.calls for vote in votes)
        judged = [vote for vote in votes if not vote.failed]
        if 2 * len(judged) <= len(votes):
            state, _ = _absent([vote.state for vote in votes])
            return Preference(state, None, orders, calls)
        for_a, for_b = (sum(vote.winner == name for vote in judged) for name in ("a", "b"))
        needed = len(judged) / 2 if self._how == "majority" else min(for_a, for_b)
        if max(for_a, for_b) > needed:
            return Preference(JudgeState.OK, "a" if for_a > for_b else "b", orders, calls)
        conflicts = sum(vote.state is JudgeState.ORDER_CONFLICT for vote in judged)
        state = JudgeState.ORDER_CONFLICT if 2 * conflicts > len(judged) else JudgeState.TIE
        return Preference(state, None, orders, calls)


def _order(votes: Sequence[OrderVerdict]) -> OrderVerdict:
    """What more than half of the votes in one order say, of those that did not fail."""
    judged = [vote for vote in votes if vote.state not in FAILURES]
    state, absent = _absent([vote.state for vote in votes])
    named = Counter(vote.winner or "tie" for vote in judged)
    said = ", ".join(f"{name} {named[name]}" for name in ("first", "second", "tie"))
    detail = "; ".join(filter(None, [f"votes: {said}", absent]))
    if 2 * len(judged) <= len(votes):
        return OrderVerdict(state, None, detail=detail)
    for name in ("first", "second"):
        if 2 * named[name] > len(judged):
            return OrderVerdict(JudgeState.OK, name, detail=detail)
    return OrderVerdict(JudgeState.TIE, None, detail=detail)


def _absent(states: Sequence[JudgeState]) -> tuple[JudgeState, str]:
    """The commonest failure (`ok` where there is none), and how many failed, in words."""
    failed = Counter(state for state in states if state in FAILURES)
    if not failed:
        return JudgeState.OK, ""
    named = sorted(failed, key=lambda state: (-failed[state], state))
    said = ", ".join(f"{failed[state]} {state}" for state in named)
    return named[0], f"{failed.total()} of {len(states)} members failed: {said}"


JuryMember = Annotated[JudgeBase, judges.field(without={"jury"})]
"""The settings of a judge of any other kind."""


@judges.register
class JurySettings(JudgeBase):
    """Several judges as one."""

    kind: Literal["jury"]
    members: Annotated[tuple[JuryMember, ...], Field(min_length=2)]
    """The judges, two at least."""
    how: Literal["mean", "majority"] = "mean"
    """The mean of their scores, or what the majority says."""

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(path for member in self.members for path in member.files)

    @property
    def compares(self) -> bool:
        return any(member.compares for member in self.members)

    def make(self, place: Place) -> Made:
        """As `JudgeBase.make`. Raises InputError, too, where some members rate and others compare."""
        members = [member.make(place) for member in self.members]
        rating = [member.pointwise for member in members if member.pointwise is not None]
        comparing = [member.pairwise for member in members if member.pairwise is not None]
        if rating and comparing:
            raise InputError(
                f"{len(rating)} members of the jury rate and {len(comparing)} compare: give all of them one mode"
            )
        teachers = tuple(teacher for member in members for teacher in member.teachers)
        notes = tuple(note for member in members for note in member.notes)
        if rating:
            return Made(Jury(rating, self.how), None, teachers, notes)
        return Made(None, JuryPairwise(comparing, self.how), teachers, notes)
