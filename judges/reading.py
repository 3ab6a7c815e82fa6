"""Reads what a judge wrote: ratings by criterion, as written or expected, or which of two answers it prefers.

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
import math
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from stillroom.common.records import TokenChoice
from stillroom.common.text import excerpt, is_refusal
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

LEAST_MASS = 0.5
"""Probability on the scale's labels, below which what they say is not what the judge would say."""
LEAST_AMBIGUOUS = 0.01
"""Share of that probability on a label that may be the beginning of another, above which the mean means nothing."""
STRUCK_OUT = -9999.0
"""Reported in the place of minus infinity: by vLLM for what was struck out, by OpenAI for what is very unlikely."""
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
    found = _json_items(text, wanted.names)
    if found is None:
        found = _last_ratings(text, len(wanted.names))
    if not found:
        state, detail = _failure(text, f"no rating such as [[{wanted.names[0]}: {wanted.high}]]")
        return Ratings(state, {}, detail)
    try:
        return Ratings(JudgeState.OK, _checked(found, wanted))
    except _Unreadable as error:
        return Ratings(JudgeState.PARSE_FAILED, {}, str(error))


def read_winner(text: str) -> Winner:
    """The preference in `text`: that of the last line which holds one."""
    said: set[str] = set()
    if (given := _json_items(text, (WINNER,))) is not None:
        said = {value.strip().upper() for _, value in given}
    elif found := list(_WINNER.finditer(text)):
        line = text.rfind("\n", 0, found[-1].start())
        said = {match[1].upper().replace("TIE", "C") for match in found if match.start() > line}
    if not said:
        state, detail = _failure(text, "no verdict such as [[A]]")
        return Winner(state, None, detail)
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
            return Winner(JudgeState.PARSE_FAILED, None, f"the winner is {excerpt(other)!r}, expected A, B or tie")


class _Unreadable(Exception):
    """Why a verdict cannot be taken."""


def _last_ratings(text: str, wanted: int) -> list[tuple[str, str]]:
    """Names and values of the last block of ratings; all of them if the block is too short, since a judge may give
    each rating after its own reasons. Differing ones among them are found later."""
    found = list(_RATING.finditer(text))
    start = len(found) - 1
    while start > 0 and _BETWEEN.fullmatch(text, found[start - 1].end(), found[start].start()):
        start -= 1
    said = [(re.sub(r"[ _-]+", "_", match[1].strip().lower()), match[2]) for match in found]
    block = said[max(start, 0) :]
    return block if len({name for name, _ in block}) >= wanted else said


def _checked(found: list[tuple[str, str]], wanted: Wanted) -> dict[str, int]:
    """Whole numbers on the scale, one for each criterion. A fraction is one only of the scale's own top."""
    scale = f"the scale is {wanted.low} to {wanted.high}"
    ratings: dict[str, int] = {}
    for name, value in found:
        if name not in wanted.names:
            raise _Unreadable(f"{excerpt(name)!r} is rated, but only {', '.join(wanted.names)} was asked for")
        match = _NUMBER.fullmatch(value)
        if match is None:
            raise _Unreadable(f"{name} is rated {excerpt(value)!r}: that is not a number; {scale}")
        number = float(match[1])
        if (match[2] is not None and int(match[2]) != wanted.high) or not wanted.low <= number <= wanted.high:
            raise _Unreadable(f"{name} is rated {value.strip()}, but {scale}")
        if not number.is_integer():
            raise _Unreadable(f"{name} is rated {value.strip()}, but whole numbers were asked for")
        if ratings.setdefault(name, int(number)) != number:
            raise _Unreadable(f"{name} is rated both {ratings[name]} and {int(number)}")
    missing = [name for name in wanted.names if name not in ratings]
    if missing:
        raise _Unreadable(f"no rating of {', '.join(missing)}")
    return {name: ratings[name] for name in wanted.names}


def _json_items(text: str, names: tuple[str, ...]) -> list[tuple[str, str]] | None:
    """Names and values of a verdict in JSON, `reasons` left out; None where the text is no such thing.

    Keys have to stand there as they are: one written with escapes may be quoted from an answer. A number is kept as
    it was written; anything that is not text becomes something that is not a number.
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
    said = [
        (name, value if isinstance(value, str) else f"a {type(value).__name__.strip('_').lower()}")
        for name, value in items
        if name != "reasons"
    ]
    plain = all(re.search(key_pattern(re.escape(name)), inner) for name, _ in said)
    return said if plain and any(name in names for name, _ in said) else None


class _Items(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that a key given twice is seen."""


