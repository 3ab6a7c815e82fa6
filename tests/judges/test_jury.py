"""Juries: votes, split votes, members that fail."""

from __future__ import annotations

from typing import Literal

import pytest

from stillroom.common.records import Attempt, Task
from stillroom.errors import InputError
from stillroom.judges.jury import How, Jury, JuryPairwise
from stillroom.judges.records import JudgeState, OrderVerdict, Preference, Rating, both_orders
from tests.judges._asking import TASK, answered

FAILED = JudgeState.PARSE_FAILED
ORDERS = {"1": OrderVerdict(JudgeState.OK, "first"), "2": OrderVerdict(JudgeState.OK, "second"),
          "=": OrderVerdict(JudgeState.TIE, None), "!": OrderVerdict(FAILED, None)}  # fmt: skip


class Member:
    """Says the same of everything: a score, a failure, or two orders such as "12" (the first, then the second)."""

    def __init__(self, says: float | JudgeState | str, name: str = "", scale: tuple[float, float] = (1, 5)) -> None:
        self._says, self._name, self.scale = says, name, scale
        self.closed = 0

    @property
    def identity(self) -> str:
        return f"member {self._name or id(self)}"

    async def rate(self, task: Task, answer: Attempt) -> Rating:
        if isinstance(self._says, JudgeState):
            return Rating(self._says, None)
        return Rating(JudgeState.OK, float(self._says), expected=True)

    async def compare(self, task: Task, a: Attempt, b: Attempt) -> Preference:
        forward, backward = (ORDERS[sign] for sign in str(self._says))
        return both_orders(forward, backward, 2)

    async def close(self) -> None:
        self.closed += 1


RATINGS: dict[str, tuple[How, list[float | JudgeState], float | None, str]] = {
    "mean": ("mean", [1, 2, 4.5], 2.5, ""),
    "majority": ("majority", [4, 4.2, 1], 4.0, ""),
    "split": ("majority", [1, 3, 4], 3.0, "split vote: 1, 3, 4"),
    "an even split": ("majority", [2, 2, 4, 4], 3.0, "split vote"),
    "one failed": ("mean", [2, 4, FAILED], 3.0, "1 of 3 members failed: 1 parse_failed"),
    "two failed": ("mean", [2, FAILED, FAILED], None, "2 of 3 members failed: 2 parse_failed"),
    "half failed": ("mean", [2, FAILED], None, "1 of 2 members failed"),
    "the commonest failure": ("mean", [JudgeState.REFUSED, FAILED, FAILED], None, "2 parse_failed, 1 refused"),
}


@pytest.mark.parametrize(("how", "votes", "score", "detail"), RATINGS.values(), ids=RATINGS)
async def test_ratings(how: How, votes: list[float | JudgeState], score: float | None, detail: str) -> None:
    rating = await Jury([Member(vote) for vote in votes], how).rate(TASK, answered("x"))
    assert rating.score == score
    assert rating.state is (JudgeState.OK if score is not None else FAILED)
    assert detail in rating.detail
    assert rating.calls == len(votes)
    assert len(rating.ratings) == sum(not isinstance(vote, JudgeState) for vote in votes)


async def test_votes_are_kept_by_member() -> None:
    rating = await Jury([Member(1), Member(FAILED), Member(4)]).rate(TASK, answered("x"))
    assert rating.ratings == {"member_1": 1.0, "member_3": 4.0}


PREFERENCES: dict[str, tuple[How, list[str], JudgeState, str | None]] = {
    "all for a": ("majority", ["12", "12", "12"], JudgeState.OK, "a"),
    "two for a": ("majority", ["12", "12", "21"], JudgeState.OK, "a"),
    "one for a, one tie, one conflict": ("majority", ["12", "==", "11"], JudgeState.TIE, None),
    "the same by points": ("mean", ["12", "==", "11"], JudgeState.OK, "a"),
    "an even split": ("mean", ["12", "21"], JudgeState.TIE, None),
    "conflicts": ("majority", ["11", "11", "21"], JudgeState.ORDER_CONFLICT, None),
    "one failed": ("majority", ["21", "21", "!2"], JudgeState.OK, "b"),
    "one failed, the rest split": ("majority", ["12", "21", "!2"], JudgeState.TIE, None),
    "most failed": ("majority", ["12", "!2", "2!"], FAILED, None),
}


@pytest.mark.parametrize(("how", "votes", "state", "winner"), PREFERENCES.values(), ids=PREFERENCES)
async def test_preferences(how: How, votes: list[str], state: JudgeState, winner: Literal["a", "b"] | None) -> None:
    jury = JuryPairwise([Member(vote) for vote in votes], how)
    preference = await jury.compare(TASK, answered("x"), answered("y"))
    assert (preference.state, preference.winner, preference.calls) == (state, winner, 2 * len(votes))
    mirrored = await JuryPairwise([Member(vote[::-1]) for vote in votes], how).compare(
        TASK, answered("y"), answered("x")
    )
    assert (mirrored.state, mirrored.winner) == (state, {"a": "b", "b": "a", None: None}[winner])


async def test_each_order_holds_its_votes() -> None:
    jury = JuryPairwise([Member("12"), Member("12"), Member("1!")])
    forward, backward = (await jury.compare(TASK, answered("x"), answered("y"))).orders
    assert (forward.winner, forward.detail) == ("first", "votes: first 3, second 0, tie 0")
    assert backward.winner == "second"
    assert "1 of 3 members failed" in backward.detail


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "no members"),
        ([Member(1, "x"), Member(2, "x")], "the same judge"),
        ([Member(1), Member(2, scale=(0, 9))], "different scales"),
    ],
)
def test_a_jury_that_cannot_vote_is_refused(members: list[Member], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Jury(members)


async def test_closing_closes_every_member() -> None:
    members = [Member(1), Member(2)]
    await Jury(members).close()
    await JuryPairwise(members).close()
    assert [member.closed for member in members] == [2, 2]
    assert Jury(members).identity != Jury(members, "majority").identity
