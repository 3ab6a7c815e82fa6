r"""Answers that are compared by their form, before anything is read as a formula.

Relation signs, brackets, times of day, dates, units, lists of choices, yes and no, objects of a program, and
words that are the same but for their capitals and stops. What is none of these is not decided here.

>>> by_form("27 Nov 2023", "November 27, 2023"), by_form("yes", "Ja."), by_form("{'a': 1}", '{"a": 2}')
(True, True, False)
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from importlib.resources import files
from typing import Any

import yaml

from stillroom.traces.answers.spelling import american
from stillroom.traces.answers.vocabulary import UNITS

_WRAPPER = re.compile(r"\\(?:text(?:bf|rm|it|sf|normal)?|math(?:rm|bf|sf)|mbox)\s*\{([^{}]*)\}|\$|\*\*")
_CLOCK = re.compile(
    r"(?:at\s+)?(\d{1,2})(?:[:.](\d\d))?(?::00)?\s*(?:\\(?:text|mathrm|textrm)\s*\{)?\s*(?:(am|pm)|o'?clock|(noon|midnight)|h)?\s*\}?",
    re.IGNORECASE,
)
RELATIONS = {
    "<": "<",
    ">": ">",
    "=": "=",
    "<=": "<=",
    ">=": ">=",
    "\\lt": "<",
    "\\gt": ">",
    "\\le": "<=",
    "\\leq": "<=",
}
RELATIONS |= {"\\ge": ">=", "\\geq": ">=", "≤": "<=", "≥": ">=", "\\ne": "!=", "\\neq": "!=", "≠": "!="}
_OF_DAY = re.compile(r"(?i)[0-9]\s*(?:\\\w+\{)?\s*(?:[ap]\.?\s?m\b|noon|midnight)")
_BEGINS_CHOICES = frozenset("ABCDEFGHIJ$\\*")
CHOICES = re.compile(r"(?:[A-J](?:\s*(?:,|;|and|&)?\s*)){2,10}")
_FORMS = yaml.safe_load((files("stillroom.traces.answers") / "languages.yaml").read_text(encoding="utf-8"))["forms"]
_TRUTHS: dict[str, str] = {word: kind for kind, words in _FORMS["truths"].items() for word in words}
_MONTHS: dict[str, int] = {name: number for number, names in enumerate(_FORMS["months"], 1) for name in names.split()}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATES = tuple(
    re.compile(rf"(?i)(?:on )?(?:the )?{pattern}")
    for pattern in (
        rf"(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<m>{_MONTH})\.?(?:,? (?P<y>\d{{4}}))?",
        rf"(?P<m>{_MONTH})\.? (?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<y>\d{{4}}))?",
        r"(?P<y>\d{4})[-/](?P<m>\d{2})[-/](?P<d>\d{2})",
    )
)
_BRACKETS = re.compile(r"[\s()\[\]{}<>]*[()\[\]{}<>][\s()\[\]{}<>]*")
_ONLY_WORDS = re.compile(r"[^\W\d_]{2,}(?:[\s.,;:!'’\"()-]+[^\W\d_]{2,})+[\s.,!'\")]*")
_WORDY = re.compile(r"[^\W\d_]{2}|[A-Z][0-9₀-₉_]|[0-9]{4}[-/]|[\u0900-\ud7ff]")
_STOPS = re.compile(r"[\s.,;:!'’\"()-]+")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_MOLECULE = re.compile(r"[0-9]{0,2}(?:[A-Z][a-z]?[0-9]{0,3}|[()]){2,40}")
_ARTICLES = frozenset(["a", "an", "the"])
MAX_OBJECT = 2_000
"""Characters of an object that is read."""


def without_setting(text: str) -> str:
    r"""A text without what sets it: \text{}, dollars, stars."""
    return _WRAPPER.sub(r"\1", text)


def is_of_brackets(text: str) -> bool:
    """Whether a text is nothing but brackets, which may be the answer: ] ) }"""
    return len(text) <= 200 and _BRACKETS.fullmatch(text) is not None


def by_form(gold: str, answer: str) -> bool | None:
    """Whether two relation signs, times of day, or lists of choices are the same; None where they are not that."""
    signs = [RELATIONS.get(text.strip("$ ")) for text in (gold, answer)]
    if None not in signs:
        return signs[0] == signs[1]
    if is_of_brackets(gold):
        return "".join(gold.split()) == "".join(answer.split())
    if (same := _by_words(gold, answer)) is not None:
        return same
    named = [_as_unit(text) for text in (gold, answer)]
    if named[0] and named[0] == named[1]:
        return True
    if _OF_DAY.search(gold) or _OF_DAY.search(answer):
        clocks = [clock for clock in map(_minutes, (gold, answer)) if clock is not None]
        if len(clocks) == 2:
            (first, known), (second, other) = clocks
            if known and other:
                return first == second
            return False if first % 720 != second % 720 else None  # 3:00 may be at night
    if gold[0] in _BEGINS_CHOICES and answer[0] in _BEGINS_CHOICES:
        texts = [without_setting(text).strip().rstrip(".") for text in (gold, answer)]
        if all(map(CHOICES.fullmatch, texts)) and any(re.search(r"[^A-J]", text) for text in texts):
            letters = [re.findall("[A-J]", text.replace("and", "")) for text in texts]
            if all(len(set(each)) == len(each) for each in letters):
                groups = [sorted(re.findall("[A-J]+", text.replace("and", ","))) for text in texts]
                blanks = all(1 < len(each) < len(known) for each, known in zip(groups, letters, strict=True))
                if blanks and groups[0] != groups[1]:
                    return None  # AB, C is not A, BC
                return set(letters[0]) == set(letters[1])
    return None


def _as_unit(text: str) -> tuple[str, ...]:
    """The names of the units that a text is: ft/s and feet per second; nothing where it is more than units."""
    parts = re.split(r"\s*/\s*|\s+per\s+", without_setting(text).strip(" .").lower())
    return tuple(UNITS[part] for part in parts) if all(part in UNITS for part in parts) else ()


def _minutes(text: str) -> tuple[int, bool] | None:
    """A time of day in minutes, and whether it is known which half of the day it is in."""
    found = _CLOCK.fullmatch(re.sub(r"(?i)\b([ap])\.?\s?m\b\.?", r"\1m", text.strip().strip("$")))
    if found is None or not (found[2] or found[3] or found[4] or "clock" in text):
        return None
    hour, minute = int(found[1]), int(found[2] or 0)
    if hour > 24 or minute > 59 or (found[3] and not 1 <= hour <= 12):
        return None
    if found[4]:
        return (0 if found[4].lower() == "midnight" else 720) + minute, True
    if found[3]:
        return hour % 12 * 60 + minute + (720 if found[3].lower() == "pm" else 0), True
    return hour % 24 * 60 + minute, hour > 12 or hour == 0


def _by_words(gold: str, answer: str) -> bool | None:
    """Whether two dates, objects, or answers of yes and no are the same; True for the same words; else None."""
    if gold[0] == answer[0] == "{" and ":" in gold and (objects := _objects(gold, answer)) is not None:
        return objects
    if len(gold) < 2 or len(answer) < 2 or any("\\" in text and "\\text" not in text for text in (gold, answer)):
        return None  # a formula
    if not (_WORDY.search(gold) and _WORDY.search(answer)):
        return None
    one, other = (without_setting(text).strip(" .!'\"") for text in (gold, answer))
    truths = [_TRUTHS.get(text.casefold()) for text in (one, other)]
    if truths[0] and truths[0] == truths[1]:
        return True
    formulas = [_molecule(text) for text in (one, other)]
    if formulas[0] and formulas[0] == formulas[1]:
        return True
    dates = [_as_date(text) for text in (one, other)]
    if dates[0] and dates[1]:
        return (
            dates[0] == dates[1] if dates[0][2:] == dates[1][2:] or None not in (dates[0][2], dates[1][2]) else None
        )
    if (numbered := _by_numeral(one, other)) is not None:
        return numbered
    if _ONLY_WORDS.fullmatch(one) and _ONLY_WORDS.fullmatch(other):
        words = [[w for w in _STOPS.split(text.casefold()) if w and w not in _ARTICLES] for text in (one, other)]
        if len(words[0]) == len(words[1]) and words[0] != words[1]:
            words = [list(map(american, each)) for each in words]
        return True if words[0] == words[1] and words[0] else None
    return None


def _by_numeral(one: str, other: str) -> bool | None:
    """World War II and World War 2: whether two names with a numeral behind the same words are the same; None where
    that is not what they are, or both write it alike."""
    names = [_NUMBERED.fullmatch(text) for text in (one, other)]
    if names[0] is None or names[1] is None or names[0]["number"].isdigit() == names[1]["number"].isdigit():
        return None
    said = [[w for w in name["words"].casefold().split() if w not in _ARTICLES] for name in names if name is not None]
    numbers = [_ROMAN.get(name["number"], 0) or int(name["number"]) for name in names if name is not None]
    return numbers[0] == numbers[1] if said[0] == said[1] else None


_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "VI": 6, "VII": 7, "VIII": 8, "IX": 9} | {
    f"X{roman}": 10 + value
    for roman, value in {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7, "VIII": 8, "IX": 9}.items()
}
"""Numerals behind a name. V, X and XX are not here: Malcolm X, chromosome X."""
_NUMBERED = re.compile(
    r"(?P<words>[^\W\d_]{3,20}(?: [^\W\d_]{2,20}){0,5}) (?P<number>[1-9][0-9]?|" + "|".join(_ROMAN) + ")"
)


def _molecule(text: str) -> str:
    """A formula of chemistry in one way of writing, H2O for H₂O and H_2O; "" for what is none."""
    plain = re.sub(r"[_{}\s$]", "", text.translate(_LOWERED))
    return plain if re.search(r"\d", plain) and _MOLECULE.fullmatch(plain) else ""


def _as_date(text: str) -> tuple[int, int, int | None] | None:
    """The day, month and year of a date; its year may be left out."""
    if len(text) > 40 or not any(map(str.isdigit, text)):
        return None
    found = next((match for pattern in _DATES if (match := pattern.fullmatch(text)) is not None), None)
    if found is None:
        return None
    month = int(found["m"]) if found["m"].isdigit() else _MONTHS[found["m"].casefold()]
    return int(found["d"]), month, int(found["y"]) if found["y"] else None


def _objects(gold: str, answer: str) -> bool | None:
    """Whether two objects, as JSON or a program writes them, are the same; None where they are none."""
    one, other = _object(gold), _object(answer)
    return one == other if isinstance(one, dict) and isinstance(other, dict) else None


def _object(text: str) -> Any:
    if len(text) > MAX_OBJECT:
        return None
    for written in (text, re.sub(r"'([^'\"]*)'", r'"\1"', text)):
        with suppress(ValueError, RecursionError):
            return json.loads(written)
    return None
