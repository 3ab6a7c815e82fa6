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
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from stillroom.common.hashing import digest
from stillroom.common.marks import NamedMarks
from stillroom.common.models.resolve import fingerprint, load_model, load_tokenizer
from stillroom.common.records import Example, Task
from stillroom.errors import RecipeError
from stillroom.sampling.ledger import Ledger
from stillroom.students.data.encode import Encoded, EncodedRow, encode_rows, ids_of, special_ids
from stillroom.students.data.rows import Row, SftRow, read_rows, with_system
from stillroom.students.methods.common import Begun, finish, fits, longest, run, training
from stillroom.students.methods.cpu_passes import can_flatten
from stillroom.students.methods.registry import StudentSettings, methods
from stillroom.students.methods.trainer import make_trainer, unwrapped
from stillroom.students.records import LIVE_STUDENT, OnStep, StepInfo, Trained, TrainingPlace
from stillroom.students.whitebox.answers import kept_answers
from stillroom.students.whitebox.feed import Feed, Group, Rehearsal
from stillroom.students.whitebox.head import Head
from stillroom.students.whitebox.loss import Reader, WhiteBoxLoss
from stillroom.students.whitebox.objectives import AnyObjective, BaseKl, Hard, Objective, Soft
from stillroom.students.whitebox.on_policy import OnPolicy
from stillroom.students.whitebox.order import InOrder, Order
from stillroom.students.whitebox.overlap import Overlap, overlap
from stillroom.students.whitebox.presets import AnyPreset, spelled_out
from stillroom.students.whitebox.privileged import Privileged
from stillroom.students.whitebox.rehearsal import Rehearse, Rehearsed, rehearse
from stillroom.students.whitebox.rollouts import Live, ReadBy, Rollouts
from stillroom.version import __version__

if TYPE_CHECKING:
    from stillroom.students.lint.report import LintReport
    from stillroom.students.records import Checker


BASE = "base"
"""The teacher that is the student's model as it was before the training."""


class Sides(NamedTuple):
    """Who reads the rows. `base`: None for the student without its adapter, or where no objective needs it."""

    student: Reader
    teacher: Reader | None
    base: Reader | None


