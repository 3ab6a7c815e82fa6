"""What a run holds, and what its recipe as it is now would pay for: for people and programs.

Read-only, so it is safe to call during a run. `salvage` is the exception: it repairs a damaged ledger first.

status("runs/quickstart").totals.attempts
status("runs/quickstart", set=["keep.per_task=4"]).plan.asked
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stillroom.common.run_async import off_the_loop
from stillroom.common.secrets import named_in
from stillroom.errors import InputError, MissingFile, RunFolderError
from stillroom.evaluation.results import Evaluation, read_eval
from stillroom.judges.dialogue import JUDGE_PREFIX
from stillroom.pipeline.config.kinds import Loaded, RecipeBase
from stillroom.pipeline.config.load import Overrides, RecipeLike, load_any
from stillroom.pipeline.run.flow import Plan, Planned, flow_of
from stillroom.pipeline.run.folder import RunFolder, folder_of, read_facts
from stillroom.sampling.ledger import FILE as LEDGER
from stillroom.sampling.ledger import Ledger, SpentBy, Totals
from stillroom.sampling.ledger.salvage import Salvaged
from stillroom.sampling.limits import Prices

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
    `plan`: what the recipe would pay for now; None if that is unknown, and `no_plan` says why. `salvaged`:
    what was saved of a damaged ledger, None if that was not asked for. `parts`: of a loop or a chain, the state
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


def _of_run(path: Path, facts: dict[str, Any], recipe: RecipeLike | None, set: Overrides, salvage: bool) -> Status:
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


def own_recipe(folder: Path, facts: dict[str, Any], overrides: Overrides) -> Loaded[RecipeBase]:
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


# -- the runs of a loop or a chain -----------------------------------------------------------------------------

PLACES = ("rounds/*", "stages/*", "controls/one_round")
"""Where the runs of a chain lie, in its folder."""


def parts_of(folder: Path) -> list[Path]:
    """The folders of the runs of a chain, in order; none where it is one run. Raises RunFolderError where none has
    begun yet."""
    found = [path for place in PLACES for path in sorted(folder.glob(place), key=_order)]
    wanted = _parts_of_the_last_run(folder)
    begun = [
        path
        for path in found
        if (path / "run.json").is_file() and (wanted is None or path.relative_to(folder).as_posix() in wanted)
    ]
    if not begun and _is_chain(folder):
        raise RunFolderError(f"{folder} holds many runs, and none of them has begun yet: run its recipe")
    return begun


def _parts_of_the_last_run(folder: Path) -> list[str] | None:
    """What a finished chain consists of: a longer one may have stood here before. None while it is not finished."""
    try:
        parts: list[str] | None = read_facts(folder).get("parts")
    except ValueError:
        return None
    return parts


def _is_chain(folder: Path) -> bool:
    """Whether its recipe, as it was resolved, is that of a loop or of stages."""
    try:
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # not begun, or damaged: whoever reads the recipe says so
        return False
    return isinstance(recipe, dict) and not recipe.keys().isdisjoint({"loop", "stages"})


def _order(path: Path) -> tuple[int, str]:
    """Rounds by number, stages by name."""
    return (int(path.name) if path.name.isdigit() else 0), path.name


def summed(parts: Iterable[Totals]) -> Totals:
    """The totals of all runs."""
    return Totals(*(sum(of) for of in zip(*parts, strict=True)))


def counted(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    """The verdicts of all runs."""
    found: Counter[str] = Counter()
    for part in parts:
        found.update(part)
    return dict(found)
