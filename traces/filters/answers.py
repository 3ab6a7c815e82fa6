r"""`one_final_answer` and `not_answer_only`: what a trace states, and whether there is anything else.

    filters: [one_final_answer, {not_answer_only: 5}]
    filters: [{one_final_answer: {markers: ["Result:"]}}]

Only what follows the thinking part is searched: thinking may well try several. All statements of an answer are looked
for, where the answer checker wants the last: `\boxed{…}`, `#### …`, "the answer is …", "answer: …" (also bold), and
"A: …" on a line. Boxes side by side (`\boxed{1}, \boxed{2}` or joined by "and") are one statement with two values.

>>> [found.value for found in statements("So 9 * 2 = 18.\nThe answer is 18.\n#### 18")]
['18', '18']
"""

from __future__ import annotations

import bisect
import re
from fractions import Fraction
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from stillroom.common.text import excerpt, is_sign, tokens
from stillroom.traces.answers.boxes import closing
from stillroom.traces.answers.extract import find_answer
from stillroom.traces.filters.base import Finding, Stateless, filters
from stillroom.traces.trace import Trace

MAX_VALUE = 300
"""Characters of a value that are looked at."""

MAX_JOIN = 40
"""Characters between two boxes that are joined."""
MAX_DIFFERENT = 8
"""Different values that are told apart: more are not needed to say that there are several."""

