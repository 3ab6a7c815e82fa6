"""Reads which of two answers somebody preferred, as people and programs write it down: A, 1, left, model_a, tie.

>>> winner_in(" Response 2 "), winner_in("a>b"), winner_in("Tie (bothbad)"), winner_in("GPT-4", models=("x", "gpt-4"))
('b', 'a', 'tie', 'b')

Numbers count from 1, unless the names of the answers' fields count from 0. A 0 where they do not is refused for the
whole file, since nobody can tell whether it is the first answer or a tie.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from stillroom.common.preferred.base import Flaw, RowFault, Winner, number_in, shown
from stillroom.errors import InputError

_SIDES: dict[str, Winner] = {
    **dict.fromkeys(("a", "left", "first"), "a"),
    **dict.fromkeys(("b", "right", "second"), "b"),
}
_TIES = frozenset(
    {
        "tie",
        "tied",
        "ties",
        "draw",
        "equal",
        "equally good",
        "equally bad",
        "same",
        "the same",
        "about the same",
        "both",
    }
    | {"both good", "both bad", "bothgood", "bothbad", "neither", "neither is better", "no preference", "tie bothbad"}
    | {"tie both bad", "tie bothgood", "tie both good", "=", "a=b", "1=2", "neutral"}
)
_THING = (
    r"(?:the )?(?:answer|response|model|output|option|assistant|candidate|completion|text|conversation|chat|side)"
)
_HOW = r"(?:much|slightly|clearly|significantly|a bit|a little)"
_SAID = re.compile(
    rf"(?:(?:i )?(?:prefer|choose) )?(?:the )?(?:{_THING} ?)?(?P<side>a|b|[0-9]|left|right|first|second)"
    rf"(?: {_THING})?(?: {_HOW})?(?: (?:wins|won|is (?:{_HOW} )?better|better))?"
)
_BOTH = re.compile(r"both (?:are |were )?(?:equally |equal|the )?(?:good|bad|fine|wrong|correct|right|same)?")
_COMPARED = re.compile(r"(?P<side>[ab12])(?P<sign>[<>]{1,3})(?P<other>[ab12])")
_LONGEST = 200  # characters of a label; a longer one is an explanation
WORKS = "A, B or tie, 1 or 2, left or right, or the name of a model in model_a or model_b"
"""What a label may be, for messages."""


def winner_in(value: Any, *, models: tuple[str, str] = ("", ""), from_zero: bool = False) -> Winner:
    """The winner that a label names. `models`: who wrote the two answers, "" if unknown. `from_zero`:
    numbers count the answers from 0.

    Raises RowFault for a label that is missing or not understood, InputError for a 0 that could mean two things.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowFault(Flaw.NO_LABEL, f"no label: it may be {WORKS}")
    if isinstance(value, bool) or not isinstance(value, str | int | float) or len(str(value)) > _LONGEST:
        raise _unknown(value)
    if (named := _by_model(str(value), models)) is not None:
        return named
    if (number := number_in(value)) is not None:
        if number < 0 or not number.is_integer():
            raise _unknown(value)  # of a scale from -3 to 3, say: which end is whose, nobody knows
        return _side(str(int(number)), value, from_zero=from_zero)
    text = unicodedata.normalize("NFKC", str(value))
    said = re.sub(r"[\s_\-]+", " ", re.sub(r"[\[\]()\"'*.:,!`]+", " ", text)).strip().casefold()
    if said in _TIES or said.replace(" ", "") in _TIES or _BOTH.fullmatch(said):
        return "tie"
    if found := _COMPARED.fullmatch(said.replace(" ", "")):
        return _side(found["side"] if found["sign"][0] == ">" else found["other"], value, from_zero=False)
    found = _SAID.fullmatch(said)
    if found is None:
        raise _unknown(value)
    return _side(found["side"], value, from_zero=from_zero)


def _by_model(value: str, models: tuple[str, str]) -> Winner | None:
    """The side of the model that is named. Raises RowFault where both answers are of that model."""
    wanted = " ".join(value.split()).casefold()
    sides = [side for side, name in zip("ab", models, strict=True) if name and name.strip().casefold() == wanted]
    if len(sides) == 2:
        raise RowFault(Flaw.UNKNOWN_LABEL, f"the label is {shown(value)}, which wrote both answers: write A or B")
    return None if not sides else "a" if sides[0] == "a" else "b"


def _side(said: str, value: Any, *, from_zero: bool) -> Winner:
    if said in _SIDES:
        return _SIDES[said]
    place = int(said) - (0 if from_zero else 1)
    if place == -1:
        raise InputError(
            f"a label is {shown(value)}, and nobody can tell whether that is the first answer or a tie: write A, B "
            "and tie, or call the answers response_0 and response_1"
        )
    if place not in (0, 1):
        raise _unknown(value)
    return "a" if place == 0 else "b"


def _unknown(value: Any) -> RowFault:
    return RowFault(Flaw.UNKNOWN_LABEL, f"the label is {shown(value)}, which is not understood: it may be {WORKS}")


def of_sign(preference: float) -> Winner:
    """The winner by a signed preference, as HelpSteer writes it: below 0 for the first answer, 0 for a tie."""
    return "a" if preference < 0 else "b" if preference > 0 else "tie"


def most_said(votes: tuple[Winner, ...]) -> Winner:
    """What most of several people say; a tie where no side has more votes than every other verdict."""
    counts = {side: votes.count(side) for side in ("a", "b", "tie")}
    top = [side for side, n in counts.items() if n == max(counts.values())]
    return "a" if top == ["a"] else "b" if top == ["b"] else "tie"
