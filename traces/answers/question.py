r"""What the question tells about an answer: which options it offers, and under which name it asks for the answer.

>>> of_question("B", "Canberra", "Capital of Australia?\nA) Sydney\nB) Canberra", str.__eq__)
Pair(gold='B', answer='B')
>>> of_question("293", "m+n = 293", "… Find $m+n$.", str.__eq__)
Pair(gold='293', answer='293')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

MAX_PROMPT = 20_000
"""Characters of a prompt, from its end, that are looked at."""
_LETTER = re.compile(r"(?:^|(?<=[\s;,$]))\(?([A-J])[).:、．]", re.MULTILINE)
_SMALL_LETTER = re.compile(r"(?:^|(?<=[\s;,:?]))\(?([a-j])[).](?=\s)", re.MULTILINE)
_SETTING = re.compile(r"\\(?:text|mathrm|textrm|mbox|textbf|mathbf)\s*\{([^{}]*)\}")
_LETTERED = re.compile(r"\(?([A-J])[).:]{1,2}\s+(.+)", re.DOTALL)
Same = Callable[[str, str], bool]
_SMALL = re.compile(r"\A[^\w\\$]*([a-j])(?:[).:}]+(?=\s|\Z)|\W*\Z)")
"""A small letter alone, or with the text of its option."""
_LONE = re.compile(r"\W*(?:\\(?:text|mathrm|textbf|mathbf)\s*\{)?\W*([A-J])\W*")
_NOISE = re.compile(r"\\(?:text|mathrm|textrm|mbox|textbf|mathbf|left|right)(?![a-z])|\\[,;:! ()\[\]]|[\s${}*`\"']+")
_NAMED = re.compile(r"(?P<name>[^=<>≤≥≈]{2,60})=(?P<rest>[^<>≤≥]+)")
_OF_WHAT = "the|thevalueof|thesumof|thesum|theset|allvaluesof"
_FIND = "find|compute|evaluate|determine|calculate|whatis|what's|valueof|report|giveyouransweras|enter|求"


class Pair(NamedTuple):
    """A gold and an answer, as the question lets them be read."""

    gold: str
    answer: str


def of_question(gold: str, answer: str, prompt: str, same: Same) -> Pair:
    """Both as they were found; an option's text as its letter where the other side is a letter, and a value without
    the name by which the prompt asks for it. `same`: whether two answers are the same."""
    if not prompt or gold == answer:
        return Pair(gold, answer)
    prompt = prompt[-MAX_PROMPT:]
    if (_SMALL.match(answer) or _SMALL.match(gold)) and options(prompt):
        gold, answer = (_SMALL.sub(lambda small: f"({small[1].upper()})", text, count=1) for text in (gold, answer))
    one, other = _LONE.fullmatch(gold), _LONE.fullmatch(answer)
    lettered = _LETTERED.fullmatch(answer)
    if one is not None and lettered is not None and (offered := options(prompt)):
        option = offered.get(lettered[1], "")
        others = [letter for letter, text in offered.items() if letter != lettered[1] and same(text, lettered[2])]
        if option and others and not same(option, lettered[2]):
            return Pair(gold, f"{lettered[1]} | {others[0]}")  # the letter of one option and the text of another
    if (one is None) != (other is None) and (offered := options(prompt)):
        if one is not None:
            letter = _only(offered, answer, same)
            return Pair(gold, letter) if letter else Pair(gold, answer)
        letter = _only(offered, gold, same)
        return Pair(letter, answer) if letter else Pair(gold, answer)
    if "=" in answer and "=" not in gold and (named := _NAMED.fullmatch(answer)) and _is_asked(named["name"], prompt):
        return Pair(gold, named["rest"].strip(" $"))
    return _percentages(gold, answer, prompt)


def _percentages(gold: str, answer: str, prompt: str) -> Pair:
    """Both without the percent sign that one has, where the prompt asks for a percentage: 25% is 25 there."""
    signs = [_PERCENT.search(text) for text in (gold, answer)]
    if (signs[0] is None) == (signs[1] is None) or not _ASKS_PERCENT.search(prompt.lower()):
        return Pair(gold, answer)
    bare, share = (answer, gold) if signs[0] else (gold, answer)
    number = re.fullmatch(r"[\s$]*([0-9]+(?:\.[0-9]+)?)[\s$.]*", bare)
    if number is None or float(number[1]) < 1:
        return Pair(gold, answer)  # .25 may be 25 %, or .25 %
    share = _PERCENT.sub("", share)
    return Pair(share, answer) if signs[0] else Pair(gold, share)


_PERCENT = re.compile(r"\s?(?:\\?%|percent\b)(?=[\s$.}]*\Z)")
_ASKS_PERCENT = re.compile(
    r"(?:what|which|in|as an?|the|find|calculate|many|how much)\s(?:\w+\s){0,2}?(?:percent|percentage|per cent)\b"
    r"|百分|процент|prozent|por ?cento|pour ?cent|パーセント|퍼센트|प्रतिशत|phần trăm"
)


def says_in_its_words(gold: str, answer: str, prompt: str) -> bool:
    """Whether a sentence says nothing but the gold and words of the question: "The capital of Japan is Tokyo." """
    question = set(_words_of(prompt[-MAX_QUESTION:]))
    wanted, said = _words_of(gold), _words_of(answer)
    if (
        not 0 < len(wanted) <= 6
        or len(said) > 40
        or not question
        or set(wanted) <= question
        or gold.strip().isdigit()
    ):
        return False
    if any(not word[0].isalpha() for word in wanted) or (len(wanted) == 1 and len(wanted[0]) < 3):
        return False
    places = [at for at in range(len(said)) if said[at : at + len(wanted)] == wanted]
    if len(places) != 1 or len(said) < len(wanted) + 2:
        return False
    rest = said[: places[0]] + said[places[0] + len(wanted) :]
    return all(word in question or word in _LINKING or any(_akin(word, other) for other in question) for word in rest)


MAX_QUESTION = 400
"""Characters of a prompt, from its end, whose words a sentence may say again."""
_LINKING = frozenset(
    """
    the a an is are was were of in on at to by for it he she they that this which so therefore thus as and his her
    their its did does do had has have been be with from
    """.split()  # noqa: SIM905
)


def _words_of(text: str) -> list[str]:
    return [word for word in re.findall(r"[^\W_]+", text.casefold()) if word not in ("the", "a", "an")]


def _akin(one: str, other: str) -> bool:
    """Whether two words are forms of one: try and tried, wear and wears."""
    return (
        min(len(one), len(other)) > 3
        and (one.startswith(other[:-1]) or other.startswith(one[:-1]))
        and abs(len(one) - len(other)) <= 3
    )


@lru_cache(maxsize=256)
def options(prompt: str) -> Mapping[str, str]:
    """The options that a prompt offers, by letter; none unless they are A, B and so on, once
    each."""
    found = list(_LETTER.finditer(prompt)) or list(_SMALL_LETTER.finditer(prompt))
    letters = [match[1].upper() for match in found]
    if len(letters) < 2 or letters != [chr(ord("A") + place) for place in range(len(letters))]:
        return {}
    texts = [prompt[a.end() : b.start()] for a, b in pairwise(found)]
    texts.append(prompt[found[-1].end() :].lstrip().split("\n", 1)[0])
    return dict(zip(letters, (text.strip() for text in texts), strict=True))


def _only(offered: Mapping[str, str], text: str, same: Same) -> str:
    """The letter of the one option that a text is; "" where none is, or several are. Options are compared as they are
    written, then by what they mean."""
    written = [letter for letter, option in offered.items() if _written(option) == _written(text)]
    fitting = written or [
        letter for letter, option in offered.items() if option and not _is_close(option, text) and same(option, text)
    ]
    return fitting[0] if len(fitting) == 1 else ""


def _is_close(one: str, other: str) -> bool:
    """Whether two texts differ by capitals or a prime alone: 5 Mm and 5 mm, 3' and 3."""
    bare = ["".join(text.split()).rstrip(".,;") for text in (one, other)]
    return bare[0] != bare[1] and bare[0].rstrip("'\"′″").casefold() == bare[1].rstrip("'\"′″").casefold()


