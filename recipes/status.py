"""What a run holds, and what its recipe as it is now would pay for: for people and programs.

It only reads, so it works while the run is at it; except with `salvage`, which mends a damaged ledger.

status("runs/quickstart").totals.attempts
status("runs/quickstart", set=["keep.per_task=4"]).plan.asked
attempts("runs/quickstart", out="attempts.jsonl")     # what teacher: {kind: recorded} replays
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.errors import InputError, MissingFile, RunFolderError
from stillroom.judges.dialogue import JUDGE_PREFIX
from stillroom.recipes.chain_status import counted, parts_of, parts_table, summed
from stillroom.recipes.flow import Plan, Planned, flow_of
from stillroom.recipes.folder import RunFolder, read_facts
from stillroom.recipes.kinds import Loaded, RecipeBase
from stillroom.recipes.loading import load_any
from stillroom.sampling.formatting import NOTHING, money
from stillroom.sampling.ledger import FILE as LEDGER
from stillroom.sampling.ledger import Ledger, Salvaged, SpentBy, Totals
from stillroom.sampling.limits import Prices
from stillroom.sampling.printing import Table, json_text, plain, terminal
from stillroom.sampling.run_async import off_the_loop
from stillroom.sampling.secrets import named_in
from stillroom.sampling.writing import reachable, replaced
from stillroom.students.evaluate.results import ACCURACY, Evaluation, read_eval

PIPE_WIDTH = 120
"""Columns of a table that goes to no terminal: its lines are not to wrap."""


class StageCost(NamedTuple):
    """What a stage has cost so far. `cancelled_tokens`: of requests that were stopped, as far as their teacher could
    tell; they are paid for. `usd`: None where the recipe has no prices for it."""

    stage: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cancelled_tokens: int
    usd: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a run. `failures`: requests that failed for good, by kind. `costs`: by stage; local students cost
    nothing. `finished`: when it ended, None while it has not; `evaluation`: None before that.
    `plan`: what the recipe would pay for now; None where that cannot be said, and `no_plan` says why. `salvaged`:
    what was saved of a damaged ledger, None where that was not asked for. `parts`: of a loop or a chain, the state
    of each run, by its place in the folder; what stands above them are sums."""

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

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
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
            "evaluation": None
            if self.evaluation is None
            else self.evaluation.model_dump(mode="json", exclude_none=True),
            "plan": self.plan.as_dict() if self.plan is not None else None,
            "no_plan": self.no_plan,
            "salvaged": None
            if self.salvaged is None
            else self.salvaged._asdict() | {"kept": str(self.salvaged.kept)},
            "parts": {name: part.as_dict() for name, part in self.parts.items()},
        }


@off_the_loop
def status(
    folder: str | Path, *, recipe: str | Path | None = None, set: Sequence[str] = (), salvage: bool = False
) -> Status:
    """Reads the state of a run, and weighs it against a recipe; of a loop or a chain, that of each of its runs.

    `recipe`: a path or the name of a shipped one, None for the one that the run was made with; `set`: overrides.
    `salvage`: first saves what can be read of a damaged ledger. Raises MissingFile, RunFolderError, LedgerError, and
    with `recipe` or `set` what is wrong with that recipe.
    """
    path = reachable(Path(folder), "the run's folder")
    facts = facts_in(path)
    if parts := parts_of(path):
        if recipe is not None or set or salvage:
            refuse_chain(path)
        return _of_chain(path, facts, parts)
    return _of_run(path, facts, recipe, set, salvage)


def _of_chain(path: Path, facts: dict[str, Any], folders: Sequence[Path]) -> Status:
    parts = {p.relative_to(path).as_posix(): _of_run(p, facts_in(p), None, (), False) for p in folders}
    each = list(parts.values())
    return Status(
        path,
        facts["name"],
        facts.get("started"),
        facts.get("finished"),
        summed(part.totals for part in each),
        counted(part.verdicts for part in each),
        counted(part.failures for part in each),
        _summed_costs(cost for part in each for cost in part.costs),
        sum(part.rows or 0 for part in each),
        _evaluation(path) if facts.get("finished") else None,
        None,
        f"{path} holds {len(each)} runs, and each says it for itself: stillroom status {folders[0]}",
        None,
        parts,
    )


def _costs(spent: Sequence[SpentBy], path: Path, facts: dict[str, Any]) -> Iterator[StageCost]:
    """By stage: the teacher, each source of candidates, the judge. Who else answered is a local student."""
    teacher = (facts.get("teacher") or {}).get("identity")
    stages = {identity: f"candidates of {name}" for name, identity in (facts.get("sources") or {}).items()}
    stages |= {teacher: "teacher"} if teacher else {}
    prices, judge_prices = _prices(path, facts)
    for each in sorted(spent, key=lambda each: (each.apart, each.teacher not in stages, each.teacher)):
        stage = "judge" if each.apart else stages.get(each.teacher, f"local student ({each.teacher[:40]})")
        paid = judge_prices if each.apart else prices if each.teacher in stages else None
        completion = each.completion_tokens + each.cancelled_tokens
        usd = None if paid is None else paid.of(each.prompt_tokens, completion)
        yield StageCost(stage, each.requests, each.prompt_tokens, each.completion_tokens, each.cancelled_tokens, usd)


