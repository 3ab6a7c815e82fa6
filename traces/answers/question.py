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
_SETTING = re.compile(r"\\(?:text|mathrm|textrm|mbox|textbf|mathbf)\s*\{([^{}]*)\}")
_LETTERED = re.compile(r"\(?([A-J])[).:]\s+(.+)", re.DOTALL)
Same = Callable[[str, str], bool]
_SMALL = re.compile(r"\W*([a-j])\W*")
_LONE = re.compile(r"\W*(?:\\(?:text|mathrm|textbf|mathbf)\s*\{)?\W*([A-J])\W*")
_NOISE = re.compile(r"\\(?:text|mathrm|textrm|mbox|textbf|mathbf|left|right)(?![a-z])|\\[,;:! ()\[\]]|[\s${}*`\"']+")
_NAMED = re.compile(r"(?P<name>[^=<>≤≥≈]{2,60})=(?P<rest>[^<>≤≥]+)")
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
    if (small := _SMALL.fullmatch(answer)) is not None and options(prompt):
        answer = small[1].upper()
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
        return Pair(gold, named["rest"].strip())
    return Pair(gold, answer)


@lru_cache(maxsize=256)
def options(prompt: str) -> Mapping[str, str]:
    """The options that a prompt offers, by letter; none unless they are A, B and so on, once
    each."""
    found = list(_LETTER.finditer(prompt))
    letters = [match[1] for match in found]
    if len(letters) < 2 or letters != [chr(ord("A") + place) for place in range(len(letters))]:
        return {}
    texts = [prompt[a.end() : b.start()] for a, b in pairwise(found)]
    texts.append(prompt[found[-1].end() :].lstrip().split("\n", 1)[0])
    return dict(zip(letters, (text.strip() for text in texts), strict=True))


def _only(offered: Mapping[str, str], text: str, same: Same) -> str:
    """The letter of the one option that a text is; "" where none is, or several are. Options are compared as they are
    written, then by what they mean."""
    written = [letter for letter, option in offered.items() if _written(option) == _written(text)]
    fitting = written or [letter for letter, option in offered.items() if option and same(option, text)]
    return fitting[0] if len(fitting) == 1 else ""


def _written(text: str) -> str:
    """A text as options are compared: without what sets it, words in small letters."""
    bare = " ".join(_SETTING.sub(r"\1", text).replace("$", " ").split()).strip("*_`\"' ").rstrip(".,; ")
    return bare.casefold() if re.fullmatch(r"[A-Za-z' -]{4,}", bare) else bare


def _plain(text: str) -> str:
    return _NOISE.sub("", text).casefold().strip(".,;:")


def _is_asked(name: str, prompt: str) -> bool:
    """Whether a prompt asks for what has this name, which is a formula, and does not say what it is equal to."""
    plain = _plain(name)
    if not re.search(r"[a-z]", plain):
        return False
    asked = (
        rf"(?:{_FIND})(?:the|thevalueof|thesumof|thesum|allvaluesof)?{re.escape(plain)}(?![a-z0-9=<>+\-*/^≤≥\\(\[])"
    )
    return re.search(asked, _NOISE.sub("", prompt).casefold()) is not None
