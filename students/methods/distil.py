"""White-box distillation: a student trained towards a teacher's distribution, on the rows of accepted traces.

    settings = Distil(model="embedded:smollm2-135m-instruct", teacher="runs/tutor/student/merged",
                      objectives=[{"kind": "soft", "temperature": 2, "weight": 0.7}, {"kind": "hard", "weight": 0.3}])
    trained = settings.train(run / "sft", run / "student", seed=7, on_step=print)

The teacher runs in the same process, reads each row under its own chat template, and must have the student's
tokenizer. `base_kl` needs no teacher: it holds the student to what it was. On a CPU the same rows, settings and seed
give the same student.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from stillroom.common.marks import NamedMarks
from stillroom.common.models.resolve import fingerprint, load_model, load_tokenizer
from stillroom.common.records import Task
from stillroom.errors import RecipeError
from stillroom.sampling.ledger import Ledger
from stillroom.students.data.encode import Encoded, EncodedRow, encode_rows, ids_of, special_ids
from stillroom.students.data.rows import Row, SftRow, read_rows, with_system
from stillroom.students.methods.common import Begun, finish, fits, longest, run, training
from stillroom.students.methods.cpu_passes import can_flatten
from stillroom.students.methods.registry import StudentSettings, methods
from stillroom.students.methods.trainer import make_trainer, unwrapped
from stillroom.students.records import OnStep, StepInfo, Trained, TrainingPlace
from stillroom.students.whitebox.answers import kept_answers
from stillroom.students.whitebox.feed import Feed, Group, Rehearsal
from stillroom.students.whitebox.head import Head
from stillroom.students.whitebox.loss import Reader, Rows, WhiteBoxLoss
from stillroom.students.whitebox.objectives import AnyObjective, BaseKl, Hard, Objective, Soft
from stillroom.students.whitebox.rehearsal import Rehearse, Rehearsed, rehearse

if TYPE_CHECKING:
    from stillroom.students.lint.report import LintReport
    from stillroom.students.records import Checker


@methods.register
class Distil(StudentSettings):
    """White-box distillation from a teacher's weights."""

    method: Literal["distil"] = "distil"
    teacher: str | None = Field(default=None, min_length=1)
    """The model whose distribution is learned (hub name, folder, or `embedded:…`), with the student's tokenizer;
    null: none, for objectives that need none."""
    teacher_system: str | None = None
    """The system prompt under which the teacher reads the rows; null: the rows' own."""
    objectives: Annotated[tuple[AnyObjective, ...], Field(min_length=1)] = (
        Soft(temperature=2, weight=0.7),
        Hard(weight=0.3),
    )
    """What the student is trained towards, and the weight of each."""
    rehearse: Rehearse | None = None
    """Prompts of other kinds, on which the student is held to what the base says; null: none."""

    @model_validator(mode="after")
    def _teacher_fits(self) -> Distil:
        needing = [objective.kind for objective in self.objectives if objective.learns_from == "teacher"]
        if needing and self.teacher is None:
            raise ValueError(
                f"the objective {needing[0]} needs a teacher: name a model in `student.teacher`, or leave the "
                "objective out"
            )
        if self.teacher is not None and not needing:
            named = ", ".join(objective.kind for objective in self.objectives)
            raise ValueError(
                f"teacher is {self.teacher}, which no objective ({named}) looks at: add `soft`, or leave teacher out"
            )
        return self

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model,) if self.teacher is None else (self.model, self.teacher)

    def train(
        self,
        rows: Path | str | Iterable[Row],
        out: Path,
        *,
        seed: int,
        on_step: OnStep | None = None,
        place: TrainingPlace | None = None,
    ) -> Trained:
        """See the base class. Rows hold conversational `prompt` and `completion`."""
        found, place = read_rows(rows), place or TrainingPlace()
        own = [row._replace(prompt=with_system(row.prompt, self.system)) for row in found]
        with training(self, out, seed, lambda tokenizer, most: encode_rows(own, tokenizer, most)) as begun:
            means: list[list[float]] = []
            with fits(self), kept_answers(place, begun.scratch) as ledger:
                rehearsed = self._rehearsed(begun, place, ledger)
                loss = self._loss(begun, found, rehearsed)

                def told(step: StepInfo) -> None:
                    means.append([round(mean, 6) for mean in loss.take()])
                    if on_step is not None:
                        on_step(step)

                trainer = make_trainer(
                    begun.model, begun.tokenizer, begun.encoded, self, begun.plan, begun.scratch, told, loss
                )
                seconds = run(trainer, self)
            more: dict[str, Any] = {"objectives": means}
            if self.teacher is not None:
                more["teacher"] = fingerprint(self.teacher)
            if rehearsed is not None:
                more["rehearsal"] = rehearsed.record()
            return finish(begun, trainer, self, out, seconds, more=more)

    def _rehearsed(self, begun: Begun[Encoded], place: TrainingPlace, ledger: Ledger) -> Rehearsed | None:
        """Answers of the base to prompts of other kinds, before anything is trained."""
        if self.rehearse is None:
            return None
        return rehearse(self.rehearse, self, begun.model, begun.tokenizer, place.base, begun.plan.seed, ledger)

    def _loss(self, begun: Begun[Encoded], rows: Sequence[SftRow], rehearsed: Rehearsed | None) -> WhiteBoxLoss:
        """With its teacher and its base loaded. Raises RecipeError for a model that does not fit."""
        model, tokenizer, encoded, plan = begun.model, begun.tokenizer, begun.encoded, begun.plan
        on_cpu, size = plan.device == "cpu", len(tokenizer)

        def reader(of: Any, who: str, read: Rows | None = None) -> Reader:
            return Reader(of, Head(of, size, who), on_cpu and can_flatten(of.config), read)

        teacher = base = None
        if self.teacher is not None:
            theirs = load_tokenizer(self.teacher)
            same_tokens(theirs, tokenizer, self.teacher, self.model)
            of = load_model(self.teacher, plan.dtype, plan.device)
            of.requires_grad_(False)
            read = self._as_the_teacher_reads(rows, theirs, encoded, of)
            teacher = reader(of, f"the teacher {self.teacher}", {"task": read})
        terms: dict[Group, Sequence[Objective]] = {"task": self.objectives}
        groups: dict[Group, Sequence[EncodedRow]] = {"task": encoded.rows}
        feed = Feed()
        if self.rehearse is not None and rehearsed is not None:
            terms["rehearsal"] = [BaseKl(weight=self.rehearse.weight, temperature=self.rehearse.temperature)]
            groups["rehearsal"] = rehearsed.rows
            feed = Feed(Rehearsal(len(rehearsed.rows), self.rehearse.share, plan.seed))
        if self.lora is None and any(each.learns_from == "base" for of in terms.values() for each in of):
            of = load_model(self.model, plan.dtype, plan.device)
            of.requires_grad_(False)
            base = reader(of, f"the base {self.model}")
        student = reader(unwrapped(model), f"the student {self.model}")
        return WhiteBoxLoss(terms, groups, student, teacher, base, feed)

    def _as_the_teacher_reads(
        self, rows: Sequence[SftRow], tokenizer: Any, encoded: Encoded, model: Any
    ) -> list[EncodedRow]:
        """The student's rows behind the teacher's prompt. Raises RecipeError where its turns end otherwise, or its
        context is too short."""
        prompts, special, found = {row.name: row for row in rows}, special_ids(tokenizer), []
        most = longest(self, model.config)
        for row in encoded.rows:
            source = prompts[row.name]
            ids = ids_of(source._replace(prompt=with_system(source.prompt, self.teacher_system)), tokenizer, special)
            answer = row.input_ids[next(i for i, label in enumerate(row.labels) if label >= 0) :]
            if ids.answer[-1] != encoded.end_id:
                ends = (tokenizer.decode([token]) for token in (ids.answer[-1], encoded.end_id))
                raise RecipeError(
                    "the teacher {} ends a turn with {!r}, the student with {!r}: it would teach another end".format(
                        self.teacher, *ends
                    )
                )
            if len(ids.prompt) + len(answer) > most:
                raise RecipeError(
                    f"{row.name}: {len(ids.prompt) + len(answer):,} tokens as the teacher reads it, its limit is "
                    f"{most:,}: lower `student.max_length` by what its prompt is longer"
                )
            found.append(EncodedRow(row.name, ids.prompt + answer, [-100] * len(ids.prompt) + answer))
        return found

    def lint(
        self,
        rows: Path | str | Iterable[Row],
        *,
        test: Sequence[Task] = (),
        checker: Checker | None = None,
        thinking: NamedMarks | None = None,
    ) -> LintReport:
        from stillroom.students.lint.lint import lint_sft
        from stillroom.students.lint.teacher import teacher_side
        from stillroom.students.whitebox.probe import moved

        teacher = None if self.teacher is None else teacher_side(self.teacher, self.teacher_system)
        return lint_sft(
            rows,
            self,
            test=test,
            checker=checker,
            thinking=thinking,
            teacher=teacher,
            moved=partial(moved, self.objectives),
        )


def same_tokens(teacher: Any, student: Any, teacher_name: str, student_name: str) -> None:
    """Raises RecipeError unless both tokenizers give every token the same id: sizes alone say nothing."""
    theirs, ours = teacher.get_vocab(), student.get_vocab()
    if theirs == ours:
        return
    other = sorted(token for token in theirs.keys() | ours.keys() if theirs.get(token) != ours.get(token))
    raise RecipeError(
        f"the teacher {teacher_name} and the student {student_name} have other tokens: {len(other):,} differ, such "
        f"as {other[0]!r} ({theirs.get(other[0])} and {ours.get(other[0])}). A distribution can only be learned "
        "token by token: choose a teacher of the student's family, or learn from its text with `method: sft`"
    )