def _prices(path: Path, facts: dict[str, Any]) -> tuple[Prices | None, Prices | None]:
    """Of the teacher and of the judge, as the recipe says; None where it cannot be read any more."""
    try:
        recipe = own_recipe(path, facts, ()).recipe
    except InputError:
        return None, None
    return getattr(recipe, "prices", None), getattr(recipe, "judge_prices", None)


def _summed_costs(costs: Iterable[StageCost]) -> tuple[StageCost, ...]:
    """By stage, over the runs of a chain."""
    found: dict[str, StageCost] = {}
    for cost in costs:
        stage = "local students" if cost.stage.startswith("local student") else cost.stage
        sums = found.get(stage, StageCost(stage, 0, 0, 0, 0, None))
        found[stage] = StageCost(
            stage,
            sums.requests + cost.requests,
            sums.prompt_tokens + cost.prompt_tokens,
            sums.completion_tokens + cost.completion_tokens,
            sums.cancelled_tokens + cost.cancelled_tokens,
            cost.usd if sums.usd is None else sums.usd + (cost.usd or 0),
        )
    return tuple(found.values())


def _evaluation(path: Path) -> Evaluation | None:
    return read_eval(path / "eval.json") if (path / "eval.json").is_file() else None


def _of_run(
    path: Path, facts: dict[str, Any], recipe: str | Path | None, set: Sequence[str], salvage: bool
) -> Status:
    salvaged = _salvaged(path, facts) if salvage else None
    with Ledger.read(path) as ledger:
        totals, verdicts, failures = ledger.totals(), ledger.verdict_counts(), ledger.failure_counts()
        costs = tuple(_costs(ledger.spent_by(JUDGE_PREFIX), path, facts))
        planned = _plan(path, facts, ledger, recipe, set)
    times = facts.get("started"), facts.get("finished")
    return Status(
        path,
        facts["name"],
        *times,
        totals,
        verdicts,
        failures,
        costs,
        facts.get("rows"),
        _evaluation(path) if facts.get("finished") else None,
        *planned,
        salvaged=salvaged,
    )


def _salvaged(path: Path, facts: dict[str, Any]) -> Salvaged | None:
    """What can be saved of the ledger, which from now on is all that there was; None where there is no file left."""
    if not (path / LEDGER).is_file() and facts.get("attempts"):
        Ledger.open(path).close()  # a new one
        found = None
    else:
        found = Ledger.salvage(path)
    RunFolder(path, facts["name"]).note(attempts=found.attempts if found is not None else 0)
    return found


