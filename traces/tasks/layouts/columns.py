"""Choices that stand in columns, one in each: `A`, `B`, `C`; `option_a`, `option_b`; `choice1`, `choice2`; ….

    {"question": "2 + 2?", "A": "3", "B": "4", "answer": "B"}             MMLU and quizzes as CSV
    {"goal": "Boil an egg.", "sol1": "Heat it.", "sol2": "Cool it.", "label": 0}      PIQA
    {"question": "2 + 2?", "opa": "3", "opb": "4", "cop": 1}              MedMCQA

They are choices only where they begin with the first letter or number and leave none out. Two such sets in one row
(`A`, `B` and `option1`, `option2`) are refused: nobody can tell which are meant.

>>> columns_in({"question": "2 + 2?", "option_a": "3", "option_b": "4"}).texts
['3', '4']
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stillroom.traces.tasks.problems import BadRow, Problem

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NAME = re.compile(
    r"(choice|option|opt|op|answer|ans|ending|sol|solution|alternative)[ _-]?\(?([A-Ja-j]|\d{1,2})\)?", re.I
)
_COMPARED = frozenset({"answer", "ans", "solution"})
_LETTER = re.compile("[A-J]")


class Columns(NamedTuple):
    """`names`: of all columns, those of empty choices too. `places`: of the choices in `texts` among them; `labels`:
    their letters or numbers."""

    names: list[str]
    places: list[int]
    texts: list[str]
    labels: list[str]
    prefix: str = ""

    @property
    def may_be_choices(self) -> bool:
        """Whether they are likely choices: three, or two that are not called as two answers to compare are."""
        return len(self.names) > 2 or self.prefix not in _COMPARED

    @property
    def are_choices(self) -> bool:
        """Whether they are choices whatever the answer says: there are three."""
        return len(self.names) > 2

    def named(self, answer: str) -> int | None:
        """Which choice an answer means that is the name of a column or its letter; None for anything else."""
        said = answer.strip().strip("().").casefold()
        for number, place in enumerate(self.places):
            label = self.labels[number]
            if said == self.names[place].casefold() or (said == label.casefold() and not label.isdecimal()):
                return number
        return None


def columns_in(values: Mapping[str, Any]) -> Columns | None:
    """The choices of a row; None where it has none in columns. Raises BadRow for two sets of them."""
    families: dict[tuple[str, bool], list[tuple[str, str]]] = {}
    for name in map(str, values):
        if (found := _NAME.fullmatch(name)) is not None:
            families.setdefault((found[1].casefold(), found[2].isdecimal()), []).append((found[2].upper(), name))
        elif _LETTER.fullmatch(name):
            families.setdefault(("", False), []).append((name, name))
    found_sets = ((name, _set(values, each)) for (name, _), each in families.items())
    sets = [found._replace(prefix=name) for name, found in found_sets if found is not None]
    if len(sets) > 1:
        told = " and ".join(", ".join(each.names[:2]) for each in sets[:2])
        raise BadRow(Problem.WRONG_TYPE, f"there are two sets of choices, {told}: leave one out of the rows")
    return sets[0] if sets else None


def _set(values: Mapping[str, Any], family: Sequence[tuple[str, str]]) -> Columns | None:
    """The choices of columns that belong together; None where they are not choices."""
    labels = [label for label, _ in family]
    numbered = labels[0].isdecimal()
    start = int(labels[0]) if numbered else LETTERS.index(labels[0])
    expected = [str(start + n) if numbered else LETTERS[n] for n in range(len(labels))]
    if len(labels) < 2 or start > (1 if numbered else 0) or labels != expected:
        return None
    texts = [values[name] for _, name in family]
    if any(isinstance(text, bool) or not isinstance(text, str | int | float | None) for text in texts):
        return None
    places = [place for place, text in enumerate(texts) if text is not None and str(text).strip()]
    if len(places) < 2:
        return None
    names = [name for _, name in family]
    return Columns(names, places, [str(texts[place]) for place in places], [labels[place] for place in places])
