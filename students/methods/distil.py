"""White-box distillation: a student trained towards a teacher's distribution, on the rows of accepted traces.

    settings = Distil(model="embedded:smollm2-135m-instruct", teacher="runs/tutor/student/merged",
                      objectives=[{"kind": "soft", "temperature": 2, "weight": 0.7}, {"kind": "hard", "weight": 0.3}])
    trained = settings.train(run / "sft", run / "student", seed=7, on_step=print)

The teacher runs in the same process and is asked at every step, or once and its likeliest tokens are kept (`cache`);
or somebody else is asked for them (`signal`). It reads each row under its own chat template, and must have the
student's tokenizer. `base_kl` needs no teacher: it holds the student to what it was. On a CPU the same rows, settings
and seed give the same student.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from stillroom.common.hashing import digest
from stillroom.common.marks import NamedMarks
from stillroom.common.models.resolve import (
    fingerprint,
    load_config,
    load_model,
    load_tokenizer,
    pick_device,
    pick_dtype,
)
from stillroom.common.records import Task
from stillroom.errors import InputError, RecipeError, TrainingError
from stillroom.sampling.ledger import Ledger
from stillroom.students.data.encode import Encoded, EncodedRow, encode_rows, ids_of, special_ids
from stillroom.students.data.rows import Row, SftRow, read_rows, with_system
from stillroom.students.methods.common import Begun, finish, fits, longest, run, training
from stillroom.students.methods.cpu_passes import can_flatten
from stillroom.students.methods.registry import StudentSettings, methods, on_or_off
from stillroom.students.methods.trainer import make_trainer, unwrapped
from stillroom.students.records import OnStep, Signals, StepInfo, Trained, TrainingPlace
from stillroom.students.whitebox.answers import kept_answers
from stillroom.students.whitebox.cache.capture import keys_of
from stillroom.students.whitebox.cache.local import LocalSource
from stillroom.students.whitebox.cache.prepare import PreparedSignal, Wanted, prepared_signal
from stillroom.students.whitebox.cache.rules import CacheSettings, Signature, Temperatures, declared
from stillroom.students.whitebox.cache.signal import CachedSignal
from stillroom.students.whitebox.cache.sources import AnySignal
from stillroom.students.whitebox.cache.store import Store
from stillroom.students.whitebox.feed import Feed, Group, Rehearsal
from stillroom.students.whitebox.head import Head
from stillroom.students.whitebox.loss import Reader, Rows, WhiteBoxLoss
from stillroom.students.whitebox.objectives import AnyObjective, BaseKl, Hard, Objective, Soft
from stillroom.students.whitebox.rehearsal import Rehearse, Rehearsed, rehearse

if TYPE_CHECKING:
    from stillroom.students.lint.report import LintReport
    from stillroom.students.records import Checker


class Prepared(NamedTuple):
    """`cache`: what a cache has to record, None without one."""

    loss: WhiteBoxLoss
    cache: dict[str, Any] | None


@methods.register
class Distil(StudentSettings):
    """White-box distillation from a teacher's weights."""

    method: Literal["distil"] = "distil"
    teacher: str | None = Field(default=None, min_length=1)
    """The model whose distribution is learned (hub name, folder, or `embedded:…`), with the student's tokenizer;
    null: none, for objectives that need none."""
    teacher_system: str | None = None
    """The system prompt under which the teacher reads the rows; null: the rows' own."""
    signal: AnySignal | None = None
    """Who is asked for the teacher's distribution where its weights are not on this machine: a server, an engine, a
    file; `teacher` then names a folder with its tokenizer and chat template. null: the weights, in this process."""
    cache: CacheSettings | None = None
    """Ask the teacher once for each row, and keep its likeliest tokens with the run: other students, filters, weights
    and declared temperatures then ask nothing. null: ask the weights at every step, exactly; with `signal`, where
    nobody can be asked at every step, a cache of 16 tokens."""
    objectives: Annotated[tuple[AnyObjective, ...], Field(min_length=1)] = (
        Soft(temperature=2, weight=0.7),
        Hard(weight=0.3),
    )
    """What the student is trained towards, and the weight of each."""
    rehearse: Rehearse | None = None
    """Prompts of other kinds, on which the student is held to what the base says; null: none."""

    @field_validator("cache", mode="before", json_schema_input_type=CacheSettings | bool | None)
    @classmethod
    def _no_cache(cls, value: Any) -> Any:
        return on_or_off(value)

    @model_validator(mode="after")
    def _cache_fits(self) -> Distil:
        """Raises ValueError for what a cache cannot serve."""
        if self.signal is not None and self.teacher is None:
            raise ValueError(
                "signal says who is asked for the teacher's distribution: name a folder with its tokenizer and chat "
                "template in `student.teacher` as well"
            )
        if self.kept is None:
            return self
        asked = [objective for objective in self.objectives if objective.learns_from == "teacher"]
        for objective in asked:
            if not objective.takes_kept:
                raise ValueError(
                    f"the objective {objective.kind} needs the teacher's whole distribution, and a cache keeps its "
                    "likeliest tokens: take `soft` or `skew_kl`, or the teacher's weights with `cache: false`"
                )
            if (top := getattr(objective, "top_k", None)) is not None and top > self.kept.rule.most:
                raise ValueError(
                    f"top_k of {objective.kind} is {top}, and the cache keeps {self.kept.rule.most} tokens: raise "
                    "`student.cache.k`, or lower top_k"
                )
        self._temperatures()
        return self

    @property
    def kept(self) -> CacheSettings | None:
        """The cache that is used; None where the weights are asked at every step."""
        return CacheSettings() if self.cache is None and self.signal is not None else self.cache

    def _temperatures(self) -> Temperatures:
        """Those that the cache has."""
        asked = [float(getattr(o, "temperature", 1.0)) for o in self.objectives if o.learns_from == "teacher"]
        return declared(
            asked, None if self.kept is None else self.kept.temperatures, None if self.signal is None else (1.0,)
        )

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
        return (self.model,) if self.teacher is None or self.signal is not None else (self.model, self.teacher)

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
                loss, cached = self._loss(begun, found, rehearsed, place)

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
                more["teacher"] = self._teacher_identity(place.base)
            if cached is not None:
                more["cache"] = cached
            if rehearsed is not None:
                more["rehearsal"] = rehearsed.record()
            return finish(begun, trainer, self, out, seconds, more=more)

    def _rehearsed(self, begun: Begun[Encoded], place: TrainingPlace, ledger: Ledger) -> Rehearsed | None:
        """Answers of the base to prompts of other kinds, before anything is trained."""
        if self.rehearse is None:
            return None
        return rehearse(self.rehearse, self, begun.model, begun.tokenizer, place.base, begun.plan.seed, ledger)

    def _loss(
        self, begun: Begun[Encoded], rows: Sequence[SftRow], rehearsed: Rehearsed | None, place: TrainingPlace
    ) -> Prepared:
        """With its teacher and its base loaded, and what a cache has to record. Raises RecipeError for a model that
        does not fit."""
        model, tokenizer, encoded, plan = begun.model, begun.tokenizer, begun.encoded, begun.plan
        student = self._reader(begun, unwrapped(model), f"the student {self.model}")
        teacher: Reader | CachedSignal | None = None
        base = record = None
        if self.teacher is not None:
            theirs = load_tokenizer(self.teacher)
            same_tokens(theirs, tokenizer, self.teacher, self.model)
            read = self._as_the_teacher_reads(rows, theirs, encoded, load_config(self.teacher))
            if self.kept is None:
                teacher = self._load(begun, self.teacher, f"the teacher {self.teacher}", {"task": read})
            else:
                teacher, record = self._cached(self.kept, begun, read, student, place)
        terms: dict[Group, Sequence[Objective]] = {"task": self.objectives}
        groups: dict[Group, Sequence[EncodedRow]] = {"task": encoded.rows}
        feed = Feed()
        if self.rehearse is not None and rehearsed is not None:
            terms["rehearsal"] = [BaseKl(weight=self.rehearse.weight, temperature=self.rehearse.temperature)]
            groups["rehearsal"] = rehearsed.rows
            feed = Feed(Rehearsal(len(rehearsed.rows), self.rehearse.share, plan.seed))
        if self.lora is None and any(each.learns_from == "base" for of in terms.values() for each in of):
            base = self._load(begun, self.model, f"the base {self.model}")
        return Prepared(WhiteBoxLoss(terms, groups, student, teacher, base, feed), record)

    def _cached(
        self,
        cache: CacheSettings,
        begun: Begun[Encoded],
        read: Sequence[EncodedRow],
        student: Reader,
        place: TrainingPlace,
    ) -> PreparedSignal:
        """The cache that stands for the teacher, filled."""
        name, signal = str(self.teacher), self.signal

        def source(of: Reader) -> LocalSource:
            return LocalSource(of.model, of.head, flat=of.flat, batch=self.batch_size)

        wanted = Wanted(
            read=read,
            own=begun.encoded.rows,
            signature=self._signature(cache, begun.tokenizer, begun.plan.dtype, place.base),
            temperatures=self._temperatures(),
            vocabulary=len(begun.tokenizer),
            folder=place.store or begun.scratch / "signals",
            student=fingerprint(self.model),
            tell=place.tell,
        )
        return prepared_signal(
            wanted,
            source(student),
            local=None if signal else lambda: source(self._load(begun, name, f"the teacher {name}")),
            other=None if signal is None else lambda: signal.make(place.base, len(begun.tokenizer)),
        )

    def _signature(self, cache: CacheSettings, tokenizer: Any, dtype: str, base: Path) -> Signature:
        return Signature(
            teacher=self._teacher_identity(base),
            tokenizer=digest(tokenizer.get_vocab()),
            dtype=dtype if self.signal is None else "",
            rule=cache.rule,
            bits=cache.bits,
        )

    def signals(self, rows: Path, place: TrainingPlace) -> Signals | None:
        """See the base class. Loads both tokenizers."""
        if self.kept is None or self.teacher is None or place.store is None:
            return None
        store = Store.read(place.store)
        size = store.size()
        held = Signals(size.rows, size.positions, size.bytes)
        try:
            found, tokenizer = read_rows(rows), load_tokenizer(self.model)
            own = [row._replace(prompt=with_system(row.prompt, self.system)) for row in found]
            encoded = encode_rows(own, tokenizer, longest(self, load_config(self.model)))
            theirs = load_tokenizer(self.teacher)
            read = self._as_the_teacher_reads(found, theirs, encoded, load_config(self.teacher))
            signature = self._signature(self.kept, tokenizer, pick_dtype(pick_device(), self.dtype), place.base)
        except (InputError, TrainingError) as error:
            return held._replace(why=str(error))
        asked = dict(zip(keys_of(read, signature), read, strict=True))
        there = store.has(asked, self._temperatures())
        missing = [row for key, row in asked.items() if key not in there]
        return held._replace(
            wanted=len(read), missing=len(missing), missing_tokens=sum(len(row.input_ids) for row in missing)
        )

    def _teacher_identity(self, base: Path) -> str:
        """Of whoever gives the distribution."""
        return fingerprint(str(self.teacher)) if self.signal is None else self.signal.identity(base)

    def _load(self, begun: Begun[Encoded], name: str, who: str, read: Rows | None = None) -> Reader:
        """A model that is asked and not trained."""
        of = load_model(name, begun.plan.dtype, begun.plan.device)
        of.requires_grad_(False)
        return self._reader(begun, of, who, read)

    def _reader(self, begun: Begun[Encoded], of: Any, who: str, read: Rows | None = None) -> Reader:
        flat = begun.plan.device == "cpu" and can_flatten(of.config)
        return Reader(of, Head(of, len(begun.tokenizer), who), flat, read)

    def _as_the_teacher_reads(
        self, rows: Sequence[SftRow], tokenizer: Any, encoded: Encoded, config: Any
    ) -> list[EncodedRow]:
        """The student's rows behind the teacher's prompt. Raises RecipeError where its turns end otherwise, or its
        context is too short."""
        prompts, special, found = {row.name: row for row in rows}, special_ids(tokenizer), []
        most = longest(self, config)
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