def _plan(
    folder: Path, facts: dict[str, Any], ledger: Ledger, recipe: str | Path | None, overrides: Sequence[str]
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


def own_recipe(folder: Path, facts: dict[str, Any], overrides: Sequence[str]) -> Loaded[RecipeBase]:
    """The recipe that the run was made with, as resolved, with its paths starting where they did."""
    base = (facts.get("recipe") or {}).get("base")
    if base is None:
        raise RunFolderError(f"{folder / 'run.json'} does not say where the recipe was: name it with --recipe")
    return load_any(folder / "recipe.yaml", overrides)._replace(base=Path(base))


def refuse_chain(path: Path) -> None:
    """Raises InputError for the folder of a loop or a chain, which holds many runs."""
    if parts := parts_of(path):
        raise InputError(f"{path} holds {len(parts)} runs: ask of one of them, such as {parts[0]}")


def facts_in(path: Path) -> dict[str, Any]:
    """What `run.json` of a run's folder says. Raises MissingFile, or RunFolderError where it cannot be read."""
    if not path.is_dir():
        raise MissingFile(f"there is no folder {path}: give the folder of a run, such as runs/quickstart")
    try:
        facts, why = read_facts(path), ""
    except ValueError as error:
        facts, why = {}, f" ({error})"
    if facts.get("name") is not None:
        return facts
    way = f", or its recipe has to be run again, which makes run.json again: {path / LEDGER} is there"
    raise RunFolderError(
        f"{path} holds no readable run.json{why}: it is not the folder of a run"
        + (way if (path / LEDGER).is_file() else "")
    )


def show_status(found: Status) -> None:
    """Prints it."""
    console = terminal()
    if not console.is_terminal:
        console.width = max(console.width, PIPE_WIDTH)
    if found.salvaged is not None:
        console.print(_salvage_in_words(found.salvaged), soft_wrap=True)
    state = f"finished {found.finished}" if found.finished else "not finished"
    where = plain(f"{found.name} in {found.folder}", "bold")
    console.print(where + plain(f": started {found.started}, {state}"), soft_wrap=True)
    if found.parts:
        console.print(parts_table(found.parts))
    console.print(_held(found))
    if found.costs:
        console.print()
        console.print(_costs_table(found.costs))
    if found.plan is not None:
        console.print()
        found.plan.show(console)
    elif found.no_plan:
        console.print(f"what would be paid for now cannot be said: {found.no_plan}", soft_wrap=True)
    if found.evaluation is not None:
        console.print(_evaluated(found.evaluation))


def _evaluated(evaluation: Evaluation) -> Table:
    from stillroom.students.evaluate.preference_table import preference_table
    from stillroom.students.evaluate.table import eval_table

    traces = any(row.metric == ACCURACY for row in evaluation.results)
    return eval_table(evaluation) if traces else preference_table(evaluation)


def _held(found: Status) -> Table:
    t, table = found.totals, Table(box=None, padding=(0, 2), pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for state, n in sorted(found.verdicts.items()):
        table.add_row(f"attempts {state}" if state != "none" else "attempts without a verdict", f"{n:,}")
    table.add_row("requests failed", f"{t.failures:,}")
    for kind, n in sorted(found.failures.items()) if len(found.failures) > 1 else ():
        table.add_row(f"  {kind}", f"{n:,}")
    unknown = f" + {t.cancelled_unknown:,} unknown" if t.cancelled_unknown else ""
    table.add_row("requests cancelled (tokens)", f"{t.cancelled:,} ({t.cancelled_tokens:,}{unknown})")
    if found.rows is not None:
        table.add_row("rows written", f"{found.rows:,}")
    return table


def _costs_table(costs: Sequence[StageCost]) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    table.add_column("cost so far", overflow="fold")
    for column in ("requests", "tokens asked", "answered", "money"):
        table.add_column(column, justify="right", no_wrap=True)
    for cost in costs:
        usd = NOTHING if cost.usd is None else money(cost.usd)
        numbers = (cost.requests, cost.prompt_tokens, cost.completion_tokens + cost.cancelled_tokens)
        table.add_row(cost.stage, *(f"{n:,}" for n in numbers), usd)
    return table


def _salvage_in_words(s: Salvaged) -> str:
    saved = (
        f"saved {s.attempts:,} attempts, {s.verdicts:,} verdicts, {s.failures:,} failures, {s.cancelled:,} cancelled"
    )
    lost = f"lost {s.missing:,} attempts; {s.broken:,} damaged rows, {s.orphans:,} verdicts of lost attempts left out"
    return f"{saved}\n{lost}\nthe damaged file is kept as {s.kept}"


def attempts(folder: str | Path, *, out: str | Path | None = None, held_out: bool = False) -> int:
    """Writes every attempt of the run's teacher, or of all sources of candidates, with its latest verdict as JSON
    Lines, in draw order. What a judge was asked is no attempt.

    `out`: a file, None for standard output. `held_out`: also the answers to held-out tasks, which nothing may be
    trained on; each line says in `split` which it is. Gives the number of lines, which are what
    `teacher: {kind: recorded}` reads. Raises what loading the run's tasks raises.
    """
    path = reachable(Path(folder), "the run's folder")
    facts = facts_in(path)
    refuse_chain(path)
    try:
        asked = _asked_in(own_recipe(path, facts, ()))
    except InputError as error:
        if not held_out:
            raise InputError(
                f"{error}; without its tasks nobody knows which answers are to held-out ones: --held-out writes all"
            ) from None
        asked = {}
    teachers = {(facts.get("teacher") or {}).get("identity"), *(facts.get("sources") or {}).values()}
    with Ledger.read(path) as ledger:
        own = [r for r in ledger.rows() if r["teacher"] in teachers and not r["task_id"].startswith(JUDGE_PREFIX)]
    wanted = [row for row in own if held_out or asked.get(row["task_id"], _UNKNOWN).split == "train"]
    wanted.sort(key=lambda row: (row["task_id"], row["request"], row["draw"]))
    with replaced(Path(out)) if out is not None else nullcontext(sys.stdout.buffer) as file:
        for row in wanted:
            line = _exported(row, asked.get(row["task_id"], _UNKNOWN))
            file.write((json_text(line) + "\n").encode())
    return len(wanted)


class _Asked(NamedTuple):
    """A task as an export shows it."""

    split: str | None
    question: str | None
    gold: str | None


_UNKNOWN = _Asked(None, None, None)
"""Of a task that is no longer among those of the recipe: it may be one that was held out."""


def _asked_in(loaded: Loaded[RecipeBase]) -> dict[str, _Asked]:
    tasks = flow_of(loaded.recipe).tasks(loaded)
    if tasks is None:
        return {}
    splits = {"test": tasks.test, "validation": tasks.validation, "train": tasks.train}
    return {
        task.id: _Asked(split, task.messages[-1].content, task.reference)
        for split, of in splits.items()
        for task in of
    }


def _exported(row: dict[str, Any], asked: _Asked) -> dict[str, Any]:
    kept = (
        "teacher",
        "text",
        "reasoning",
        "finish_reason",
        "prompt_tokens",
        "completion_tokens",
        "latency_s",
    )
    exported = {"task_id": row["task_id"], "index": row["draw"], **asked._asdict(), **{k: row[k] for k in kept}}
    return exported | {"verdict": row["state"], "reason": row["v_reason"], "detail": row["detail"]}
