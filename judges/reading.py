"""Reads what a judge wrote: ratings by criterion, or which of two answers it prefers.

A verdict is `[[helpfulness: 4]]`, one for each criterion, or `[[A]]`, `[[B]]`, `[[tie]]`; or a JSON object of these,
alone or as the last fenced block. The last verdicts count, so a judge may think aloud first. Ratings are joined by
name, never by position: blank lines and another order change nothing. Whatever is not exactly what was asked for (a
criterion too few, too many or rated twice differently, a number off the scale or between its points, "8/10" on a
scale to 5) is `parse_failed` with the reason; nothing is guessed, clipped or averaged.

>>> read_ratings("Clear. [[clear: 4]]", Wanted(("clear",), 1, 5)).ratings
{'clear': 4}
>>> read_ratings("[[clear: 8/10]]", Wanted(("clear",), 1, 5)).detail
'clear is rated 8/10, but the scale is 1 to 5'
>>> read_winner("[[B]] is tempting.\\n[[A]]").winner
'first'
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from stillroom.common.text import is_refusal
from stillroom.judges.records import JudgeState

VERSION = 1  # part of a judge's identity: raise it when a text could be read differently
JSON_LIMIT = 100_000  # characters; a longer text is not a verdict in JSON

_NAME = r"[A-Za-z][A-Za-z0-9_ -]{0,50}"
_RATING = re.compile(rf"\[\[[ \t]{{0,8}}({_NAME})[:=]([^\[\]\n]{{0,40}})\]\]")
_BETWEEN = re.compile(r"[\s,;.*•-]*")
_NUMBER = re.compile(r"\s*([-+]?[0-9]{1,6}(?:\.[0-9]{1,6})?)\s*(?:/\s*([0-9]{1,6}))?\s*")
_WINNER = re.compile(r"\[\[[ \t]{0,8}(?:winner[ \t]{0,8}[:=])?[ \t]{0,8}(A|B|C|tie)[ \t]{0,8}\]\]", re.IGNORECASE)
_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)
_CANNOT_JUDGE = re.compile(
    r"\bi(?: (?:can\s?not|can't|won't|will not|decline to|must decline to)|(?:'m| am) (?:unable|not able) to)"
    r" (?:\w+ ){0,2}?(?:rate|judge|grade|evaluate|score|assess|compare|choose|pick|rank|give|provide)\b"
)
_OPENING = 240

VERDICTS = (_RATING, _WINNER)
"""All that is read as a verdict outside JSON, wherever it stands; texts by others are kept free of it."""
WINNER = "winner"
"""The key of a preference in JSON."""


def key_pattern(names: str) -> str:
    """A pattern for a key of a JSON verdict, in two groups: its name, and what follows. `names`: a pattern."""
    return rf'"({names})"(\s{{0,20}}:)'


class Wanted(NamedTuple):
    """What ratings are asked for: of which criteria, from `low` to `high` in whole numbers."""

    names: tuple[str, ...]
    low: int
    high: int


class Ratings(NamedTuple):
    """What was read: `ratings` by criterion where the state is `ok`, else none, and `detail` says why."""

    state: JudgeState
    ratings: Mapping[str, int]
    detail: str = ""


class Winner(NamedTuple):
    """Which answer won, of the one shown first (A) and second (B); None for a tie (state `tie`) or a failure."""

    state: JudgeState
    winner: Literal["first", "second"] | None
    detail: str = ""


def read_ratings(text: str, wanted: Wanted) -> Ratings:
    """The ratings in `text`, a judge's whole answer without its thinking part."""
    given = _json_items(text, wanted.names)
    found = _last_ratings(text, len(wanted.names)) if given is None else given
    if not found:
        failure = _failure(text, f"no rating such as [[{wanted.names[0]}: {wanted.high}]]")
        return Ratings(failure.state, {}, failure.detail)
    try:
        return Ratings(JudgeState.OK, _checked(found, wanted))
    except _Unreadable as error:
        return Ratings(JudgeState.PARSE_FAILED, {}, str(error))


def read_winner(text: str) -> Winner:
    """The preference in `text`: that of the last line which holds one."""
    given = _json_items(text, (WINNER,))
    said = {str(value).strip().upper() for _, value in given} if given is not None else _last_winners(text)
    if not said:
        failure = _failure(text, "no verdict such as [[A]]")
        return Winner(failure.state, None, failure.detail)
    if len(said) > 1:
        return Winner(JudgeState.PARSE_FAILED, None, f"the last verdict names {' and '.join(sorted(said))}")
    match said.pop():
        case "A":
            return Winner(JudgeState.OK, "first")
        case "B":
            return Winner(JudgeState.OK, "second")
        case "C" | "TIE":
            return Winner(JudgeState.TIE, None)
        case other:
            return Winner(JudgeState.PARSE_FAILED, None, f"the winner is {_short(other)}, expected A, B or tie")


