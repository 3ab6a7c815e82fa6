"""White-box distillation: a student trained towards a teacher's distribution, on the rows of accepted traces.

    settings = Distil(model="embedded:smollm2-135m-instruct", teacher="runs/tutor/student/merged",
                      objectives=[{"kind": "soft", "temperature": 2, "weight": 0.7}, {"kind": "hard", "weight": 0.3}])
    trained = settings.train(run / "sft", run / "student", seed=7, on_step=print)

The teacher reads each row under its own chat template, and must have the student's tokenizer. Its weights run in this
process and are asked at every step, or once for each row and kept (`cache`); or somebody else is asked (`signal`).
`base_kl` needs no teacher: it holds the student to what it was. On a CPU the same rows, settings and seed give the
same student.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from stillroom.common.hashing import digest
from stillroom.common.models.resolve import fingerprint, load_tokenizer, pick_device, pick_dtype
from stillroom.common.records import Example
from stillroom.errors import InputError, TrainingError
from stillroom.sampling.ledger import Ledger
from stillroom.students.data.encode import Encoded, EncodedRow, encode_rows
from stillroom.students.data.rows import Row, SftRow, read_rows, with_system
from stillroom.students.methods.common import Begun, finish, fits, run, training
from stillroom.students.methods.of_rows import OfRows
from stillroom.students.methods.ranks import Ranks
from stillroom.students.methods.registry import UNTOLD, longest, methods, on_or_off
from stillroom.students.methods.trainer import held_rows, make_trainer, unwrapped, watch
from stillroom.students.records import LIVE_STUDENT, Asked, OnStep, Signals, StepInfo, Trained, TrainingPlace
from stillroom.students.whitebox.answers import kept_answers
from stillroom.students.whitebox.cache.capture import keys_of
from stillroom.students.whitebox.cache.local import LocalSource
from stillroom.students.whitebox.cache.prepare import PreparedSignal, Wanted, prepared_signal
from stillroom.students.whitebox.cache.rules import CacheSettings, Signature, Temperatures, declared
from stillroom.students.whitebox.cache.sources import AnySignal
from stillroom.students.whitebox.cache.store import Store
from stillroom.students.whitebox.feed import Feed, Group, Rehearsal
from stillroom.students.whitebox.loss import Reader, WhiteBoxLoss
from stillroom.students.whitebox.objectives import AnyObjective, BaseKl, Hard, Objective, Soft
from stillroom.students.whitebox.on_policy import OnPolicy
from stillroom.students.whitebox.order import InOrder, Order
from stillroom.students.whitebox.overlap import Overlap, overlap
from stillroom.students.whitebox.presets import AnyPreset, spelled_out
from stillroom.students.whitebox.privileged import Privileged
from stillroom.students.whitebox.rehearsal import Rehearse, Rehearsed, prompts_of, rehearse
from stillroom.students.whitebox.rollouts import Live, ReadBy, Rollouts
from stillroom.students.whitebox.sides import (
    BASE,
    Models,
    Sides,
    as_the_teacher_reads,
    config_of,
    context_of,
    same_tokens,
)
from stillroom.version import __version__

NOT_ASKED = ("model", "teacher", "save_merged", "validation")
"""Settings left out of the name under which the student's own answers are kept: what they decide of these stands
there as the content of models and rows."""

PROMPT_TOKENS = 48
"""Of an everyday prompt with its chat template, about."""


def whole(begun: Begun[Encoded]) -> Encoded:
    """All rows that teacher and student read: those of the training first, then those of the validation."""
    return begun.encoded._replace(rows=[*begun.encoded.rows, *(begun.held.rows if begun.held is not None else ())])


@methods.register
class Distil(OfRows):
    """White-box distillation from a teacher's weights."""

    trl_config: ClassVar[str] = "SFTConfig"
    unfit: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("packing", "padding_free", "packing_strategy"), "its objectives compare whole rows"),
        "neftune_noise_alpha": "its objectives may read several rows in one sequence, which changes the noise",
        **dict.fromkeys(("label_smoothing_factor", "loss_type"), "`student.objectives` is its loss"),
        "router_aux_loss_coef": "`student.objectives` is its loss",
        "use_liger_kernel": "it would replace the pass that the objectives read",
    }

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
    on_policy: OnPolicy | None = None
    """Training on the student's own answers, next to the rows or in their place; null: none."""
    rehearse: Rehearse | None = None
    """Prompts of other kinds, on which the student is held to what the base says; null: none."""

    @model_validator(mode="before")
    @classmethod
    def _preset_spelled_out(cls, values: Any) -> Any:
        return spelled_out(values)

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
        if self.teacher == BASE and (self.signal is not None or self.kept is not None):
            raise ValueError(
                "the teacher is the student's base, which is asked at every step: leave signal and cache out"
            )
        if self.signal is not None and self.on_policy is not None:
            raise ValueError(
                "on_policy asks the teacher about answers that nobody knows before, and signal asks somebody else: "
                "name the teacher's weights and leave signal out, or leave on_policy out"
            )
        if self.teacher == BASE and not helped:
            raise ValueError(
                "the teacher is the student's base, which has nothing to teach without help in its prompt: give "
                "teacher_reference: true, teacher_examples or teacher_system; `base_kl` holds a student to its base"
            )
        return self

    @model_validator(mode="after")
    def _steps_fit(self) -> Distil:
        if self.on_policy is not None:
            self.refuse_processes("on_policy samples the student's answers in the process that trains it")
        if self.on_policy is not None and (named := {"max_steps", "train_sampling_strategy"} & self.trainer.keys()):
            raise ValueError(
                f"trainer.{min(named)} cannot be set with on_policy, which lays down before the first step which "
                "rows are drawn: set `student.epochs`, which may be a fraction"
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
        return (
            (self.model,)
            if self.teacher in (None, BASE) or self.signal is not None
            else (self.model, str(self.teacher))
        )

    @property
    def asked(self) -> Asked:
        base = self.rehearse is not None or any(each.learns_from == "base" for each in self._all_objectives)
        weights = self.teacher not in (None, BASE) and (self.kept is None or self.on_policy is not None)
        copies = int(self.lora is None and (base or self.teacher == BASE))
        rehearsed = self.rehearse
        return Asked(
            models=(str(self.teacher),) * weights + (self.model,) * copies,
            sides=1 + int(weights or self.teacher == BASE) + int(base and rehearsed is None),
            again=0 if self.lora is None else int(base and rehearsed is None) + int(self.teacher == BASE),
            more_rows=0.0 if rehearsed is None else rehearsed.share,
            more_tokens=0 if rehearsed is None else PROMPT_TOKENS + rehearsed.max_tokens,
        )

    @property
    def imitates(self) -> str | None:
        return None if self.signal is not None or self.teacher == BASE or any(self._shown) else self.teacher

    @property
    def files(self) -> tuple[str, ...]:
        recorded = getattr(self.signal, "path", None)
        return (*(() if self.rehearse is None else self.rehearse.files), *(() if recorded is None else (recorded,)))

    def check(self, base: Path, seed: int) -> None:
        super().check(base, seed)
        if self.rehearse is not None:
            prompts_of(self.rehearse, base, seed)
        if self.signal is not None:
            self.signal.identity(base)

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
        with training(self, out, seed, place, own, encode_rows) as begun:
            with fits(self), kept_answers(place, begun.scratch) as ledger, ExitStack() as stack:
                ranks = Ranks.here()
                rehearsed = ranks.share(lambda: self._rehearsed(begun, place, ledger))
                sides = self._sides(begun, found)
                with ranks.main_first():
                    cached = self._cached(begun, sides, place)
                rollouts = self._rollouts(begun, own, sides, rehearsed, place, ledger)
                if rollouts is not None:
                    stack.callback(rollouts.close)
                shared = self._overlap(begun, sides, place)
                loss = self._loss(begun, sides, cached, rehearsed, rollouts)

                def told(step: StepInfo) -> None:
                    loss.take()
                    if on_step is not None:
                        on_step(step)

                sampler = None if rollouts is None else InOrder(rollouts.order)
                trainer = make_trainer(
                    begun.model, begun.tokenizer, begun.encoded, self, begun.plan, begun.scratch, told, loss, sampler
                )
                watch(trainer, begun.curve, held_rows(trainer, begun.held, self.batch_size))
                kept = begun.kept.of("sft", **self._depends_on(begun, sides, rehearsed, place))
                seconds = run(trainer, self, kept, place)
            more: dict[str, Any] = {"objectives": [[round(mean, 6) for mean in step] for step in loss.means]}
            if self.teacher is not None:
                more["teacher"] = self._teacher_identity(place.base)
            if cached is not None:
                more["cache"] = cached.record
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

    @property
    def _shown(self) -> Privileged:
        return Privileged(self.teacher_system, self.teacher_examples, self.teacher_reference)

    def _models(self, begun: Begun[Encoded]) -> Models:
        return Models(len(begun.tokenizer), begun.plan.dtype, begun.plan.device)

    def _sides(self, begun: Begun[Encoded], rows: Sequence[SftRow]) -> Sides:
        """Student, teacher and base, those loaded that are asked at every step. Raises RecipeError for a model that
        does not fit."""
        models, name = self._models(begun), self.teacher
        student = models.reader(unwrapped(begun.model), f"the student {self.model}")
        teacher = base = None
        needs_base = self.rehearse is not None or any(each.learns_from == "base" for each in self._all_objectives)
        if self.lora is None and (needs_base or name == BASE):
            base = models.loaded(self.model, f"the base {self.model}")
        if name is None:
            return Sides(student, None, base, None)
        theirs, config = begun.tokenizer, begun.model.config
        if name == BASE:
            teacher = base or student._replace(model=None)
        else:
            theirs, config = load_tokenizer(name), config_of(name)
            same_tokens(theirs, begun.tokenizer, name, self.model)
            if self.kept is None or self.on_policy is not None:
                teacher = models.loaded(name, f"the teacher {name}")
        read = as_the_teacher_reads(rows, whole(begun), self._shown, theirs, context=context_of(config), name=name)
        return Sides(student, None if teacher is None else teacher._replace(rows={"task": read}), base, read)

    def _depends_on(
        self, begun: Begun[Encoded], sides: Sides, rehearsed: Rehearsed | None, place: TrainingPlace
    ) -> dict[str, Any]:
        """What decides this training besides what decides any: the name of its checkpoints."""
        return {
            "teacher": None if self.teacher is None else self._teacher_identity(place.base),
            "read": None if sides.read is None else digest([row.input_ids for row in sides.read]),
            "rehearsal": None if rehearsed is None else rehearsed.record(),
            "scorer": place.gate.identity if self.asks_the_scorer and place.gate is not None else None,
        }

    def _cached(self, begun: Begun[Encoded], sides: Sides, place: TrainingPlace) -> PreparedSignal | None:
        """The cache that stands for the teacher, filled; None where the teacher is asked at every step."""
        if self.kept is None or sides.read is None:
            return None
        name, signal, models = str(self.teacher), self.signal, self._models(begun)

        def source(of: Reader) -> LocalSource:
            return LocalSource(of.model, of.head, flat=of.flat, batch=self.batch_size)

        wanted = Wanted(
            read=sides.read,
            own=whole(begun).rows,
            signature=self._signature(self.kept, begun.tokenizer, begun.plan.dtype, place.base),
            temperatures=self._temperatures(),
            vocabulary=len(begun.tokenizer),
            folder=place.store or begun.scratch / "signals",
            student=fingerprint(self.model),
            tell=place.tell,
        )
        return prepared_signal(
            wanted,
            source(sides.student),
            local=None if signal else lambda: source(sides.teacher or models.loaded(name, f"the teacher {name}")),
            other=None if signal is None else lambda: signal.make(place.base, len(begun.tokenizer)),
        )

    def _loss(
        self,
        begun: Begun[Encoded],
        sides: Sides,
        cached: PreparedSignal | None,
        rehearsed: Rehearsed | None,
        rollouts: Rollouts | None,
    ) -> WhiteBoxLoss:
        """The objectives of each group of rows."""
        terms: dict[Group, Sequence[Objective]] = {"task": self.objectives}
        groups: dict[Group, Sequence[EncodedRow]] = {"task": whole(begun).rows}
        rehearsal, teacher = None, sides.teacher
        if self.rehearse is not None and rehearsed is not None:
            terms["rehearsal"] = [BaseKl(weight=self.rehearse.weight, temperature=self.rehearse.temperature)]
            groups["rehearsal"] = rehearsed.rows
            rehearsal = Rehearsal(len(rehearsed.rows), self.rehearse.share, begun.plan.seed)
        if self.on_policy is not None and rollouts is not None:
            terms["rollout"], groups["rollout"] = [self.on_policy.objective], rollouts.own
            if teacher is not None:
                teacher = teacher._replace(rows={**(teacher.rows or {}), "rollout": rollouts.teachers})
        signal = None if cached is None else cached.signal
        return WhiteBoxLoss(
            terms, groups, sides.student, teacher, sides.base, Feed(rehearsal, rollouts), cached=signal
        )

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
        if sides.teacher is not None and sides.read is not None:
            of = begun.model if sides.teacher.model is None else sides.teacher.model
            teacher = ReadBy(sides.read, context_of(of.config))
        depends_on = [
            self.model_dump(mode="json", exclude_defaults=True, exclude={*NOT_ASKED, *UNTOLD}),
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
        place.tell(found.told())
        return found

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
            encoded = encode_rows(own, tokenizer, longest(self, config_of(self.model)))
            theirs, context = load_tokenizer(self.teacher), context_of(config_of(self.teacher))
            read = as_the_teacher_reads(found, encoded, self._shown, theirs, context=context, name=self.teacher)
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
        if self.signal is not None:
            return self.signal.identity(base)
        return fingerprint(self.model if self.teacher == BASE else str(self.teacher))

    def lint_more(self) -> dict[str, Any]:
        from stillroom.students.lint.teacher import teacher_side
        from stillroom.students.whitebox.probe import moved

        name = self.model if self.teacher == BASE else self.teacher
        teacher = None if name is None else teacher_side(name, self._shown)
        return {"teacher": teacher, "moved": partial(moved, self.objectives)}
