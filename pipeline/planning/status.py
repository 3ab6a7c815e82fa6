"""What a run holds, and what its recipe as it is now would pay for: for people and programs.

Read-only, so it is safe to call during a run. `salvage` is the exception: it repairs a damaged ledger first.

status("runs/quickstart").totals.attempts
status("runs/quickstart", set=["keep.per_task=4"]).plan.asked
attempts("runs/quickstart", out="attempts.jsonl")     # every one, which `teacher: {kind: recorded}` replays
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from stillroom.common.datasets import HasRows
from stillroom.common.files import Growing, replaced
from stillroom.common.printing import json_text
from stillroom.common.run_async import off_the_loop
from stillroom.common.secrets import named_in
from stillroom.errors import InputError, RunFolderError
from stillroom.evaluation.results import Evaluation, read_eval
from stillroom.judges.dialogue import JUDGE_PREFIX
from stillroom.pipeline.config.load import Overrides, RecipeLike, load_any
from stillroom.pipeline.run.facts import facts_in, folder_of, one_run, own_recipe, parts_of, refuse_chain
from stillroom.pipeline.run.flow import Plan, Planned, flow_of
from stillroom.pipeline.run.folder import RunFolder
from stillroom.pipeline.stages.labels import LabelReport, read_labels
from stillroom.pipeline.stages.train import SIGNALS
from stillroom.sampling.ledger import FILE as LEDGER
from stillroom.sampling.ledger import Ledger, SpentBy, Totals
from stillroom.sampling.ledger.salvage import Salvaged
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import LIVE_STUDENT, Signals, TrainingPlace

LOCAL_STUDENT = "local student"
"""Begins the stage of a student that answered here: nobody is paid for it."""
IN_TRAINING = f"{LOCAL_STUDENT}, in training"
"""The stage of what students answered while they were trained."""


class StageCost(NamedTuple):
    """What a stage has cost so far. `cancelled_tokens`: of requests that were stopped, as far as their teacher could
    tell; they are paid for. `usd`: None where the recipe has no prices for it."""

    stage: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cancelled_tokens: int
    usd: float | None

    def plus(self, other: StageCost) -> StageCost:
        """Of the same stage, in two runs."""
        usd = other.usd if self.usd is None else self.usd + (other.usd or 0)
        return StageCost(
            self.stage,
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cancelled_tokens + other.cancelled_tokens,
            usd,
        )


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a run. `failures`: requests that failed for good, by kind. `costs`: by stage; local students cost
    nothing. `finished`: when it ended, None while it has not; `evaluation`: None before that.
    `plan`: what the recipe would pay for now; None if that is unknown, and `no_plan` says why. `salvaged`:
    what was saved of a damaged ledger, None if that was not asked for. `parts`: of a loop or a chain, the state
    of each run, by its place in the folder; what stands above them are sums. `labels`: of a finished run of labels,
    their balance and how far draws agree; None of another. `signals`: what is kept of a teacher's distribution, None
    where nothing is to be."""

    folder: Path
    name: str
    started: str | None
    finished: str | None
    totals: Totals
    verdicts: dict[str, int]
    failures: dict[str, int]
    costs: tuple[StageCost, ...]
    rows: int | None
    evaluation: Evaluation | None
    plan: Plan | None
    no_plan: str
    salvaged: Salvaged | None
    parts: dict[str, Status] = field(default_factory=dict)
    labels: LabelReport | None = None
    signals: Signals | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "name": self.name,
            "started": self.started,
            "finished": self.finished,
            "ledger": self.totals._asdict(),
            "verdicts": self.verdicts,
            "failures": self.failures,
            "costs": [cost._asdict() for cost in self.costs],
            "rows": self.rows,
            "evaluation": self.evaluation and self.evaluation.model_dump(mode="json", exclude_none=True),
            "plan": self.plan and self.plan.as_dict(),
            "no_plan": self.no_plan,
            "salvaged": self.salvaged and self.salvaged._asdict() | {"kept": str(self.salvaged.kept)},
            "parts": {name: part.as_dict() for name, part in self.parts.items()},
            "labels": self.labels and self.labels.as_dict(),
            "signals": self.signals and self.signals._asdict(),
        }


@off_the_loop
def status(
    folder: RecipeLike, *, recipe: RecipeLike | None = None, set: Overrides = (), salvage: bool = False
) -> Status:
    """Reads the state of a run, and estimates what a recipe would cost; of a loop or a chain, that of each of its
    runs.

    `folder`: of the run, or the recipe whose default folder it is. `recipe`: another recipe to estimate, None for the
    one that the run was made with; `set`: overrides. `salvage`: first saves what can be read of a damaged ledger.
    Raises MissingFile, RunFolderError, LedgerError, and with `recipe` or `set` what is wrong with that recipe.
    """
    path = folder_of(folder)
    facts = facts_in(path)
    if parts := parts_of(path):
        if recipe is not None or set or salvage:
            refuse_chain(path, parts)
        return _of_chain(path, facts, parts)
    return _of_run(path, facts, recipe, set, salvage)


