"""What a run holds: for people and programs; reads only, so it works while the run is at it.

status("runs/quickstart").totals.attempts
attempts("runs/quickstart", out="attempts.jsonl")     # what teacher: {kind: recorded} replays
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stillroom.errors import MissingFile, RunFolderError
from stillroom.sampling.ledger import Ledger, Totals
from stillroom.students.evaluate.results import Evaluation, read_eval
from stillroom.traces.writing import replaced, storable


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a run. `finished`: when it ended, None while it has not; `evaluation`: None before that."""

    folder: Path
    name: str
    started: str | None
    finished: str | None
    totals: Totals
    verdicts: dict[str, int]
    rows: int | None
    evaluation: Evaluation | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "folder": str(self.folder),
            "name": self.name,
            "started": self.started,
            "finished": self.finished,
            "ledger": self.totals._asdict(),
            "verdicts": self.verdicts,
            "rows": self.rows,
            "evaluation": None
            if self.evaluation is None
            else self.evaluation.model_dump(mode="json", exclude_none=True),
        }


def status(folder: str | Path) -> Status:
    """Reads the state of a run. Raises MissingFile or RunFolderError."""
    path = Path(folder)
    facts = _facts(path)
    with Ledger.read(path) as ledger:
        totals, verdicts = ledger.totals(), ledger.verdict_counts()
    evaluation = read_eval(path / "eval.json") if (path / "eval.json").is_file() else None
    return Status(
        path,
        facts["name"],
        facts.get("started"),
        facts.get("finished"),
        totals,
        verdicts,
        facts.get("rows"),
        evaluation,
    )


def _facts(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise MissingFile(f"there is no folder {path}: give the folder of a run, such as runs/quickstart")
    try:
        facts = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("name"), str):
        raise RunFolderError(f"{path} holds no readable run.json: it is not the folder of a run")
    return facts


def show_status(found: Status) -> None:
    """Prints it."""
    console, t = Console(highlight=False), found.totals
    state = f"finished {found.finished}" if found.finished else "not finished"
    where = escape(f"{found.name} in {found.folder}")
    console.print(f"[bold]{where}[/]: started {found.started}, {state}", soft_wrap=True)
    table = Table(box=None, padding=(0, 2), pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for state, n in sorted(found.verdicts.items()):
        table.add_row(f"attempts {state}" if state != "none" else "attempts without a verdict", f"{n:,}")
    table.add_row("tokens answered", f"{t.completion_tokens:,}")
    table.add_row("tokens asked", f"{t.prompt_tokens:,}")
    table.add_row("requests failed", f"{t.failures:,}")
    unknown = f" + {t.cancelled_unknown:,} unknown" if t.cancelled_unknown else ""
    table.add_row("requests cancelled (tokens)", f"{t.cancelled:,} ({t.cancelled_tokens:,}{unknown})")
    if found.rows is not None:
        table.add_row("SFT rows", f"{found.rows:,}")
    console.print(table)
    if found.evaluation is not None:
        from stillroom.students.evaluate.table import eval_table

        console.print(eval_table(found.evaluation))


def attempts(folder: str | Path, *, out: str | Path | None = None) -> int:
    """Writes every attempt of the run's teacher with its latest verdict as JSON Lines, in draw order.

    Gives their number.
    `out`: a file, None for standard output. The lines are what `teacher: {kind: recorded}` reads.
    """
    teacher = _facts(Path(folder)).get("teacher", {}).get("identity")
    with Ledger.read(Path(folder)) as ledger:
        own = [row for row in ledger.rows() if row["teacher"] == teacher]
        rows = sorted(own, key=lambda row: (row["task_id"], row["request"], row["draw"]))
    with replaced(Path(out)) if out is not None else nullcontext(sys.stdout.buffer) as file:
        for row in rows:
            file.write((storable(json.dumps(_exported(row), ensure_ascii=False)) + "\n").encode())
    return len(rows)


def _exported(row: dict[str, Any]) -> dict[str, Any]:
    kept = (
        "task_id",
        "teacher",
        "text",
        "reasoning",
        "finish_reason",
        "prompt_tokens",
        "completion_tokens",
        "latency_s",
    )
    exported = {"task_id": row["task_id"], "index": row["draw"], **{k: row[k] for k in kept if k != "task_id"}}
    return exported | {"verdict": row["state"], "reason": row["v_reason"], "detail": row["detail"]}
