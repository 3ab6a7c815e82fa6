"""The expected rating: the mean of a judge's own distribution over the scale, at the place where it wrote its rating.

A judge that hesitates between 3 and 4 says so in its probabilities; the one token that is drawn rounds that away and
makes most answers tie. The mean over the scale's tokens keeps it, for one request: score = Σ p(s) · s, as in G-Eval
(Liu et al. 2023, arXiv:2303.16634), which uses it against ties. Wang, Zhang and Choi (2025, arXiv:2503.03064) find
the mean ahead of the mode wherever they compare them, and that reasons written first narrow the distribution. Where
we differ: probabilities are normalised over the scale's labels that the server reported; nothing is sampled for them.

It refuses to estimate where the tokens do not carry the scale: the rating is not a separate token there, the labels
have less than half of the probability, or a label may be the beginning of another (1 of 10). The parsed rating stands
then, and the result says why.

With structured output the second of these checks has little force: vLLM strikes out what the schema does not allow
before it reports probabilities, so the labels share them with white space alone, however little the judge meant them.
Only a calibration can tell then.

>>> token = TokenChoice("4", -0.69, (("4", -0.69), ("3", -0.69)))
>>> written = (TokenChoice("[[clear:", 0.0, ()), TokenChoice(" ", 0.0, ()), token, TokenChoice("]]", 0.0, ()))
>>> expected_rating(written, "clear", 4, 1, 5).value
3.5
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stillroom.common.records import TokenChoice

LEAST_MASS = 0.5
"""Probability on the scale's labels, below which what they say is not what the judge would say."""

LEAST_AMBIGUOUS = 0.01
"""Share of that probability on a label that may be the beginning of another, above which the mean means nothing."""


STRUCK_OUT = -9999.0
"""Reported in the place of minus infinity: by vLLM for what was struck out, by OpenAI for what is very unlikely."""


class Expected(NamedTuple):
    """`value`: the mean, None where there is none, and `why` says why not. `mass`: probability on the scale."""

    value: float | None
    mass: float = 0.0
    why: str = ""


def expected_rating(choices: Sequence[TokenChoice] | None, name: str, rating: int, low: int, high: int) -> Expected:
    """The expected rating of the criterion `name`, which was parsed as `rating`, on the scale `low` to `high`.

    `choices`: the judge's completion, thinking included, token by token with the likeliest at each place.
    """
    if not choices:
        return Expected(None, why="the server gave no log-probabilities")
    place = _place(choices, name)
    if place is None:
        return Expected(None, why=f"the rating of {name} was not found among the tokens")
    choice = choices[place]
    if choice.token.strip() != str(rating):
        return Expected(None, why=f"{rating} is not a separate token: it came in {choice.token!r}")
    return _mean(_scale_probabilities(choice, low, high), low, high)


def _place(choices: Sequence[TokenChoice], name: str) -> int | None:
    """The index of the token that holds the first digit of the last rating of `name`."""
    text = "".join(choice.token for choice in choices)
    words = re.escape(name).replace("_", "[ _-]+")
    found = list(
        re.finditer(rf'(?:\[\[[ \t]{{0,8}}{words}\s{{0,8}}[:=]|"{words}"\s{{0,20}}:)\s{{0,8}}"?([0-9])', text, re.I)
    )
    if not found:
        return None
    end, target = 0, found[-1].start(1)
    for index, choice in enumerate(choices):
        end += len(choice.token)
        if target < end:
            return index
    return None


def _scale_probabilities(choice: TokenChoice, low: int, high: int) -> dict[int, float]:
    """The probability of each label at this place; " 4" and "4" are the same label."""
    labels = {str(point): point for point in range(low, high + 1)}
    tokens = dict(choice.top) | {choice.token: choice.logprob}
    probabilities: dict[int, float] = {}
    for token, logprob in tokens.items():
        point = labels.get(token.strip())
        if point is not None and logprob > STRUCK_OUT:  # false of nan too
            probabilities[point] = probabilities.get(point, 0.0) + math.exp(min(logprob, 0.0))
    return probabilities


def _mean(probabilities: Mapping[int, float], low: int, high: int) -> Expected:
    mass = math.fsum(probabilities.values())
    if mass < LEAST_MASS:
        return Expected(
            None, mass, f"the labels have a probability of {mass:.2f} in all, at least {LEAST_MASS} is needed"
        )
    # A label may go on to a longer one (1 to 10); a longer one that was seen as a token is written with that.
    longer = [str(point) for point in range(10, high + 1) if point not in probabilities]
    doubtful = math.fsum(p for point, p in probabilities.items() if any(s.startswith(str(point)) for s in longer))
    if doubtful > LEAST_AMBIGUOUS * mass:
        return Expected(None, mass, f"1 may be the beginning of 10, with a probability of {doubtful:.2f}")
    value = math.fsum(point * p for point, p in probabilities.items()) / mass
    return Expected(min(max(value, low), high), mass)