class _Unreadable(Exception):
    """Why a verdict cannot be taken."""


class _Said(NamedTuple):
    name: str
    value: str


def _last_ratings(text: str, wanted: int) -> list[_Said]:
    """The last block of ratings; all of them if the block is too short, since a judge may give each rating after
    its own reasons. Differing ones among them are found later."""
    found = list(_RATING.finditer(text))
    start = len(found) - 1
    while start > 0 and _BETWEEN.fullmatch(text, found[start - 1].end(), found[start].start()):
        start -= 1
    said = [_Said(_key(match[1]), match[2]) for match in found]
    block = said[max(start, 0) :]
    return block if len({each.name for each in block}) >= wanted else said


def _key(name: str) -> str:
    return re.sub(r"[ _-]+", "_", name.strip().lower())


def _checked(found: list[_Said], wanted: Wanted) -> dict[str, int]:
    ratings: dict[str, int] = {}
    for name, value in found:
        if name not in wanted.names:
            raise _Unreadable(f"{_short(name)} is rated, but only {', '.join(wanted.names)} was asked for")
        number = _number(name, value, wanted)
        if ratings.setdefault(name, number) != number:
            raise _Unreadable(f"{name} is rated both {ratings[name]} and {number}")
    missing = [name for name in wanted.names if name not in ratings]
    if missing:
        raise _Unreadable(f"no rating of {', '.join(missing)}")
    return {name: ratings[name] for name in wanted.names}


def _number(name: str, value: str, wanted: Wanted) -> int:
    """The whole number on the scale. A fraction is one only of the scale's own top."""
    scale = f"the scale is {wanted.low} to {wanted.high}"
    match = _NUMBER.fullmatch(value)
    if match is None:
        raise _Unreadable(f"{name} is rated {_short(value)}: that is not a number; {scale}")
    number = float(match[1])
    if (match[2] is not None and int(match[2]) != wanted.high) or not wanted.low <= number <= wanted.high:
        raise _Unreadable(f"{name} is rated {value.strip()}, but {scale}")
    if not number.is_integer():
        raise _Unreadable(f"{name} is rated {value.strip()}, but whole numbers were asked for")
    return int(number)


def _last_winners(text: str) -> set[str]:
    """The verdicts on the last line that holds any, "C" for a tie."""
    found = list(_WINNER.finditer(text))
    if not found:
        return set()
    line = text.rfind("\n", 0, found[-1].start())
    return {match[1].upper().replace("TIE", "C") for match in found if match.start() > line}


# -- JSON ----------------------------------------------------------------------------------------------------------


def _json_items(text: str, names: tuple[str, ...]) -> list[_Said] | None:
    """Names and values of a verdict in JSON, `reasons` left out; None where the text is no such thing.

    Keys have to stand there as they are: one written with escapes may be quoted from an answer.
    """
    inner = text.strip()
    fenced = inner[inner.rfind("```", 0, -3) :] if inner.endswith("```") else ""
    if fenced and (match := _FENCED.fullmatch(fenced)):
        inner = match[1].strip()
    if not (inner.startswith("{") and inner.endswith("}")) or len(inner) > JSON_LIMIT:
        return None
    try:
        items = json.loads(inner, object_pairs_hook=_Items, parse_constant=str, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    said = [_Said(name, _as_text(value)) for name, value in items if name != "reasons"]
    plain = all(re.search(key_pattern(re.escape(each.name)), inner) for each in said)
    return said if plain and any(each.name in names for each in said) else None


class _Items(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that a key given twice is seen."""


def _as_text(value: Any) -> str:
    """A number as it was written; anything else as something that is not a number."""
    return value if isinstance(value, str) else f"a {type(value).__name__.strip('_').lower()}"


# -- nothing found -------------------------------------------------------------------------------------------------


class _Failure(NamedTuple):
    state: JudgeState
    detail: str


def _failure(text: str, missing: str) -> _Failure:
    """Refused, where the text says that the judge will not judge, or only unreadable."""
    opening = " ".join(text[:_OPENING].replace("’", "'").casefold().split())
    if _CANNOT_JUDGE.search(opening) or is_refusal(text):
        return _Failure(JudgeState.REFUSED, f"the judge refused: {_short(text)}")
    said = f"{missing} in {_short(text)}" if text.strip() else "the judge wrote nothing"
    return _Failure(JudgeState.PARSE_FAILED, said)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 80 else line[:79] + "…")