@methods.register
class Distil(StudentSettings):
    """White-box distillation from a teacher's weights."""

    method: Literal["distil"] = "distil"
    preset: AnyPreset | None = None
    """A known method, whose settings take the place of those that are not given: `soft_labels`, `gkd` or `sdft`; it
    is spelled out in the resolved recipe. null: none."""
    teacher: str | None = Field(default=None, min_length=1)
    """The model whose distribution is learned (hub name, folder, or `embedded:…`), with the student's tokenizer;
    `base`: the student's model as it was, without a copy; null: none, for objectives that need none."""
    teacher_system: str | None = None
    """The system prompt under which the teacher reads the rows; null: the rows' own."""
    teacher_examples: tuple[Example, ...] = ()
    """Worked examples that the teacher sees before each row, as turns, and the student does not."""
    teacher_reference: bool = False
    """Also show the teacher each row's accepted answer, as a worked example of the same problem."""
    objectives: Annotated[tuple[AnyObjective, ...], Field(min_length=1)] = (
        Soft(temperature=2, weight=0.7),
        Hard(weight=0.3),
    )
    """What the student is trained towards, and the weight of each."""
    on_policy: OnPolicy | None = None
    """Training on the student's own answers, next to the rows or in their place; null: none."""
    rehearse: Rehearse | None = None
    """Prompts of other kinds, on which the student is held to what the base says; null: none."""

    @model_validator(mode="before")
    @classmethod
    def _preset_spelled_out(cls, values: Any) -> Any:
        return spelled_out(values)

    @model_validator(mode="after")
    def _teacher_fits(self) -> Distil:
        needing = [objective.kind for objective in self._all_objectives if objective.learns_from == "teacher"]
        if (sampled := [each.kind for each in self.objectives if each.own_samples_only]) != []:
            raise ValueError(
                f"the objective {sampled[0]} needs the student's own samples, and the rows' answers are not: name it "
                "in `student.on_policy.objective`, or take `reverse_kl`"
            )
        if needing and self.teacher is None:
            raise ValueError(
                f"the objective {needing[0]} needs a teacher: name a model in `student.teacher`, or leave the "
                "objective out"
            )
        if self.teacher is not None and not needing:
            named = ", ".join(objective.kind for objective in self._all_objectives)
            raise ValueError(
                f"teacher is {self.teacher}, which no objective ({named}) looks at: add `soft`, or leave teacher out"
            )
        helped = self.teacher_system is not None or bool(self.teacher_examples) or self.teacher_reference
        if self.teacher is None and (self.teacher_examples or self.teacher_reference):
            raise ValueError("teacher_examples and teacher_reference are shown to a teacher: name one, such as base")
        if self.teacher == BASE and not helped:
            raise ValueError(
                "the teacher is the student's base, which has nothing to teach without help in its prompt: give "
                "teacher_reference: true, teacher_examples or teacher_system; `base_kl` holds a student to its base"
            )
        return self

    @property
    def _all_objectives(self) -> tuple[Objective, ...]:
        return self.objectives + (() if self.on_policy is None else (self.on_policy.objective,))

    @property
    def asks_the_scorer(self) -> bool:
        return self.on_policy is not None and self.on_policy.keep != "all"

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model,) if self.teacher in (None, BASE) else (self.model, self.teacher)

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
            with fits(self), kept_answers(place, begun.scratch) as ledger, ExitStack() as stack:
                rehearsed = self._rehearsed(begun, place, ledger)
                sides = self._sides(begun, found)
                rollouts = self._rollouts(begun, own, sides, rehearsed, place, ledger)
                if rollouts is not None:
                    stack.callback(rollouts.close)
                shared = self._overlap(begun, sides, place)
                loss = self._loss(begun, sides, rehearsed, rollouts)

                def told(step: StepInfo) -> None:
                    means.append([round(mean, 6) for mean in loss.take()])
                    if on_step is not None:
                        on_step(step)

                sampler = None if rollouts is None else InOrder(rollouts.order)
                trainer = make_trainer(
                    begun.model, begun.tokenizer, begun.encoded, self, begun.plan, begun.scratch, told, loss, sampler
                )
                if rollouts is not None and trainer.args.world_size > 1:
                    raise RecipeError(
                        f"on_policy trains in one process, and this is one of {trainer.args.world_size}: start it "
                        "without a launcher, or leave on_policy out"
                    )
                seconds = run(trainer, self)
            more: dict[str, Any] = {"objectives": means}
            if self.teacher is not None:
                more["teacher"] = fingerprint(self.model if self.teacher == BASE else self.teacher)
            if rehearsed is not None:
                more["rehearsal"] = rehearsed.record()
            if rollouts is not None:
                more["on_policy"] = rollouts.record() | {"overlap": None if shared is None else shared.record()}
            return finish(begun, trainer, self, out, seconds, more=more)

    def _rehearsed(self, begun: Begun[Encoded], place: TrainingPlace, ledger: Ledger) -> Rehearsed | None:
        """Answers of the base to prompts of other kinds, before anything is trained."""
        if self.rehearse is None:
            return None
        return rehearse(self.rehearse, self, begun.model, begun.tokenizer, place.base, begun.plan.seed, ledger)

    def _sides(self, begun: Begun[Encoded], rows: Sequence[SftRow]) -> Sides:
        """Student, teacher and base, loaded. Raises RecipeError for a model that does not fit."""
        tokenizer, plan = begun.tokenizer, begun.plan
        on_cpu, size = plan.device == "cpu", len(tokenizer)

        def reader(of: Any, who: str) -> Reader:
            return Reader(of, Head(of, size, who), on_cpu and can_flatten(of.config))

        def loaded(name: str) -> Any:
            of = load_model(name, plan.dtype, plan.device)
            of.requires_grad_(False)
            return of

        student, teacher, base = reader(unwrapped(begun.model), f"the student {self.model}"), None, None
        needs_base = self.rehearse is not None or any(each.learns_from == "base" for each in self._all_objectives)
        if self.lora is None and (needs_base or self.teacher == BASE):
            base = reader(loaded(self.model), f"the base {self.model}")
        if self.teacher == BASE:
            teacher = base or student._replace(model=None)
            read = self._as_the_teacher_reads(rows, tokenizer, begun.encoded, begun.model)
        elif self.teacher is not None:
            theirs = load_tokenizer(self.teacher)
            same_tokens(theirs, tokenizer, self.teacher, self.model)
            teacher = reader(loaded(self.teacher), f"the teacher {self.teacher}")
            read = self._as_the_teacher_reads(rows, theirs, begun.encoded, teacher.model)
        return Sides(student, None if teacher is None else teacher._replace(rows={"task": read}), base)

    def _loss(
        self, begun: Begun[Encoded], sides: Sides, rehearsed: Rehearsed | None, rollouts: Rollouts | None
    ) -> WhiteBoxLoss:
        """The objectives of each group of rows."""
        terms: dict[Group, Sequence[Objective]] = {"task": self.objectives}
        groups: dict[Group, Sequence[EncodedRow]] = {"task": begun.encoded.rows}
        rehearsal, teacher = None, sides.teacher
        if self.rehearse is not None and rehearsed is not None:
            terms["rehearsal"] = [BaseKl(weight=self.rehearse.weight, temperature=self.rehearse.temperature)]
            groups["rehearsal"] = rehearsed.rows
            rehearsal = Rehearsal(len(rehearsed.rows), self.rehearse.share, begun.plan.seed)
        if self.on_policy is not None and rollouts is not None:
            terms["rollout"], groups["rollout"] = [self.on_policy.objective], rollouts.own
            if teacher is not None:
                teacher = teacher._replace(rows={**(teacher.rows or {}), "rollout": rollouts.teachers})
        return WhiteBoxLoss(terms, groups, sides.student, teacher, sides.base, Feed(rehearsal, rollouts))

    def _rollouts(
        self,
        begun: Begun[Encoded],
        rows: Sequence[SftRow],
        sides: Sides,
        rehearsed: Rehearsed | None,
        place: TrainingPlace,
        ledger: Ledger,
    ) -> Rollouts | None:
        """The student's own answers, under a name for all that its training depends on."""
        if self.on_policy is None:
            return None
        plan, encoded, teacher = begun.plan, begun.encoded, None
        if sides.teacher is not None and sides.teacher.rows is not None:
            of = begun.model if sides.teacher.model is None else sides.teacher.model
            teacher = ReadBy(sides.teacher.rows["task"], context_of(of))
        depends_on = [
            self.model_dump(mode="json", exclude_defaults=True, exclude={"model", "teacher", "save_merged"}),
            encoded.digest(),
            [] if teacher is None else digest([row.input_ids for row in teacher.rows]),
            [fingerprint(name) for name in self.models],
            list(plan),
            None if rehearsed is None else rehearsed.record(),
            [__version__, *(version(package) for package in ("torch", "transformers", "trl", "peft"))],
        ]
        live = Live(
            model=begun.model,
            tokenizer=begun.tokenizer,
            identity=f"{LIVE_STUDENT}{digest(depends_on)}",
            name=f"the student {self.model}",
            end_id=encoded.end_id,
            longest=longest(self, begun.model.config),
        )
        order = Order(len(encoded.rows), self.batch_size * self.gradient_accumulation, self.epochs, plan.seed)
        return Rollouts(self.on_policy, order, rows, encoded.rows, teacher, live, place, ledger)

    def _overlap(self, begun: Begun[Encoded], sides: Sides, place: TrainingPlace) -> Overlap | None:
        """What teacher and student have in common before a training on the student's own answers."""
        if self.on_policy is None or self.on_policy.objective.learns_from != "teacher" or sides.teacher is None:
            return None
        teacher = sides.teacher
        if teacher.model is None:
            teacher = teacher._replace(model=begun.model)  # which has no adapter yet
        found = overlap(sides.student, teacher, begun.encoded.rows, self.batch_size)
        if place.tell is not None:
            place.tell(found.told())
        return found

    def _as_the_teacher_reads(
        self, rows: Sequence[SftRow], tokenizer: Any, encoded: Encoded, model: Any
    ) -> list[EncodedRow]:
        """The student's rows behind the teacher's prompt. Raises RecipeError where its turns end otherwise, or its
        context is too short."""
        prompts, special, found = {row.name: row for row in rows}, special_ids(tokenizer), []
        most, shown = (
            context_of(model),
            Privileged(self.teacher_system, self.teacher_examples, self.teacher_reference),
        )
        for row in encoded.rows:
            source = prompts[row.name]
            ids = ids_of(source._replace(prompt=shown.prompt(source)), tokenizer, special)
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
                    f"{row.name}: {len(ids.prompt) + len(answer):,} tokens as the teacher reads it, its context is "
                    f"{most:,} and nothing is cut: show it less (teacher_examples, teacher_reference), lower "
                    "`student.max_length`, or choose a teacher with a longer context"
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

        return lint_sft(rows, self, test=test, checker=checker, thinking=thinking)


def context_of(model: Any) -> int:
    """Tokens that a model can read."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 1 << 30)


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
