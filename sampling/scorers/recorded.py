"""`kind: recorded`: the grades that a recording holds next to its answers are the verdicts; nobody is asked again.

    teacher: {kind: recorded, path: "samples_gsm8k_*.jsonl"}         # a log of lm-evaluation-harness
    scorer:  {kind: recorded, grade: "exact_match,strict-match"}

The recording is the teacher's, or one that `recording` names, such as a table of what people said about its answers.
An answer is looked up by its task and its text. `sampling.grades` says what a grade means. One that nobody
understands, one that is missing, and one of an answer that was cut off leave it unscored, never rejected.

It scores nothing that is not on record: held-out answers of students are scored by `measure`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stillroom.common.files import storable
from stillroom.common.hashing import digest
from stillroom.common.marks import split_named
from stillroom.common.records import Attempt, State, Task, Verdict
from stillroom.common.text import did_you_mean
from stillroom.errors import InputError
from stillroom.sampling.grades import NO_GRADE, Grade, Meaning, read_grade
from stillroom.sampling.scorers.base import Place, Scorer, ScorerBase, scorers
from stillroom.sampling.scorers.none import unfinished
from stillroom.sampling.teachers.base import TeacherBase
from stillroom.sampling.teachers.recorded import RecordedSettings, RecordedTeacher
from stillroom.sampling.teachers.recording import Recorded

NOT_RECORDED = "not_recorded"
VERSION = "recorded-1"  # part of the identity: raise it when a grade could be read differently
_LISTED = 8


class RecordedScorer:
    """Gives each answer the grade that the recording has of it."""

    def __init__(
        self, settings: RecordedScorerSettings, recording: RecordedTeacher, grade: str, identity: str
    ) -> None:
        self._settings, self._recording, self._grade, self.identity = settings, recording, grade, identity
        self._prompt, self._marks = recording.settings.teacher_prompt, recording.settings.sampling.thinking

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        if (early := unfinished(attempt)) is not None:
            return early
        found = self._found(task, attempt)
        if found is None:
            return Verdict(State.UNSCORED, NOT_RECORDED, detail="the recording holds no such answer to this task")
        grade = self._read(found)
        detail = f"the recording holds no {self._grade} of it" if grade.reason == NO_GRADE else grade.told
        return Verdict(grade.state, grade.reason, grade.score, detail)

    async def close(self) -> None:
        """Nothing to free."""

    def counts(self, tasks: Iterable[Task]) -> dict[str, int]:
        """What the grades of the recorded answers to these tasks say: how many accepted, rejected, and by its reason
        whatever decides nothing."""
        found: Counter[str] = Counter()
        for task in tasks:
            for recorded in self._recording.draws_of(task.id, self._prompt.messages(task)).values():
                grade = self._read(recorded)
                found[grade.reason if grade.state is State.UNSCORED else grade.state.value] += 1
        return dict(found.most_common())

    def matched(self, tasks: Iterable[Task]) -> str:
        """The same in words."""
        said = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in self.counts(tasks).items()) or "none"
        return f"grades by {self._grade}: {said}"

    def _read(self, recorded: Recorded) -> Grade:
        value = recorded.grades.get(self._grade)
        return read_grade(value, accept=self._settings.accept, words=self._settings.grades)

    def _found(self, task: Task, attempt: Attempt) -> Recorded | None:
        """What is on record of an answer: the draw of its number, else the first that says the same."""
        draws = self._recording.draws_of(task.id, self._prompt.messages(task))
        own = draws.get(attempt.index)
        first: tuple[Recorded, ...] = () if own is None else (own,)
        return next((each for each in (*first, *draws.values()) if attempt.text in self._texts(each)), None)

    def _texts(self, recorded: Recorded) -> tuple[str, ...]:
        """A recorded answer as a ledger has it: its thinking may be split off by marks that the teacher names."""
        text = recorded.completion.text
        split = () if self._marks is None else (storable(split_named(text, self._marks).text),)
        return (storable(text), *split)


@scorers.register
class RecordedScorerSettings(ScorerBase):
    """Takes the grades that a recording holds: of a log of an evaluation, or of people."""

    kind: Literal["recorded"]
    grade: Annotated[str, Field(min_length=1)] | None = None
    """Which grade, where answers have several: `exact_match,strict-match`, `includes`, …; null: the only one."""
    accept: float | None = None
    """Least number that is accepted, for grades that are numbers, and below which is rejected; null: 1 is accepted,
    0 is rejected, what lies between is unscored."""
    grades: dict[str, Meaning] = Field(default_factory=dict)
    """What further grades mean, such as `{excellent: accepted}`."""
    recording: RecordedSettings | None = None
    """The recording with the grades, written as a teacher is; null: the teacher's."""
    measure: Annotated[ScorerBase, scorers.field(without={"recorded"})] | None = None
    """What scores held-out answers, which are not on record; null: `answer`."""

    @property
    def files(self) -> tuple[str, ...]:
        own = () if self.recording is None else self.recording.files
        return (*own, *(() if self.measure is None else self.measure.files))

    def with_teacher(self, teacher: TeacherBase) -> RecordedScorerSettings:
        if self.recording is not None:
            return self
        if not isinstance(teacher, RecordedSettings):
            raise ValueError(
                f"scorer.kind is recorded, and teacher.kind {teacher.kind!r} holds no grades: name the recording "
                "that does in scorer.recording, such as {kind: recorded, path: graded.jsonl}"
            )
        return self.model_copy(update={"recording": teacher})

    def measuring(self) -> ScorerBase:
        return self.measure if self.measure is not None else scorers["answer"].model_validate({"kind": "answer"})

    def identity(self, base: Path) -> str:
        return self._identity(self._open(base))

    def make(self, place: Place) -> Scorer:
        recording = self._open(place.base)
        return RecordedScorer(self, recording, self._chosen(recording), self._identity(recording))

    def _open(self, base: Path) -> RecordedTeacher:
        if self.recording is None:
            raise InputError("scorer.kind is recorded: name the recording that holds the grades in scorer.recording")
        return RecordedTeacher(self.recording, base=base)

    def _identity(self, recording: RecordedTeacher) -> str:
        how = [recording.identity, recording.settings.grade, self.grade, self.accept, sorted(self.grades.items())]
        return f"{VERSION}:{digest(how, 12)}"

    def _chosen(self, recording: RecordedTeacher) -> str:
        """The name of the grade. Raises InputError where there is none of it, or it is not clear which is meant."""
        known, path = sorted(recording.graded), recording.settings.path
        names = ", ".join(known[:_LISTED]) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")
        if not known:
            raise InputError(
                f"no answer of {path} has a grade, which scorer.kind recorded takes for its verdict: name the field "
                "that holds it in teacher.grade, or take another scorer"
            )
        wanted = None if self.grade is None else self.grade.removesuffix(",none")
        if wanted is None and len(known) == 1:
            return known[0]
        if wanted is None:
            raise InputError(f"the answers of {path} have several grades: name one in scorer.grade ({names})")
        if wanted not in known:
            hint = did_you_mean(wanted, known)
            raise InputError(f"scorer.grade: no answer of {path} has the grade {wanted!r}: {hint}there are {names}")
        return wanted
