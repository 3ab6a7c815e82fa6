"""What must hold of a row as the collator hands it to the model: which tokens are seen, and which are in the loss.

Each check gives what it saw, or None. A wrong mask fails in silence: the loss goes down all the same.

    stop_not_in_loss(look, student)      # "the last label is 'four', not '<|im_end|>'"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from stillroom.students.data.encode import IGNORED
from stillroom.students.lint.rendered_rows import Look
from stillroom.students.lint.tokenizer_setup import Student

RowCheck = Callable[[Look, Student], str | None]


def by_name(*checks: RowCheck) -> Mapping[str, RowCheck]:
    """Checks by the name of what they find, which is their own: the catalogue has the same names."""
    return {check.__name__: check for check in checks}


class Lined(NamedTuple):
    """A row of the batch without its padding. `answer`: the place of the answer's first token."""

    ids: list[int]
    labels: list[int]
    mask: list[int]
    answer: int


def lined(look: Look) -> Lined | None:
    """The row where it stands in the batch, whichever side the padding is on; None where it is not whole."""
    if look.fed is None or look.ids is None:
        return None
    ids, length = look.whole_ids, look.tokens
    for start in (0, len(look.fed.ids) - length):
        if start >= 0 and look.fed.ids[start : start + length] == ids:
            whole = slice(start, start + length)
            return Lined(ids, look.fed.labels[whole], look.fed.mask[whole], len(look.ids.prompt))
    return None


def cut(look: Look, student: Student) -> str | None:
    """Fewer tokens than the row has."""
    if look.fed is None or lined(look) is not None:
        return None
    return f"{sum(look.fed.mask):,} of its {look.tokens:,} tokens reach the model"


def no_label(look: Look, student: Student) -> str | None:
    """Nothing of it is trained, cut or not."""
    if look.fed is None or any(label != IGNORED for label in look.fed.labels):
        return None
    return f"none of its {look.tokens:,} tokens has a label"


def _has_labels(row: Lined | None) -> bool:
    return row is not None and any(label != IGNORED for label in row.labels)


def stop_not_in_loss(look: Look, student: Student) -> str | None:
    """The end token stands there and is not trained."""
    row = lined(look)
    if row is None or not _has_labels(row) or row.labels[-1] != IGNORED:
        return None
    last = max(i for i, label in enumerate(row.labels) if label != IGNORED)
    return f"the last label is {student.name(row.ids[last])}, then comes {student.name(row.ids[-1])} without one"


def prompt_in_loss(look: Look, student: Student) -> str | None:
    """Labels before the answer."""
    row = lined(look)
    found = [i for i in range(row.answer) if row.labels[i] != IGNORED] if row else []
    if row is None or not found:
        return None
    return f"{len(found):,} of {row.answer:,} tokens of the prompt, the first is {student.name(row.ids[found[0]])}"


def answer_not_in_loss(look: Look, student: Student) -> str | None:
    """Gaps in the answer; its end has a check of its own."""
    row = lined(look)
    if row is None or not _has_labels(row):
        return None
    gaps = [i for i in range(row.answer, len(row.ids) - 1) if row.labels[i] == IGNORED]
    if not gaps:
        return None
    return f"{len(gaps):,} of {len(row.ids) - row.answer:,} tokens of the answer, the first is " + student.name(
        row.ids[gaps[0]]
    )


def wrong_label(look: Look, student: Student) -> str | None:
    """A label that is not its token, or that stands on padding."""
    if look.fed is None:
        return None
    row = lined(look)
    labels = sum(label != IGNORED for label in look.fed.labels)
    if row is not None and labels > sum(label != IGNORED for label in row.labels):
        return "padding has labels"
    pairs = zip(row.ids, row.labels, strict=True) if row else ()
    wrong = [(token, label) for token, label in pairs if label not in (IGNORED, token)]
    if not wrong:
        return None
    return f"{len(wrong):,} labels, the first is {student.name(wrong[0][1])} where {student.name(wrong[0][0])} stands"


def hidden_token(look: Look, student: Student) -> str | None:
    """Attention leaves tokens of the row out."""
    row = lined(look)
    hidden = [i for i, seen in enumerate(row.mask) if not seen] if row else []
    if row is None or not hidden:
        return None
    return f"{len(hidden):,} of {len(row.ids):,} tokens, the first is {student.name(row.ids[hidden[0]])}"


MASK_CHECKS = by_name(
    cut,
    no_label,
    stop_not_in_loss,
    prompt_in_loss,
    answer_not_in_loss,
    wrong_label,
    hidden_token,
)
