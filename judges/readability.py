"""A judge of readability by formula: Flesch reading ease as the score, with the Flesch-Kincaid grade.

It asks nobody and loads no model. Reading ease is 206.835 - 1.015 (words / sentences) - 84.6 (syllables / words)
(Flesch 1948, J. Appl. Psychol. 32, 221-233), the grade 0.39 (words / sentences) + 11.8 (syllables / words) - 15.59
(Kincaid et al. 1975, Naval Technical Training Command, Research Branch Report 8-75). Both look at the first
`MAX_CHARS` characters. Reading ease is held to 0..100, as its author meant it; the grade is left as it comes.

    judge = ReadabilityJudge()
    rating = await judge.rate(task, attempt)
    rating.score, rating.ratings["grade"]

For evaluation, next to another judge: it was made for another purpose, counts syllables, and looks at no word list
and not at the task. It is not independent of a style that wants short words and sentences: the two agree by design.
It says nothing of what a text says; "cat sat on mat mat mat" reads with ease. English alone, and syllables are
counted by rule, not looked up: groups of vowels, less a silent e; right for about nine words in ten. Texts of a few
words give extreme values: read its mean over many.

>>> syllables("readable"), syllables("make"), syllables("area")
(3, 1, 2)
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from stillroom.common.records import Attempt, Task
from stillroom.common.text import prose
from stillroom.judges.records import JudgeState, Rating
from stillroom.judges.registry import JudgeBase, Made, Place, judges

VERSION = 1
SCALE = (0.0, 100.0)
_VOWELS = re.compile(r"[aeiouyà-öø-ÿ]+")


class Readability(NamedTuple):
    """`ease`: Flesch reading ease as the formula gives it, about 0 (hard) to 100 (easy). `grade`: school years."""

    ease: float
    grade: float


class ReadabilityJudge:
    """Rates by reading ease, 0 to 100; a `PointwiseJudge` without a model."""

    identity = f"readability:{VERSION}"
    scale = SCALE

    async def rate(self, task: Task, answer: Attempt) -> Rating:
        """The rating, without a request; an answer without a word gets the lowest."""
        found = readability(answer.text)
        if found is None:
            return Rating(JudgeState.OK, SCALE[0], calls=0, detail="no word in it")
        ratings = {"reading_ease": found.ease, "grade": found.grade}
        return Rating(JudgeState.OK, min(max(found.ease, SCALE[0]), SCALE[1]), ratings, calls=0)

    async def close(self) -> None:
        """Has nothing to free."""


@judges.register
class ReadabilityJudgeSettings(JudgeBase):
    """A readability formula, without a model."""

    kind: Literal["readability"]

    def make(self, place: Place) -> Made:
        return Made(ReadabilityJudge(), None)


def readability(text: str) -> Readability | None:
    """Both formulas for a text; None for one without a word."""
    seen = prose(text)
    if not seen.sentences:
        return None
    length = len(seen.words) / len(seen.sentences)
    weight = sum(map(syllables, seen.words)) / len(seen.words)
    return Readability(206.835 - 1.015 * length - 84.6 * weight, 0.39 * length + 11.8 * weight - 15.59)


def syllables(word: str) -> int:
    """Syllables of an English word in lower case, by rule; at least 1."""
    # Its last e is not spoken in make, makes, baked; but in table, free, boxes, ended.
    silent = word.endswith("e") and not word.endswith(("le", "ee", "ye"))
    if word.endswith("es"):
        spoken = ("ses", "xes", "zes", "ches", "shes", "ges", "ces", "ees", "les", "yes", "ies")
        silent = not word.endswith(spoken)
    elif word.endswith("ed"):
        silent = not word.endswith(("ted", "ded", "eed"))
    return max(1, len(_VOWELS.findall(word)) - silent)
