"""Compares finished runs in one table: what each cost, the rows that it made, and what its student is worth.

    compare("support_labels", "runs/support_traces").show()

Runs may be of different kinds: a run of traces or labels shows its student's accuracy on held-out tasks, a run of
preferences its student's win rate against itself before training. Runs whose students answered the same held-out
tasks are paired: the difference has its interval, and p is corrected for all differences that are shown.

Only reads. Refuses a run that is not finished, and says in a note what cannot be compared and why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.hashing import digest
from stillroom.common.printing import Terminal, terminal
from stillroom.common.row_files import Fault, rows_of
from stillroom.common.run_async import off_the_loop
from stillroom.errors import InputError
from stillroom.evaluation.comparisons import compare_right, corrected
from stillroom.evaluation.results import AFTER, MEAN_TOKENS, Comparison, Evaluation, Result, number_of
from stillroom.pipeline.config.load import RecipeLike
from stillroom.pipeline.planning.status import LOCAL_STUDENT, Status, status
from stillroom.pipeline.run.facts import folder_of, recipe_in
from stillroom.report.runs_table import RunLine, runs_table

WIN_RATE = "_win_rate"
"""Ends the metrics of win rates."""
OF_PAIRS = "pairs_judge"
"""Begins the metrics of the judge that built the pairs: a student trained to please it is measured by another."""


@dataclass(frozen=True, slots=True)
class RunsCompared:
    """Runs in the order given. `comparisons`: of runs whose students answered the same held-out tasks, each later run
    against those before it."""

    lines: tuple[RunLine, ...]
    comparisons: tuple[Comparison, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "runs": [line.as_dict() for line in self.lines],
            "comparisons": [each.model_dump(mode="json", exclude_none=True) for each in self.comparisons],
            "notes": list(self.notes),
        }

    def show(self, console: Terminal | None = None) -> None:
        """Prints the tables."""
        (console or terminal()).print(runs_table(self.lines, self.comparisons, self.notes))


class _Run(NamedTuple):
    """A run, its line, and whether its student was right: by a hash of question and gold answer."""

    line: RunLine
    right: dict[str, bool]
    scorer: Any


@off_the_loop
def compare(*runs: RecipeLike) -> RunsCompared:
    """Compares runs: folders, or recipes whose default folders they are.

    Raises MissingFile or RunFolderError for what is not a run, InputError for one that is not finished, and where
    there are fewer than two.
    """
    if len(runs) < 2:
        raise InputError(f"{len(runs)} run to compare: name two at least, recipes or folders of runs")
    folders = [folder_of(run) for run in runs]
    for folder in folders:
        if folders.count(folder) > 1:
            raise InputError(f"{folder} is named twice: name each run once")
    names = _names(folders)
    found = [_read(folder, name) for folder, name in zip(folders, names, strict=True)]
    comparisons, notes = list[Comparison](), list[str]()
    for a, b in combinations(found, 2):
        either = compare_right(b.line.name, b.right, a.line.name, a.right)
        if either is not None and b.scorer == a.scorer:
            comparisons.append(either)
        elif (why := _why_not(a, b)) is not None:
            notes.append(f"{b.line.name} and {a.line.name} are not paired: {why}")
    return RunsCompared(tuple(each.line for each in found), corrected(comparisons), tuple(notes))


def _why_not(a: _Run, b: _Run) -> str | None:
    """Why two runs have no difference; None where there is nothing to say."""
    if a.line.metric is None or b.line.metric is None:
        return None  # the table shows that nothing was measured
    if a.line.metric != b.line.metric:
        return f"the first measures {b.line.metric}, the other {a.line.metric}"
    if not a.right or not b.right:
        return "there are no answers of its student to held-out tasks on disk"
    return "their held-out tasks differ" if not a.right.keys() & b.right.keys() else "their scorers differ"


def _names(folders: Sequence[Path]) -> list[str]:
    """The name of each folder; its path where two have the same name."""
    names = [folder.resolve().name for folder in folders]
    return [str(path) if names.count(name) > 1 else name for path, name in zip(folders, names, strict=True)]


def _read(folder: Path, name: str) -> _Run:
    found = status(folder)
    if found.finished is None:
        raise InputError(f"{folder} is not finished: run its recipe to the end, then compare")
    recipe = recipe_in(folder) or {}
    metric, result, tokens, who = _measured(found.evaluation)
    right = {} if who is None or metric != "accuracy" else _right(folder / "answers" / f"{who}.jsonl")
    return _Run(_line(found, name, recipe, metric, result, tokens), right, _without_gold(recipe.get("scorer")))


def _line(
    found: Status,
    name: str,
    recipe: Mapping[str, Any],
    metric: str | None,
    result: Result | None,
    tokens: Result | None,
) -> RunLine:
    costs = [each for each in found.costs if not each.stage.startswith(LOCAL_STUDENT)]
    priced = [each.usd for each in costs if each.usd is not None]
    used = sum(each.prompt_tokens + each.completion_tokens + each.cancelled_tokens for each in costs)
    return RunLine(
        name=name,
        requests=sum(each.requests for each in costs),
        tokens=used,
        usd=sum(priced) if priced else None,
        replayed=_replayed(recipe),
        rows=found.rows,
        metric=metric,
        result=result,
        answer_tokens=tokens,
    )


def _replayed(recipe: Mapping[str, Any]) -> bool:
    """Whether all that its teachers said is a recording."""
    candidates = recipe.get("candidates") or ()
    teachers = [recipe.get("teacher"), *(each.get("teacher") for each in candidates if isinstance(each, Mapping))]
    kinds = [teacher.get("kind") for teacher in teachers if isinstance(teacher, Mapping)]
    return bool(kinds) and set(kinds) == {"recorded"}


class _Measured(NamedTuple):
    """What a run measured of its last student; None for what it did not."""

    metric: str | None
    result: Result | None
    tokens: Result | None
    who: str | None


def _measured(evaluation: Evaluation | None) -> _Measured:
    if evaluation is None:
        return _Measured(None, None, None, None)
    who = _last_student(evaluation)
    if (accuracy := evaluation.find(who)) is not None:
        return _Measured("accuracy", accuracy, evaluation.find(who, MEAN_TOKENS), who)
    rates = [row for row in evaluation.results if row.metric.endswith(WIN_RATE)]
    wins = next((row for row in rates if not row.metric.startswith(OF_PAIRS)), None)
    return _Measured(None if wins is None else "win rate", wins, evaluation.find(who, MEAN_TOKENS), who)


def _last_student(evaluation: Evaluation) -> str:
    """The student after training; of a loop that of the last round, of a chain that of the last stage."""
    rounds = [who for who in evaluation.whos if number_of(who)]
    stages = [who for who in evaluation.whos if who.endswith(f"/{AFTER}")]
    return max(rounds, key=lambda who: number_of(who) or 0) if rounds else stages[-1] if stages else AFTER


def _right(path: Path) -> dict[str, bool]:
    """Whether each first answer in the file is right, by a hash of question and gold answer; none without a file."""
    if not path.is_file():
        return {}
    found: dict[str, bool] = {}
    for row in rows_of(path, json.loads):
        values = row.values
        if isinstance(values, Fault) or not {"question", "gold", "verdict"} <= values.keys():
            told = values.told if isinstance(values, Fault) else "it lacks question, gold or verdict"
            raise InputError(f"{row.place}: not an answer that a run wrote ({told})")
        found.setdefault(digest([values["question"], values["gold"]]), values["verdict"] == "accepted")
    return found


def _without_gold(scorer: Any) -> Any:
    """The scorer as held-out answers meet it: whether gold labels choose the rows makes no difference there."""
    return {key: value for key, value in scorer.items() if key != "gold"} if isinstance(scorer, Mapping) else scorer
