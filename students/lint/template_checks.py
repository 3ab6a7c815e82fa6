"""What the chat template makes of a row: the prompt as inference sends it, and the thinking once and in place.

Each check gives what it saw, or None.

    think_emptied(look, student)     # "… '<think>\\n\\n</think>\\n\\n<think>\\n2 and 2' …"
"""

from __future__ import annotations

import re

from stillroom.common.text import CLOSE, OPEN, opened_by_template, split_thinking
from stillroom.students.lint.mask_checks import by_name
from stillroom.students.lint.rendered_rows import Look
from stillroom.students.lint.tokenizer_setup import Student, render

_EMPTY = re.compile(rf"{OPEN}\s*{CLOSE}")


def prompt_not_as_sent(look: Look, student: Student) -> str | None:
    """The prompt in the row, and the prompt by the template's own tokenisation."""
    if look.ids is None or list(look.sent) == look.ids.prompt:
        return None
    pairs = enumerate(zip(look.sent, look.ids.prompt, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(look.sent), len(look.ids.prompt)))
    sent, trained = (student.tokenizer.decode(list(ids[at:])[:8]) for ids in (look.sent, look.ids.prompt))
    return f"from token {at} on inference sends {sent!r}, the row has {trained!r}"


def _thinks(look: Look) -> str:
    """The row's own thinking; empty where it has none."""
    return split_thinking(look.content, opened=opened_by_template(look.content)).reasoning or ""


def _tagged(look: Look) -> bool:
    """Whether there is anything to look at. A template may write a part with neither tag in the row."""
    return look.fault is None and any(tag in text for tag in (OPEN, CLOSE) for text in (look.content, look.whole))


def _opening(look: Look, student: Student) -> str:
    """What the generation prompt adds: it may open the thinking, or close it at once."""
    without = render(look.row.prompt, student.tokenizer, generation_prompt=False)
    if look.asked.startswith(without):
        return look.asked[len(without) :]
    return OPEN if look.asked.rstrip().endswith(OPEN) else ""


def _spoken(look: Look, student: Student) -> str:
    """All that is written from the beginning of the answer's turn."""
    return _opening(look, student) + look.written


def think_emptied(look: Look, student: Student) -> str | None:
    """The row thinks, and the text has an empty part."""
    if not _tagged(look) or not _thinks(look):
        return None
    found = _EMPTY.search(spoken := _spoken(look, student))
    return None if found is None else f"the student reads {spoken[max(0, found.start() - 20) :][:80]!r}"


def think_dropped(look: Look, student: Student) -> str | None:
    """The row thinks, and the text does not."""
    if not _tagged(look) or not (thinking := _thinks(look)) or think_emptied(look, student):
        return None
    if " ".join(thinking.split()) in " ".join(look.written.split()):
        return None
    return f"the row thinks {thinking[:40]!r}, the student reads {look.written[:60]!r}"


def think_unbalanced(look: Look, student: Student) -> str | None:
    """Opened or closed more than once, or one without the other."""
    if not _tagged(look) or think_emptied(look, student) or think_dropped(look, student):
        return None
    spoken = _spoken(look, student)
    opened, closed = spoken.count(OPEN), spoken.count(CLOSE)
    if opened == closed <= 1 and spoken.find(OPEN) <= spoken.find(CLOSE):
        return None
    return f"opened {opened} times, closed {closed} times: {spoken[:80]!r}"


def think_misplaced(look: Look, student: Student) -> str | None:
    """Opened and closed once, and something stands before it."""
    if not _tagged(look) or look.written.count(OPEN) != 1:
        return None
    if think_emptied(look, student) or think_unbalanced(look, student):
        return None
    before = look.written.partition(OPEN)[0]
    return f"{before[-60:]!r} stands before it" if before.strip() else None


def think_added(look: Look, student: Student) -> str | None:
    """The row has no tag, and the text has an empty part that the prompt alone has not."""
    if not _tagged(look) or OPEN in look.content or CLOSE in look.content:
        return None
    opening, spoken = _opening(look, student), _spoken(look, student)
    if len(_EMPTY.findall(spoken)) == len(_EMPTY.findall(opening)):
        return None
    return f"after the prompt's {opening[-24:]!r} the answer begins with {look.written[:40]!r}"


TEMPLATE_CHECKS = by_name(
    prompt_not_as_sent,
    think_emptied,
    think_dropped,
    think_unbalanced,
    think_misplaced,
    think_added,
)
