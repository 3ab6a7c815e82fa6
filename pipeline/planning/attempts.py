"""Every attempt of a run, which `teacher: {kind: recorded}` replays from a file of JSON Lines.

attempts("runs/quickstart").to_pandas()
attempts("runs/quickstart", out="attempts.jsonl")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from stillroom.common.datasets import HasRows
from stillroom.common.files import replaced
from stillroom.common.printing import json_text
from stillroom.errors import InputError
from stillroom.judges.dialogue import JUDGE_PREFIX
from stillroom.pipeline.config.kinds import Loaded, RecipeBase
from stillroom.pipeline.config.load import RecipeLike
from stillroom.pipeline.planning.status import facts_in, own_recipe, refuse_chain
from stillroom.pipeline.run.flow import flow_of
from stillroom.pipeline.run.folder import folder_of
from stillroom.sampling.ledger import Ledger


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
        for row in self.rows:
            file.write((json_text(row) + "\n").encode())

    def _rows(self) -> Sequence[dict[str, Any]]:
        return self.rows


def attempts(folder: RecipeLike, *, out: str | Path | None = None, held_out: bool = False) -> Attempts:
    """Every attempt of the run's teacher, or of all sources of candidates, with its latest verdict. What a judge was
    asked is not an attempt.

    `out`: a file to write them to as well, as JSON Lines. `held_out`: also the answers to held-out tasks, which
    nothing may be trained on; each row says in `split` which it is. Raises what loading the run's tasks raises.
    """
    path = folder_of(folder)
    facts = facts_in(path)
    refuse_chain(path)
    with Ledger.read(path) as ledger:
        rows = list(ledger.rows())
    try:
        asked = _asked_in(own_recipe(path, facts, ()))
    except InputError as error:
        if not held_out:
            raise InputError(
                f"{error}; without its tasks nobody knows which answers are to held-out ones: --held-out writes all"
            ) from None
        asked = {}
    teachers = {(facts.get("teacher") or {}).get("identity"), *(facts.get("sources") or {}).values()}
    own = [r for r in rows if r["teacher"] in teachers and not r["task_id"].startswith(JUDGE_PREFIX)]
    wanted = [row for row in own if held_out or asked.get(row["task_id"], _UNKNOWN).split == "train"]
    wanted.sort(key=lambda row: (row["task_id"], row["request"], row["draw"]))
    found = Attempts(tuple(_exported(row, asked.get(row["task_id"], _UNKNOWN)) for row in wanted))
    if out is not None:
        with replaced(Path(out)) as file:
            found.write(file)
    return found


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
