"""The closed set of reasons an answer check can end with, and the state each one means.

`equal` is accepted and `different` is rejected. Every other reason is unscored: it says that the check could not
be made, which is not evidence about the answer.

>>> state_of(Reason.EQUAL), state_of(Reason.TIMEOUT)
(<State.ACCEPTED: 'accepted'>, <State.UNSCORED: 'unscored'>)
"""

from __future__ import annotations

from enum import StrEnum

from stillroom.common.records import State, Verdict


class Reason(StrEnum):
    """Why a verdict is what it is."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNPARSED_GOLD = "unparsed_gold"
    """The gold answer cannot be read whole, or there is none: nothing is ever accepted against it."""
    UNPARSED_ANSWER = "unparsed_answer"
    """An answer is there, but it cannot be read whole."""
    NO_ANSWER = "no_answer"
    """The text holds no final answer."""
    TIMEOUT = "timeout"
    """The time limit passed, or the worker was killed from outside."""
    OVER_LIMIT = "over_limit"
    """Too long, too deep, too large a number, or the worker ran out of memory or crashed."""
    NEEDS_POLICY = "needs_policy"
    """Read and compared, but whether the two are the same is a convention that no policy decides, or could not be
    told."""
    NOT_WORKED_OUT = "not_worked_out"
    """Equal to the gold, but it only restates the question: arithmetic left to do, an equation left to solve, a
    formula of the prompt (see `worked_out.py`, `restated.py`)."""
    TRUNCATED = "truncated"
    """The attempt was cut off by its length limit: given by the scorer only, which sees the finish reason."""


def state_of(reason: Reason) -> State:
    """The one of the three states that a reason means."""
    if reason is Reason.EQUAL:
        return State.ACCEPTED
    return State.REJECTED if reason is Reason.DIFFERENT else State.UNSCORED


def verdict(reason: Reason, detail: str = "", seconds: float = 0.0) -> Verdict:
    """A verdict for a reason. `detail`: the answer that was read, or what stood in the way."""
    return Verdict(state_of(reason), reason, detail=detail, seconds=seconds)
