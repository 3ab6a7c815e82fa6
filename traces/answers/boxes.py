"""Boxes in a text: where they open and close, and which of them make up one answer."""

from __future__ import annotations

import re
from typing import NamedTuple

from stillroom.traces.answers.limits import MAX_ANSWER
from stillroom.traces.answers.wording import AND, OR

MAX_BOXES = 32
"""Boxes that are joined to one answer."""

STUTTER = 4
"""How often the same box makes a model that repeats itself, and not an answer next to the last one."""
UNCLOSED = 200
"""Characters of a box without an end that is taken all the same, where the policy is to take what there is."""

BOX = re.compile(r"\\(?:begin)?f?boxed\s*\{")
_JOIN = re.compile(
    r"(?:\\[()\[\]]|[\s$,.;])*(?:\\(?:text|quad|qquad|,|;)\s*)*\{?\s*"
    rf"(?:,|;|，|；|\+{{2,}}|and|or|,\s*and|{AND}|{OR})?\s*\}}?(?:\\quad|\\qquad|\\[()\[\]]|[\s$,;])*"
)
_JOINS = re.compile(rf"[,;，；]|\+\+|and|or|{AND}|{OR}")
_AND_OR = re.compile(rf"\b(?:and|or)\b|\s(?:{AND}|{OR})\s|[和与及或]")
_MARKS = re.compile(r"\\.?|[{}]", re.DOTALL)  # what is escaped opens and closes nothing


class Box(NamedTuple):
    """A box: the text within, and where the whole of it starts and ends."""

    text: str
    start: int
    end: int


def closing(text: str, start: int, limit: int) -> int | None:
    """Where the brace that opened before `start` closes, or None if it does not within `limit` characters."""
    depth = 1
    for mark in _MARKS.finditer(text, start, start + limit):
        depth += {"{": 1, "}": -1}.get(mark.group(), 0)
        if depth == 0:
            return mark.start()
    return None


def box_at(text: str, match: re.Match[str], *, lenient: bool = False) -> Box | None:
    """The box that opens at a match. One that is never closed counts only if its content ends with a closing
    separate brace at the end of the text: then it is the box's brace that was forgotten, and nothing was cut."""
    close = closing(text, match.end(), MAX_ANSWER * 4)
    if close is not None:
        return Box(text[match.end() : close], match.start(), close + 1)
    rest = text[match.end() :].strip().rstrip("$. ")
    closed = rest.endswith("}") and len(rest) <= MAX_ANSWER
    taken = closed or (lenient and len(rest) <= UNCLOSED and "\n" not in rest)
    return Box(rest, match.start(), len(text)) if taken and rest.count("{") == rest.count("}") else None


def last_boxes(text: str, *, lenient: bool = False, unclosed: bool = False) -> list[Box]:
    """The last box and those joined to it by a comma or a word, in reading order; empty if the last never closes."""
    matches = list(BOX.finditer(text))[-MAX_BOXES:]
    boxes: list[Box] = []
    for match in reversed(matches):
        box = box_at(text, match, lenient=unclosed)
        if not boxes:
            if box is None:
                return []
            boxes = [box]
        elif box is None:
            break
        elif box.end > boxes[0].start:
            boxes[0] = box  # the box around the one found before
        else:
            between = text[box.end : boxes[0].start]
            joined = not between or (len(between) <= 60 and _JOIN.fullmatch(between) and _JOINS.search(between))
            # Two boxes in one sentence with an "and" and more, or two that differ next to each other: parts of one
            # answer, or not. What they stand in is then the answer, and is not read: it is neither right nor wrong.
            short = len(between) <= 80 and "\n" not in between and ". " not in between
            differ = not between.strip() and box.text.strip() != boxes[0].text.strip()
            if differ and text.count(text[box.start : box.end]) >= STUTTER:
                break  # it repeated itself before it came to the answer
            unclear = short and (differ or _AND_OR.search(between))
            if joined or (lenient and unclear):
                boxes.insert(0, box)
            elif unclear:
                whole = f"{box.text} | {boxes[0].text}" if differ else text[box.start : boxes[-1].end]
                return [Box(whole, box.start, boxes[-1].end)]
            else:
                break
    return boxes


def unwrapped(content: str) -> str:
    """The content of a box within the box, if there is one and nothing else."""
    for _ in range(MAX_BOXES):
        stripped = content.strip()
        match = BOX.match(stripped)
        if match is None or closing(stripped, match.end(), MAX_ANSWER * 4) != len(stripped) - 1:
            break
        content = stripped[match.end() : -1]
    return content