_BOX = re.compile(r"\\f?boxed\s*\{")
_JOIN = re.compile(r"[\s$,;]*(?:and|or)?[\s$,;]*")
_MARKER = re.compile(
    r"^[ \t]*####(?!#)[ \t]*"
    r"|\b(?:the[ \t])?(?:final[ \t]|correct[ \t])?answer[*_]{0,3}[ \t]{1,4}(?:is|are|will be|would be)\b[ \t]{0,4}:?"
    r"|\b(?:the[ \t])?(?:final[ \t]|correct[ \t])?answer[*_]{0,3}[ \t]{0,4}:"
    r"|^[ \t>*]{0,8}A:",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE = re.compile(r"(?<=[\s\w)}\]$%*°])\.(?=\s|$)")
_WRAPPING = re.compile(
    r"<<[^<>\n]{0,100}>>|[$*_`\"'“”{}]+|\\(?:text|mathrm|mathbf|left|right|displaystyle)\b|\\[!,;:()\[\] ]"
)
# A number that stands alone, or with a unit or prose behind it; not the first term of a formula or a list.
_LEADING = re.compile(
    r"([-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)(?!\.?\d)(?!\s*(?:[-+*/^=×÷(]|\\(?!circ|%|deg)|or\b|and\b|,))"
)
_SEVERAL = re.compile(r",(?!\d{3})|\b(?:and|or)\b")
_NOT = re.compile(r"not\b", re.IGNORECASE)
_DEGREES = re.compile(r"\^\s*\\circ|°")


@filters.register
class OneFinalAnswer(Stateless):
    """Exactly one final answer; stated again in other words is still one.

    Reasons: no_answer, several_answers (two that differ: the student would learn to hedge). Without any marker, a
    text counts as one answer where the answer checker reads one from it.
    """

    name: Literal["one_final_answer"] = "one_final_answer"
    short: ClassVar[str | None] = "markers"
    markers: tuple[str, ...] = ()
    """Further words that announce a final answer."""

    def check(self, trace: Trace) -> Finding | None:
        answer = trace.answer
        values = different([found.value for found in statements(answer, self.markers)])
        if len(values) > 1:
            return Finding("several_answers", " | ".join(excerpt(value, 40) for value in values[:5]))
        if not values and find_answer(answer) is None:
            return Finding("no_answer", f"ends with: {excerpt(answer.rstrip()[-80:])}")
        return None


@filters.register
class NotAnswerOnly(Stateless):
    """Drops traces that are little more than the answer. Reason: answer_only."""

    name: Literal["not_answer_only"] = "not_answer_only"
    short: ClassVar[str | None] = "min_words"
    min_words: int = Field(default=5, ge=1)
    """Words and numbers required besides the final answer, thinking included."""

    def check(self, trace: Trace) -> Finding | None:
        text, position = trace.answer, 0
        found, kept = statements(text), [trace.reasoning or ""]
        for statement in found:
            kept.append(text[position : statement.start])
            position = max(position, statement.end)
        if found or find_answer(text) != text.strip().rstrip("."):  # else nothing is left: it is all answer
            kept.append(text[position:])
        words = sum(not is_sign(token) for part in kept for token in tokens(part))
        if words >= self.min_words:
            return None
        return Finding("answer_only", f"{words} words in addition to the answer, the least is {self.min_words}")


class Statement(NamedTuple):
    """One statement of a final answer: where it stands, and the value it gives."""

    start: int
    end: int
    value: str


def statements(text: str, markers: tuple[str, ...] = ()) -> list[Statement]:
    """All statements in reading order. `markers`: further words that announce an answer up to the line's end."""
    boxes = _boxes(text)
    words = "|".join([_MARKER.pattern, *map(re.escape, markers)])
    return sorted([*boxes, *_marked(text, re.compile(words, _MARKER.flags), boxes)])


def _boxes(text: str) -> list[Statement]:
    """Boxes, each row of joined boxes as one statement; a box that never closes states nothing."""
    rows: list[Statement] = []
    for match in _BOX.finditer(text):
        close = closing(text, match.end(), MAX_VALUE)
        if close is None or (rows and match.start() < rows[-1].end):
            continue
        value = text[match.end() : close]
        joined = rows and match.start() - rows[-1].end <= MAX_JOIN
        if joined and _JOIN.fullmatch(text, rows[-1].end, match.start()):
            rows[-1] = Statement(rows[-1].start, close + 1, f"{rows[-1].value}, {value}")
        else:
            rows.append(Statement(match.start(), close + 1, value))
    return rows


def _marked(text: str, pattern: re.Pattern[str], boxes: list[Statement]) -> list[Statement]:
    """What stands after each marker on its line, or on the next one. A box there is counted as the box it is."""
    found: list[Statement] = []
    for match in pattern.finditer(text):
        if found and match.start() < found[-1].end:
            continue  # "Answer: the answer is 5" is one statement
        start = match.end()
        while start < len(text) and text[start] in " \t\n\r*_:":
            start += 1
        end = text.find("\n", start)
        end = min(len(text) if end < 0 else end, start + MAX_VALUE)
        after = bisect.bisect_left(boxes, start, key=lambda box: box.end)
        if after < len(boxes) and boxes[after].start < end:
            continue
        value = _SENTENCE.split(text[start:end], maxsplit=1)[0]
        if value.strip(" \t*_:") and not _NOT.match(value):
            found.append(Statement(match.start(), start + len(value), value.strip(" \t*_:")))
    return found


def different(values: list[str]) -> list[str]:
    """The values that are really different, each as it was written first.

    Units, `$`, bold and "x =" do not make a difference: "18", "$18.00" and "18 dollars a day" are the same.

    >>> different(["18", "$18.00", "18 dollars a day", "19"])
    ['18', '19']
    """
    kept: list[str] = []
    seen: list[tuple[str, Fraction | None]] = []
    for value in values:
        bare = _bare(value)
        match = _LEADING.match(bare)
        number = None if match is None else Fraction(match.group(1).replace(",", ""))
        written = "".join(bare.split())
        if not any(written == other or (number is not None and number == n) for other, n in seen):
            kept.append(value)
            seen.append((written, number))
        if len(kept) == MAX_DIFFERENT:
            break
    return kept


def _bare(value: str) -> str:
    """Without wrapping, in one case; of an equation ("x = 5", "9 * 2 = 18") what stands last."""
    plain = _DEGREES.sub("", _WRAPPING.sub(" ", value)).strip(" \t.,;:!")
    if not _SEVERAL.search(plain):
        plain = plain.rpartition("=")[2]
    return plain.strip().casefold()
