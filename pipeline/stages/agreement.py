"""Compares our verdicts with the grades that a recording holds, and lists every disagreement.

An unscored attempt that the grade calls wrong is not a disagreement: neither accepts it. One that the grade calls
right is: a right answer was missed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from stillroom.common.formatting import interval, share
from stillroom.common.printing import Terminal
from stillroom.common.records import Outcome, Prompt, State
from stillroom.common.stats.intervals import wilson
from stillroom.pipeline.run.folder import RunFolder
from stillroom.sampling.teachers.recorded import RecordedTeacher

SHOWN = 20
"""Disagreements in the table."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One attempt on which grade and verdict differ."""

    task_id: str
    index: int
    grade: bool
    verdict: str
    reason: str
    reference: str | None
    read: str
    ending: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """Share of graded attempts on which our check and the grade say the same, with its 95 % interval (Wilson)."""

    graded: int
    agreed: int
    low: float
    high: float
    disagreements: tuple[Disagreement, ...]

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.agreed / self.graded

    def as_dict(self) -> dict[str, Any]:
        return {"share": self.share, **asdict(self)}

    def show(self, console: Terminal) -> None:
        """Prints the share, and where check and grade differ."""
        agreed = f"{share(self.share, 2)} {interval(self.low, self.high, 2)}"
        console.print(f"agreement with the recorded grades: {agreed}, {self.agreed:,} of {self.graded:,}")
        if not self.disagreements:
            return
        console.print("where check and grade differ:")
        for d in self.disagreements[:SHOWN]:
            grade, reference = "right" if d.grade else "wrong", (d.reference or "")[-40:]
            console.print(f"  {d.task_id}, draw {d.index}: graded {grade}, our verdict {d.verdict} ({d.reason})")
            console.print(f"    reference  {reference}\n    read       {d.read[:60]}")
        if len(self.disagreements) > SHOWN:
            console.print(f"and {len(self.disagreements) - SHOWN:,} more in agreement.json")


def compare(
    outcomes: Iterable[Outcome], teacher: RecordedTeacher, prompt: Prompt, folder: RunFolder
) -> Agreement | None:
    """Compares, and writes `agreement.json`. None where no attempt has a grade."""
    graded, found = 0, []
    for outcome in outcomes:
        messages = prompt.messages(outcome.task)
        for scored in outcome.attempts:
            grade = teacher.grade(outcome.task.id, messages, scored.attempt.index)
            if grade is None:
                continue
            graded += 1
            if grade != (scored.verdict.state is State.ACCEPTED):
                a, v, gold = scored.attempt, scored.verdict, outcome.task.reference
                said = (v.state.value, v.reason, gold, v.detail, a.text[-200:])
                found.append(Disagreement(a.task_id, a.index, grade, *said))
    if not graded:
        return None
    within = wilson(graded - len(found), graded)
    agreement = Agreement(graded, graded - len(found), within.low, within.high, tuple(found))
    folder.write("agreement.json", json.dumps(agreement.as_dict(), indent=2, ensure_ascii=False) + "\n")
    return agreement