def _failure(text: str, missing: str) -> tuple[JudgeState, str]:
    """Refused, where the text says that the judge will not judge, or only unreadable."""
    opening = " ".join(text[:_OPENING].replace("’", "'").casefold().split())
    if _CANNOT_JUDGE.search(opening) or is_refusal(text):
        return JudgeState.REFUSED, f"the judge refused: {excerpt(text)!r}"
    said = f"{missing} in {excerpt(text)!r}" if text.strip() else "the judge wrote nothing"
    return JudgeState.PARSE_FAILED, said


class Expected(NamedTuple):
    """`value`: the mean, None where there is none, and `why` says why not. `mass`: probability on the scale."""

    value: float | None
    mass: float = 0.0
    why: str = ""


def expected_rating(choices: Sequence[TokenChoice] | None, name: str, rating: int, low: int, high: int) -> Expected:
    """The expected rating of the criterion `name`, which was parsed as `rating`, on the scale `low` to `high`: the
    mean of the judge's own distribution at the place where it wrote its rating. `choices`: the judge's completion,
    thinking included, token by token with the likeliest at each place.

    A judge that hesitates between 3 and 4 says so in its probabilities; the one token that is drawn rounds that away
    and makes most answers tie. The mean over the scale's tokens keeps it, for one request: score = Σ p(s) · s, as in
    G-Eval (Liu et al. 2023, arXiv:2303.16634), which uses it against ties. Wang, Zhang and Choi (2025,
    arXiv:2503.03064) find the mean ahead of the mode wherever they compare them, and that reasons written first
    narrow the distribution. Where we differ: probabilities are normalised over the scale's labels that the server
    reported; nothing is sampled for them.

    It refuses to estimate where the tokens do not carry the scale: the rating is not a separate token there, the
    labels have less than half of the probability, or a label may be the beginning of another (1 of 10). The parsed
    rating stands then, and the result says why. With structured output the second of these checks has little force:
    vLLM strikes out what the schema does not allow before it reports probabilities, so the labels share them with
    white space alone, however little the judge meant them. Only a calibration can tell then.

    >>> token = TokenChoice("4", -0.69, (("4", -0.69), ("3", -0.69)))
    >>> written = (TokenChoice("[[clear:", 0.0, ()), TokenChoice(" ", 0.0, ()), token, TokenChoice("]]", 0.0, ()))
    >>> expected_rating(written, "clear", 4, 1, 5).value
    3.5
    """
    if not choices:
        return Expected(None, why="the server gave no log-probabilities")
    # The token that holds the first digit of the last rating of `name`.
    text = "".join(choice.token for choice in choices)
    words = re.escape(name).replace("_", "[ _-]+")
    written = rf'(?:\[\[[ \t]{{0,8}}{words}\s{{0,8}}[:=]|"{words}"\s{{0,20}}:)\s{{0,8}}"?([0-9])'
    places = [found.start(1) for found in re.finditer(written, text, re.IGNORECASE)]
    if not places:
        return Expected(None, why=f"the rating of {name} was not found among the tokens")
    ends = accumulate(len(choice.token) for choice in choices)
    choice = next(choice for choice, end in zip(choices, ends, strict=True) if places[-1] < end)
    if choice.token.strip() != str(rating):
        return Expected(None, why=f"{rating} is not a separate token: it came in {choice.token!r}")

    # The probability of each label at this place; " 4" and "4" are the same label.
    labels = {str(point): point for point in range(low, high + 1)}
    probabilities: dict[int, float] = {}
    for token, logprob in (dict(choice.top) | {choice.token: choice.logprob}).items():
        point = labels.get(token.strip())
        if point is not None and logprob > STRUCK_OUT:  # false of nan too
            probabilities[point] = probabilities.get(point, 0.0) + math.exp(min(logprob, 0.0))
    mass = math.fsum(probabilities.values())
    if mass < LEAST_MASS:
        why = f"the labels have a probability of {mass:.2f} in all, at least {LEAST_MASS} is needed"
        return Expected(None, mass, why)
    # A label may go on to a longer one (1 to 10); a longer one that was seen as a token is written with that.
    longer = [str(point) for point in range(10, high + 1) if point not in probabilities]
    doubtful = math.fsum(p for point, p in probabilities.items() if any(s.startswith(str(point)) for s in longer))
    if doubtful > LEAST_AMBIGUOUS * mass:
        return Expected(None, mass, f"1 may be the beginning of 10, with a probability of {doubtful:.2f}")
    value = math.fsum(point * p for point, p in probabilities.items()) / mass
    return Expected(min(max(value, low), high), mass)
