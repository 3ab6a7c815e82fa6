"""Rows with their loss mask as data, for a terminal or a page: stretches of tokens that are treated alike.

    masked(look, student).facts       # "row 1: 12 tokens not in the loss, 5 in it"

Long stretches are cut in the middle.
"""

from __future__ import annotations

from itertools import groupby

from stillroom.students.data.encode import IGNORED
from stillroom.students.lint.rendered_rows import Fed, Look
from stillroom.students.lint.report import Kind, MaskedRow, Stretch
from stillroom.students.lint.tokenizer_setup import Student

LONGEST = 1_200
"""Characters of one stretch that are shown."""


def masked(look: Look, student: Student) -> MaskedRow | None:
    """The row with its mask; None for one that never reached the collator."""
    if look.fed is None:
        return None
    marked = zip(look.fed.ids, _kinds(look.fed), strict=True)
    runs = groupby(((token, kind, token in student.special) for token, kind in marked), key=lambda each: each[1:])
    stretches = []
    for (kind, special), run in runs:
        ids = [token for token, _, _ in run]
        stretches.append(Stretch(_text(ids, kind, student), kind, special, len(ids)))
    return MaskedRow(look.name, tuple(stretches))


def _kinds(fed: Fed) -> list[Kind]:
    """A label counts wherever it stands; padding is what attention does not see."""
    return [
        "loss" if label != IGNORED else "prompt" if seen else "pad"
        for label, seen in zip(fed.labels, fed.mask, strict=True)
    ]


def _text(ids: list[int], kind: Kind, student: Student) -> str:
    """What the tokens say; of padding, which repeats, how many there are."""
    if kind == "pad" and len(set(ids)) == 1:
        return f"{student.tokenizer.decode(ids[:1])} × {len(ids):,}"
    text = str(student.tokenizer.decode(ids))
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]} […{len(text) - LONGEST:,} characters…] {text[-half:]}"