def _of_chain(path: Path, facts: dict[str, Any], folders: Sequence[Path]) -> Status:
    parts = {p.relative_to(path).as_posix(): _of_run(p, facts_in(p)) for p in folders}
    each = list(parts.values())
    costs: dict[str, StageCost] = {}
    for cost in (cost for part in each for cost in part.costs):
        stage = "local students" if cost.stage.startswith("local student") else cost.stage
        costs[stage] = cost._replace(stage=stage) if stage not in costs else costs[stage].plus(cost)
    return Status(
        folder=path,
        name=facts["name"],
        started=facts.get("started"),
        finished=facts.get("finished"),
        totals=summed(part.totals for part in each),
        verdicts=counted(part.verdicts for part in each),
        failures=counted(part.failures for part in each),
        costs=tuple(costs.values()),
        rows=sum(part.rows or 0 for part in each),
        evaluation=_evaluation(path, facts),
        plan=None,
        no_plan=f"{path} holds {len(each)} runs, and each says it for itself: stillroom status {folders[0]}",
        salvaged=None,
        parts=parts,
    )


def summed(parts: Iterable[Totals]) -> Totals:
    """The totals of all runs."""
    return Totals(*(sum(of) for of in zip(*parts, strict=True)))


def counted(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Verdicts, or failures, of all runs."""
    found: Counter[str] = Counter()
    for part in parts:
        found.update(part)
    return dict(found)


def _of_run(
    path: Path, facts: dict[str, Any], recipe: RecipeLike | None = None, set: Overrides = (), salvage: bool = False
) -> Status:
    salvaged = None
    if salvage:
        if not (path / LEDGER).is_file() and facts.get("attempts"):
            Ledger.open(path).close()  # a new one: from now on what is saved is all that there was
        else:
            salvaged = Ledger.salvage(path)
        RunFolder(path, facts["name"]).note(attempts=salvaged.attempts if salvaged is not None else 0)
    with Ledger.read(path) as ledger:
        planned = _plan(path, facts, ledger, recipe, set)
        return Status(
            folder=path,
            name=facts["name"],
            started=facts.get("started"),
            finished=facts.get("finished"),
            totals=ledger.totals(),
            verdicts=ledger.verdict_counts(),
            failures=ledger.failure_counts(),
            costs=tuple(_costs(ledger.spent_by(JUDGE_PREFIX), path, facts)),
            rows=facts.get("rows"),
            evaluation=_evaluation(path, facts),
            plan=planned.plan,
            no_plan=planned.why_not,
            salvaged=salvaged,
            labels=read_labels(path) if facts.get("finished") else None,
            signals=_signals(path, facts, recipe, set),
        )


def _signals(path: Path, facts: dict[str, Any], recipe: RecipeLike | None, overrides: Overrides) -> Signals | None:
    """Of the rows that are written, under the recipe as it is now; None as well where the recipe cannot be read,
    which the plan says."""
    try:
        loaded = load_any(recipe, overrides) if recipe is not None else own_recipe(path, facts, overrides)
    except InputError:
        return None
    student: Any = getattr(loaded.recipe, "student", None)
    if not isinstance(student, StudentSettings) or not (path / "sft").is_dir():
        return None
    return student.signals(path / "sft", TrainingPlace(base=loaded.base, store=path / SIGNALS))


def _evaluation(path: Path, facts: dict[str, Any]) -> Evaluation | None:
    return read_eval(path / "eval.json") if facts.get("finished") and (path / "eval.json").is_file() else None


def _costs(spent: Sequence[SpentBy], path: Path, facts: dict[str, Any]) -> Iterator[StageCost]:
    """By stage: the teacher, each source of candidates, the judge. Who else answered is a local student; those that
    answered in their training, another one at every step, are one stage."""
    teacher = (facts.get("teacher") or {}).get("identity")
    stages = {identity: f"candidates of {name}" for name, identity in (facts.get("sources") or {}).items()}
    stages |= {teacher: "teacher"} if teacher else {}
    try:
        recipe: Any = own_recipe(path, facts).recipe
    except InputError:  # it cannot be read any more, so its prices are not known
        recipe = None
    prices, judge_prices = getattr(recipe, "prices", None), getattr(recipe, "judge_prices", None)
    trained: StageCost | None = None
    for each in sorted(spent, key=lambda each: (each.apart, each.teacher not in stages, each.teacher)):
        if each.teacher.startswith(LIVE_STUDENT) and not each.apart:
            cost = StageCost(IN_TRAINING, *each[2:], usd=None)
            trained = cost if trained is None else trained.plus(cost)
            continue
        stage = "judge" if each.apart else stages.get(each.teacher, f"{LOCAL_STUDENT} ({each.teacher[:40]})")
        paid = judge_prices if each.apart else prices if each.teacher in stages else None
        completion = each.completion_tokens + each.cancelled_tokens
        usd = None if paid is None else paid.of(each.prompt_tokens, completion)
        yield StageCost(stage, each.requests, each.prompt_tokens, each.completion_tokens, each.cancelled_tokens, usd)
    if trained is not None:
        yield trained


def _plan(
    folder: Path, facts: dict[str, Any], ledger: Ledger, recipe: RecipeLike | None, overrides: Overrides
) -> Planned:
    """The plan. Where nobody asked for one, what keeps it from being made is said, not raised."""
    try:
        loaded = load_any(recipe, overrides) if recipe is not None else own_recipe(folder, facts, overrides)
        if facts["name"] not in (loaded.recipe.name, named_in(loaded.recipe.name)):
            raise RunFolderError(
                f"{folder} is the folder of a run of recipe {facts['name']!r}, not of {loaded.recipe.name!r}"
            )
        return flow_of(loaded.recipe).plan(loaded, ledger, facts)
    except InputError as error:
        if recipe is not None or overrides:
            raise
        return Planned(None, str(error))


# -- attempts ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attempts(HasRows):
    """Attempts in draw order, one row each."""

    rows: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"{len(self):,} attempts"

    def write(self, file: IO[bytes]) -> None:
        """As JSON Lines."""
        file.writelines(map(_line, self.rows))

    def _rows(self) -> Sequence[dict[str, Any]]:
        return self.rows


_OF_ATTEMPTS = ("teacher", "text", "reasoning", "finish_reason", "prompt_tokens", "completion_tokens", "latency_s")
"""Fields of an exported attempt that are those of the ledger."""


def attempts(folder: RecipeLike, *, out: str | Path | None = None, held_out: bool = False) -> Attempts:
    """Every attempt of the run's teacher, or of all sources of candidates, with its latest verdict. What a judge was
    asked is not an attempt.

    `out`: a file to write them to as well, as JSON Lines. `held_out`: also the answers to held-out tasks, which
    nothing may be trained on; each row says in `split` which it is. Raises what loading the run's tasks raises.
    """
    found = Attempts(tuple(_exported(folder, held_out)))
    if out is not None:
        with replaced(Path(out)) as file:
            found.write(file)
    return found


def write_attempts(folder: RecipeLike, out: str | Path | IO[bytes], *, held_out: bool = False) -> int:
    """Writes what `attempts` gives, without holding it; the number of rows. `out`: a path, or an open file. Raises as
    `attempts` does."""
    exported = _exported(folder, held_out)
    if isinstance(out, str | Path):
        written = 0
        file = Growing(Path(out))
        try:
            for row in exported:
                with file.writing() as lines:
                    lines.write(_line(row))
                written += 1
            file.keep()
        finally:
            file.discard()
        return written
    return sum(bool(out.write(_line(row))) for row in exported)


def _line(row: dict[str, Any]) -> bytes:
    return (json_text(row) + "\n").encode()


def _exported(folder: RecipeLike, held_out: bool) -> Iterator[dict[str, Any]]:
    path, facts = one_run(folder)
    asked: dict[str, dict[str, str | None]] = {}
    with Ledger.read(path) as ledger:
        try:
            loaded = own_recipe(path, facts)
            if (tasks := flow_of(loaded.recipe).tasks(loaded)) is not None:
                for split, of in {"test": tasks.test, "validation": tasks.validation, "train": tasks.train}.items():
                    for task in of:
                        asked[task.id] = {
                            "split": split,
                            "question": task.messages[-1].content,
                            "gold": task.reference,
                        }
        except InputError as error:
            if not held_out:
                raise InputError(
                    f"{error}; without its tasks nobody knows which answers are to held-out ones: --held-out writes "
                    "all"
                ) from None
            asked = {}
        unknown = dict.fromkeys(("split", "question", "gold"))  # no task of the recipe any more: held out, perhaps
        teachers = {(facts.get("teacher") or {}).get("identity"), *(facts.get("sources") or {}).values()}
        for row in ledger.rows_by_task():
            known = asked.get(row["task_id"], unknown)
            if row["teacher"] not in teachers or row["task_id"].startswith(JUDGE_PREFIX):
                continue
            if held_out or known["split"] == "train":
                verdict = {"verdict": row["state"], "reason": row["v_reason"], "detail": row["detail"]}
                told = {key: row[key] for key in _OF_ATTEMPTS}
                yield {"task_id": row["task_id"], "index": row["draw"], **known, **told, **verdict}
