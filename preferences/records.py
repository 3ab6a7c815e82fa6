"""What the preference path hands on: candidates, what a judge made of them, and pairs. Joined by id, never by
position.

>>> Candidate("t1", "teacher", 0, "Plain words.").id
't1/teacher/0'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from stillroom.common.records import Attempt, Messages, Task
from stillroom.judges.records import FAILURES, JudgeState


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer to a task. `source`: who wrote it (`teacher`, `student`, the name of a recording), with `index` the
    number of its draw there. `tokens`: as that source counts them. `on_policy`: the student that will be trained
    wrote it."""

    task_id: str
    source: str
    index: int
    text: str
    tokens: int = 0
    on_policy: bool = False

    @property
    def id(self) -> str:
        """Names it within a run."""
        return f"{self.task_id}/{self.source}/{self.index}"

    def attempt(self) -> Attempt:
        """The form that judges read."""
        return Attempt(self.task_id, self.index, self.text, None, "stop", 0, self.tokens, None, 0.0, self.source)


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate with what the judge made of it. `score` is None where the judgement failed, or where the judge
    compares and does not score."""

    candidate: Candidate
    state: JudgeState
    score: float | None = None
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether the judge came to no judgement: such a candidate enters no pair."""
        return self.state in FAILURES


@dataclass(frozen=True, slots=True)
class Slate:
    """All candidates for one task, judged. `best` and `worst`: ids that a tournament found; None: by the scores."""

    task: Task
    judged: tuple[Judged, ...]
    best: str | None = None
    worst: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Chosen and rejected for one task. `margin`: difference of their scores, None where the judge gave none.
    `prompt`: what the student will see."""

    task: Task
    prompt: Messages
    chosen: Judged
    rejected: Judged
    margin: float | None
    strategy: str

    @property
    def id(self) -> str:
        """Names it: its two candidates."""
        return f"{self.chosen.candidate.id} > {self.rejected.candidate.id}"


class LeftOut(NamedTuple):
    """A task or a pair that was left out. `reason`: from a closed set; `what`: its id."""

    what: str
    reason: str
    detail: str = ""
