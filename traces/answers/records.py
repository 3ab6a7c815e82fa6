"""What an answer check can say: the closed set of reasons, the state each one means, and the policies that decide.

`equal` is accepted and `different` is rejected. Every other reason is unscored: it says that the check could not
be made, which is not evidence about the answer.

Where two answers are the same or not by convention, a policy decides, and the verdict says so. Each has a default
that suits traces (a wrong acceptance is worse than an unscored answer) and the value `ask`, which leaves what it
would decide unscored, with the reason `needs_policy`. In a recipe they stand under `scorer:`.

>>> state_of(Reason.EQUAL), state_of(Reason.TIMEOUT)
(<State.ACCEPTED: 'accepted'>, <State.UNSCORED: 'unscored'>)
>>> Policies(percent="bare").changed()
{'percent': 'bare'}
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, Literal, get_args, get_type_hints

from stillroom.common.records import State, Verdict
from stillroom.errors import InputError


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
    OTHER_TYPE = "other_type"
    """An answer is there, but not of the type that the task declares (`answer_type`)."""
    REVIEWED = "reviewed"
    """A person labelled the pair, which the rules had left unscored (`check_file` with `review`)."""
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


@dataclass(frozen=True, slots=True)
class Policies:
    """What is decided by convention. Raises InputError for a value that a policy does not know."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by pydantic, where a recipe holds policies

    percent: Literal["value", "bare", "strict", "ask"] = "value"
    """33.5% is 0.335 under every value but `strict`. `value`: 10% against 10 needs a policy; `bare`: they are the
    same; `strict`: a percentage equals only a percentage."""
    degrees: Literal["drop", "value", "strict", "ask"] = "drop"
    """`drop`: 45° is also 45, and 30° is π/6; `value`: 30° is π/6, and 45° is not 45; `strict`: degrees equal only
    degrees."""
    rounding: Literal["significant", "tolerant", "never", "ask"] = "significant"
    """`significant`: a decimal of three or more significant digits equals what rounds to it; `tolerant`: two digits
    suffice; `never`: only an exact decimal does (and one of ten digits or more within 1e-9)."""
    list_order: Literal["any", "given", "ask"] = "any"
    """`any`: values joined by commas are a collection; `given`: their order counts."""
    tuples: Literal["ordered", "distinct", "ask"] = "ordered"
    """A list against a tuple. `ordered`: the same if the order is; `distinct`: never."""
    vectors: Literal["tuple", "distinct", "ask"] = "tuple"
    """A column or row against a tuple. `tuple`: the same; `distinct`: never."""
    interval_ends: Literal["strict", "loose", "ask"] = "strict"
    """`strict`: (0,1) is not [0,1]; `loose`: ends do not count."""
    inequalities: Literal["interval", "distinct", "ask"] = "interval"
    """`interval`: x < 3 is (-∞, 3); `distinct`: it is not."""
    constant: Literal["named", "optional", "strict", "ask"] = "named"
    """The constant of integration. `named`: any capital letter will do; `optional`: it may also be left out;
    `strict`: a letter like any other."""
    lowest_terms: Literal["any", "required", "ask"] = "any"
    """`any`: 2/4 is 1/2; `required`: it is not."""
    units: Literal["optional", "required", "ask"] = "optional"
    """`optional`: one side may leave its unit out; `required`: both give the same, or none does."""
    bases: Literal["strict", "value", "ask"] = "ask"
    """`strict`: 11 to the base 2 equals only itself; `value`: it is 3."""
    ratios: Literal["value", "strict", "ask"] = "value"
    """`value`: 5:8 is 5/8; `strict`: a ratio equals only a ratio."""
    parameters: Literal["stated", "free", "strict", "ask"] = "stated"
    """Names of free integers (`kπ`, "for some t"). `stated`: they may differ where the answer shows that they are
    parameters; `free`: any one letter may; `strict`: never."""
    chains: Literal["agree", "last"] = "agree"
    """An answer of several sides (`9 * 2 = 18`). `agree`: the sides must agree, or it is left open; `last`: the last
    one counts, whatever the others say."""
    worked_out: Literal["required", "any", "ask"] = "required"
    """Whether arithmetic that is left to do, an equation that is left to solve, or a formula of the prompt is an
    answer to a value (see `worked_out.py`). `required`: it is not, and is left unscored; `any`: it is."""
    decimal_comma: Literal["either", "list", "always", "ask"] = "either"
    """`either`: 1,22 is 1.22 or a list, whichever fits; `list`: it is a list; `always`: a comma in a number is the
    decimal sign, and a point stands between thousands, so that 20.000 is 20000."""
    unmarked: Literal["line", "last"] = "line"
    """An answer without a box or marker. `line`: only where it stands alone or in a plain statement; `last`: the
    last formula or number of the text is taken."""

    def __post_init__(self) -> None:
        for name, known in choices().items():
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"the policy {name} is {value!r}: choose one of {', '.join(known)}")

    def changed(self) -> dict[str, str]:
        """The policies that differ from the default."""
        default = asdict(Policies())
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    def identity(self) -> str:
        """The changed policies in one line; empty where none is."""
        return ",".join(f"{name}={value}" for name, value in self.changed().items())

    @classmethod
    def of(cls, given: dict[str, Any]) -> Policies:
        """Policies from plain data. Raises InputError for an unknown name or value."""
        for name in given:
            if name not in choices():
                raise InputError(f"there is no policy {name!r}; there are {', '.join(choices())}")
        return cls(**given)


@cache
def choices() -> dict[str, tuple[str, ...]]:
    """Every policy with the values it may have, the default first or not."""
    hints = get_type_hints(Policies)
    return {field.name: get_args(hints[field.name]) for field in fields(Policies)}
