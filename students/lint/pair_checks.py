"""What must hold of a pair beyond what holds of each of its sides, and of the reference of its loss.

list(prompts_differ(item))           # "of 9 and 10 tokens, from token 7 on"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from stillroom.common.files import at_home
from stillroom.students.data.encode import IGNORED
from stillroom.students.data.rows import Row
from stillroom.students.export.save import read_record
from stillroom.students.lint.findings import Hit
from stillroom.students.lint.limits import LintLimits
from stillroom.students.lint.rendered_rows import Item, Look
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import Reference

THE_SETTINGS, THE_REFERENCE = "the settings", "the reference"


def prompts_differ(item: Item) -> Iterator[Hit]:
    """The two prompts, as the template writes them and as the batch has them."""
    chosen, rejected = item.sides
    faults = [side.fault is not None and side.fault.name == "other_beginning" for side in item.sides]
    if faults[0] != faults[1]:
        one = "chosen" if faults[0] else "rejected"
        yield Hit("prompts_differ", item.name, f"the template writes another prompt before the {one} answer")
        return
    yes, no = _prompt(chosen), _prompt(rejected)
    if yes is not None and no is not None and yes != no:
        at = next((i for i, (a, b) in enumerate(zip(yes, no, strict=False)) if a != b), min(len(yes), len(no)))
        yield Hit("prompts_differ", item.name, f"of {len(yes):,} and {len(no):,} tokens, from token {at:,} on")


def _prompt(look: Look) -> list[int] | None:
    """What the batch has before the answer; None where it never got there or is cut, which is told elsewhere."""
    if look.fed is None or sum(look.fed.mask) != look.tokens:
        return None
    first = next((i for i, label in enumerate(look.fed.labels) if label != IGNORED), 0)
    return [token for token, seen in zip(look.fed.ids[:first], look.fed.mask, strict=False) if seen]


def cut_unevenly(item: Item) -> Iterator[Hit]:
    """One side of the batch is shorter than it was."""
    chosen, rejected = item.sides
    if chosen.fed is None or rejected.fed is None:
        return
    lost = [look.tokens - sum(look.fed.mask) for look in (chosen, rejected) if look.fed is not None]
    if lost[0] != lost[1] and max(lost) > 0:
        yield Hit("cut_unevenly", item.name, f"chosen loses {lost[0]:,} tokens, rejected {lost[1]:,}")


def identical_sides(item: Item) -> Iterator[Hit]:
    """The same tokens on both sides."""
    chosen, rejected = item.sides
    if chosen.ids is not None and rejected.ids is not None and chosen.ids.answer == rejected.ids.answer:
        yield Hit("identical_sides", item.name, f"both are {chosen.content[:60]!r}")


PAIR_CHECKS: tuple[Callable[[Item], Iterator[Hit]], ...] = (prompts_differ, cut_unevenly, identical_sides)
"""All checks of one pair that look at both of its sides."""


def reference_hits(
    settings: StudentSettings, reference: Reference | None, rows: Sequence[Row], limits: LintLimits
) -> Iterator[Hit]:
    """Whether the reference is what it should be: a model before preferences, that could have written the answers."""
    if settings.learns_from != "pairs":
        yield Hit("not_dpo", THE_SETTINGS, f"student.method is {settings.method}")
    if reference is None:
        return
    before = _trained_before(reference.model)
    if before is not None and before.get("method") == "dpo":
        told = f"{reference.model} was trained with dpo from {before.get('model')}"
        yield Hit("reference_is_dpo", THE_REFERENCE, told)
    off = list(_off_policy(rows))
    if not reference.trained_first and rows and len(off) / len(rows) > limits.off_policy:
        yield from off


def _trained_before(model: str) -> dict[str, Any] | None:
    """The settings of the training that made the model, where it is a student of ours on this disk."""
    folder = at_home(model)
    record = read_record(folder.parent) or read_record(folder) if folder.is_dir() else None
    settings = record.get("settings") if record else None
    return settings if isinstance(settings, dict) else None


def _off_policy(rows: Sequence[Row]) -> Iterator[Hit]:
    """Pairs that say of both sides that the student did not write them; those that do not say are not counted."""
    for index, row in enumerate(rows):
        if row.get("chosen_on_policy") is False and row.get("rejected_on_policy") is False:
            sources = f"{row.get('chosen_source')} and {row.get('rejected_source')}"
            yield Hit("reference_off_policy", f"row {index + 1}", f"its sides are by {sources}")
