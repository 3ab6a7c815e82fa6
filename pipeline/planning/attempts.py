"""Every attempt of a run as JSON Lines, which `teacher: {kind: recorded}` replays.

attempts("runs/quickstart", out="attempts.jsonl")
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.files import reachable, replaced
from stillroom.common.printing import json_text
from stillroom.errors import InputError
from stillroom.judges.dialogue import JUDGE_PREFIX
from stillroom.pipeline.config.kinds import Loaded, RecipeBase
from stillroom.pipeline.planning.status import facts_in, own_recipe, refuse_chain
from stillroom.pipeline.run.flow import flow_of
from stillroom.sampling.ledger import Ledger


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