def _written(text: str) -> str:
    """A text as options are compared: without what sets it, words in small letters."""
    bare = " ".join(_SETTING.sub(r"\1", text).replace("$", " ").split()).strip("*_` ").rstrip(".,; ")
    bare = bare[1:-1] if len(bare) > 2 and bare[0] == bare[-1] and bare[0] in "'\"" else bare
    return bare.casefold() if re.fullmatch(r"[A-Za-z' -]{4,}", bare) else bare


def _plain(text: str) -> str:
    text = re.sub(r"\\(cup|cap)(?![a-z])", lambda sign: {"cup": "∪", "cap": "∩"}[sign[1]], text)
    text = re.sub(r"(?<=\b[A-Za-z])['′](?!\w)", "′", text)  # a set without the other's members, or a derivative
    return _NOISE.sub("", text).casefold().strip(".,;:")


def _is_asked(name: str, prompt: str) -> bool:
    """Whether a prompt asks for what has this name, which is a formula, and does not say what it is equal to."""
    plain = _plain(name)
    if not re.search(r"[a-z]", plain):
        return False
    asked = rf"(?:{_FIND})(?:{_OF_WHAT})?{re.escape(plain)}(?![a-z0-9=<>+\-*/^≤≥∪∩∖′\\(\[])"
    return re.search(asked, _plain(prompt)) is not None


def value_of_what_is_asked(sentence: str, prompt: str) -> str:
    """The value with which a sentence ends, where it is that of the formula that the prompt asks for: "… = 7/72 and
    m + n = 079."; else ""."""
    found = _ENDS_WITH.search(sentence[-MAX_CLAUSE:])
    if found is None or _IN_A_CASE.search(sentence) or not _is_asked(found["name"], prompt[-MAX_PROMPT:]):
        return ""
    return found["value"]


MAX_CLAUSE = 120
_IN_A_CASE = re.compile(r"(?i)\b(?:for|when|where|case|cases|bound|example|at (?:least|most))\b")
_ENDS_WITH = re.compile(
    r"(?:,|\b(?:and|so|thus|hence|therefore|get|have|find))\s+(?:\\\(|\$)?(?P<name>[A-Za-z](?:\s?[-+*/^]?\s?[A-Za-z0-9]){0,8})\s?=\s?"
    r"\$?(?P<value>-?[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?)(?:\\\)|\$)?[.!]?\Z"
)
