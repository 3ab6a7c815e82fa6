r"""Values with a unit, percentages, number bases, ratios, and words.

`3 km` and `3 cm`; `45^\circ` and `45`; `33.5\%` and `0.335`; `1011_2`; `5:8` and `\frac58`; `\text{even}`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from fractions import Fraction
from typing import NamedTuple

from stillroom.traces.answers.rational import rational
from stillroom.traces.answers.spelling import american, is_slip
from stillroom.traces.answers.tree import PI, VALUES, Node, add, divide, mul, number, symbols
from stillroom.traces.answers.values import DIFFERENT, SAME, SIGNIFICANT, UNKNOWN, Answer, Rules, compare_values
from stillroom.traces.answers.vocabulary import NUMBER_WORDS, SCALES, SIZES, UNITS


def units(one: Node, other: Node, rules: Rules) -> Answer:
    """Values with units: the same unit, units of one kind converted, or one side without."""
    if "percent" in (one.kind, other.kind):
        return _percent(one, other, rules)
    if one.kind == other.kind == "compound" and len(one.args) == len(other.args):
        parts = Answer.every(rules.compare(a, b, rules) for a, b in zip(one.args, other.args, strict=True))
        if parts.same is not False:
            return parts
    if "compound" in (one.kind, other.kind):
        return _converted(one, other, rules)
    unit = [node.args[1] if node.kind == "unit" else "" for node in (one, other)]
    bare = [node.args[0] if node.kind == "unit" else node for node in (one, other)]
    if "deg" in unit and unit[0] != unit[1] and "" in unit:  # 45° against 45, and 30° against π/6
        turn = divide(PI, number(180))
        radians = [mul(node, turn) if name == "deg" else node for node, name in zip(bare, unit, strict=True)]
        values = all(node.kind in VALUES for node in radians)
        if values and compare_values(radians[0], radians[1], rules).same is True:
            return rules.decide("degrees", {"drop": True, "value": True, "strict": False})
        answer = rules.compare(bare[0], bare[1], rules)
        if answer.same is not True:
            return answer
        return rules.decide("degrees", {"drop": True, "value": False, "strict": False})
    if unit[0] != unit[1] and "" not in unit:
        return _converted(one, other, rules)
    answer = rules.compare(bare[0], bare[1], rules)
    if answer.same is False and len(symbols(bare[0]) ^ symbols(bare[1])) == 1:
        return Answer(None, "a letter on one side, a unit on the other")
    if unit[0] == unit[1] or answer.same is not True:
        return answer
    written = "".join(unit)
    kept = set(unit) & _KEPT or any(part in SCALES for part in re.split(r"[ /^]", written))
    if kept or (symbols(bare[0]) and not _is_unit(written)):
        return Answer(None, f"the unit {''.join(unit)!r} on one side")
    return rules.decide("units", {"optional": True, "required": False})


_KEPT = frozenset({"rad", "°C", "°F"})
"""Units that are not left out: without them the value is of something else. So it is per dozen."""


def _converted(one: Node, other: Node, rules: Rules) -> Answer:
    """Two different units: by their size, where both are known."""
    first, second = _in_base_units(one), _in_base_units(other)
    if first is not None and second is not None:
        return rules.compare(first.value, second.value, rules) if first.kind == second.kind else DIFFERENT
    if one.kind == other.kind == "unit" and one.args[1] != other.args[1]:
        named = [one.args[1], other.args[1]]
        if all(map(_is_unit, named)):
            return Answer(None, f"the units {' and '.join(map(repr, named))}")
    bare = [node.args[0] if node.kind == "unit" else node for node in (one, other)]
    answer = rules.compare(bare[0], bare[1], rules) if all(node.kind in VALUES for node in bare) else UNKNOWN
    return DIFFERENT if answer.same is False else Answer(None, "different units")


class _Size(NamedTuple):
    kind: str
    value: Node  # in the base unit of its kind


def _in_base_units(node: Node) -> _Size | None:
    """The kind of a quantity, or of several that are added (2 hours 30 minutes), and its value in the base unit; None
    where a unit is not known."""
    sizes: list[tuple[str, Node]] = []
    for part in node.args if node.kind == "compound" else (node,):
        known = SIZES.get(part.args[1]) if part.kind == "unit" else None
        if known is None or part.args[0].kind not in VALUES:
            return None
        sizes.append((known[0], mul(part.args[0], number(known[1]))))
    kinds = {kind for kind, _ in sizes}
    return _Size(kinds.pop(), add(*(value for _, value in sizes))) if len(kinds) == 1 else None


def _is_unit(name: str) -> bool:
    return all(part in UNITS for part in re.split(r"[ /^0-9]+", name) if part)


def _percent(one: Node, other: Node, rules: Rules) -> Answer:
    """33.5% against 0.335, and 10% against 10."""
    if one.kind == other.kind:
        return _exactly(one, other, rules.compare(_hundredth(one), _hundredth(other), rules))
    share, value = (one, other) if one.kind == "percent" else (other, one)
    if value.kind == "unit" and value.args[1]:
        return Answer(None, "a percentage against a unit")
    if value.kind == "unit":
        return rules.compare(share.args[0], value.args[0], rules)
    answer = _exactly(share, value, rules.compare(_hundredth(share), value, rules))
    if answer.same is True:
        return rules.decide("percent", {"value": True, "bare": True, "strict": False})
    if rules.compare(share.args[0], value, rules).same is True:
        return rules.decide("percent", {"value": None, "bare": True, "strict": False})
    return answer


def _exactly(one: Node, other: Node, answer: Answer) -> Answer:
    """The answer, but open where a whole number of percent would be taken for a rounded one by the zeros that it ends
    in: 100% for 99.6%."""
    values = [rational(_hundredth(node) if node.kind == "percent" else node) for node in (one, other)]
    if answer.same is not True or values[0] == values[1]:
        return answer
    for value in (node.args[0] for node in (one, other) if node.kind == "percent"):
        whole = value.kind == "num" and value.args[1] is None and value.args[0].denominator == 1
        digits = str(abs(value.args[0].numerator)).rstrip("0") if whole else ""
        if whole and len(digits) < SIGNIFICANT:  # too few for a rounding
            return Answer(None, "a whole number of percent, which may be rounded")
    return answer


def _hundredth(node: Node) -> Node:
    inner = node.args[0]
    if inner.kind == "num":
        step = inner.args[1]
        return Node("num", (inner.args[0] / 100, (step if step is not None else Fraction(1)) / 100))
    return divide(inner, number(100))


def bases(one: Node, other: Node, rules: Rules) -> Answer:
    if one.kind == other.kind and one.args[1] == other.args[1]:
        return SAME if one.args[0].lstrip("0") == other.args[0].lstrip("0") else DIFFERENT
    values = [_based(node) for node in (one, other)]
    if None in values:
        return UNKNOWN
    return rules.decide("bases", {"strict": False, "value": True}) if values[0] == values[1] else DIFFERENT


def _based(node: Node) -> Fraction | None:
    if node.kind != "base":
        return rational(node)
    with suppress(ValueError):
        return Fraction(int(*node.args))
    return None


def ratios(one: Node, other: Node, rules: Rules) -> Answer:
    """5:8 against 10:16 or 5/8; what may be a time of day is compared as one."""
    if one.kind == other.kind:
        if len(one.args) != len(other.args):
            return DIFFERENT
        if any(part.kind == "dots" for part in (*one.args, *other.args)):
            return UNKNOWN
        alike = Answer.every(rules.compare(a, b, rules) for a, b in zip(one.args, other.args, strict=True))
        if alike.same is True:
            return alike
        if _is_clock(one) and _is_clock(other):
            return DIFFERENT
        if any(rational(part) == 0 for part in (*one.args, *other.args)):
            return Answer(None, "a ratio with a zero, or a time of day")
        pairs = zip(one.args, other.args, strict=True)
        cross = [(mul(a, other.args[0]), mul(b, one.args[0])) for a, b in pairs]
        return Answer.every([compare_values(a, b, rules) for a, b in cross])
    ratio, value = (one, other) if one.kind == "ratio" else (other, one)
    if len(ratio.args) != 2 or value.kind not in VALUES:
        return UNKNOWN
    if _is_clock(ratio) or rational(ratio.args[1]) == 0:
        return Answer(None, "a time of day or a ratio")
    answer = compare_values(divide(*ratio.args), value, rules)
    whole = rational(divide(*ratio.args)) if answer.same is True else None
    if whole is not None and whole.denominator == 1:
        return Answer(None, "a ratio against a whole number")
    return rules.decide("ratios", {"value": True, "strict": False}) if answer.same is True else answer


def _is_clock(node: Node) -> bool:
    """Whether a ratio may be a time of day: an hour, and minutes of two digits."""
    hours, minutes = (
        rational(part) if part.kind == "num" and part.args[1] is None else None for part in node.args[:2]
    )
    return hours is not None and minutes is not None and 0 <= hours < 25 and (10 <= minutes < 60 or minutes == 0)


_ARTICLES = re.compile(r"\b(?:the|a|an|is|are|only|exactly|of|any|all|every|numbers?|integers?)\b|[^\w\s]")
_ALIKE = {"convergent": "converges", "converge": "converges", "divergent": "diverges", "diverge": "diverges"}


def texts(one: Node, other: Node) -> Answer:
    """Words: the same, plainly different, or one within the other."""
    first, second = (_words(node) for node in (one, other))
    if {one.kind, other.kind} <= {"text", "sym"} and _signs(one) != _signs(other):
        return Answer(None, "words with different signs")
    if first != second and len(first) == len(second) and list(map(american, first)) == list(map(american, second)):
        return SAME
    if first == second:
        raw = {str(node.args[0]).casefold().strip() for node in (one, other)}
        return SAME if first or len(raw) == 1 else UNKNOWN
    if not first or not second:
        return UNKNOWN
    if one.kind != other.kind:
        value, words = (other, first) if one.kind == "text" else (one, second)
        number_like = words[0] in NUMBER_WORDS if words else True
        plain = value.kind == "num" and len(words) == 1 and words[0].isalpha() and not number_like
        return DIFFERENT if plain else Answer(None, "words against a formula")
    short = [str(node.args[0]) for node in (one, other) if node.kind == "text"]
    if any(text.isupper() and 2 <= len(text) <= 6 for text in short) and len(first) != len(second):
        return Answer(None, "letters that may stand for words")
    if len(first) == len(second) == 1 and is_slip(first[0], second[0]):
        return Answer(None, "a slip of spelling, or another word")
    if len(first) > 3 or len(second) > 3 or set(first) <= set(second) or set(second) <= set(first):
        return Answer(None, "words that may mean the same")
    return DIFFERENT


def _signs(node: Node) -> list[str]:
    """The signs of a text that mean something: C++, O-, x > 5; not those between words or around them."""
    return _SIGNS.findall(str(node.args[0]))


_SIGNS = re.compile(r"[^\w\s.,;:!?'\"()-]|(?<![A-Za-z])-|-(?![A-Za-z])")


def _words(node: Node) -> list[str]:
    if node.kind == "text":
        words = [_ALIKE.get(word, word) for word in _ARTICLES.sub(" ", node.args[0].lower()).split()]
        return sorted(words) if len(words) <= 3 and set(words) & set(_ALIKE.values()) else words
    if node.kind == "mul" and all(part.kind == "sym" for part in node.args):
        return ["".join(part.args[0] for part in node.args).lower()]
    return [node.args[0].lower()] if node.kind == "sym" else [repr(node)]
