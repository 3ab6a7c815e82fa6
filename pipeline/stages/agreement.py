"""Compares our verdicts with the grades that a recording holds, and lists every disagreement.

An unscored attempt that the grade calls wrong is no disagreement: neither accepts it. One that the grade calls right
is: a right answer was missed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from stillroom.common.prompt import Prompt
from stillroom.common.records import Outcome, State
from stillroom.common.stats.intervals import wilson
from stillroom.pipeline.run.folder import RunFolder
from stillroom.sampling.teachers.recorded import RecordedTeacher


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
                a, v = scored.attempt, scored.verdict
                found.append(
                    Disagreement(
                        a.task_id,
                        a.index,
                        grade,
                        v.state.value,
                        v.reason,
                        outcome.task.reference,
                        v.detail,
                        a.text[-200:],
                    )
                )
    if not graded:
        return None
    interval = wilson(graded - len(found), graded)
    agreement = Agreement(graded, graded - len(found), interval.low, interval.high, tuple(found))
    folder.write("agreement.json", json.dumps(agreement.as_dict(), indent=2, ensure_ascii=False) + "\n")
    return agreement
