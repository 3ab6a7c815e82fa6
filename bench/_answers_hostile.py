"""Hostile pairs, each within its own 10 s and 2 GB, in an empty working directory.

Counted: pairs over a limit, pairs above 3 s, files that an answer made (code that ran). What a side says of the pair
is listed, not judged. Math-Verify gets a new process for each pair; ours keeps one, as a user's program would.

    measure_hostile(Path("../shared/data"), report, rival=True)
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from bench._answers_pairs import Row, read_rows
from bench._answers_report import NONE, Report, progress
from bench._answers_sides import MEMORY_LIMIT_MB, OURS, THEIRS, TIME_LIMIT_S, Guard, Guarded
from stillroom.common.records import State

SLOW_S = 3.0


class Said(NamedTuple):
    """What one side said of all hostile pairs. `files`: names of those left in its working directory."""

    guarded: list[Guarded]
    files: list[str]


def measure_hostile(data: Path, report: Report, *, rival: bool) -> None:
    """Both sides on the hostile pairs. `rival`: Math-Verify too. Raises MissingFile."""
    source = read_rows(data / "answers" / "hostile_dev.jsonl")
    rows = [Row(row["gold"], row["pred"], None, row["name"]) for row in source]
    sides = {THEIRS: True, OURS: False} if rival else {OURS: False}
    cells = {side: hostile_cell(side, rows, report, fresh=fresh) for side, fresh in sides.items()}
    name = f"hostile_dev, {len(rows)} rows; {TIME_LIMIT_S:g} s, {MEMORY_LIMIT_MB >> 10} GB each"
    report.line(name, "none over its limit, no code run", cells.get(THEIRS, NONE), cells[OURS])


def ask_all(side: str, rows: list[Row], *, fresh: bool) -> Said:
    """One side on all rows. Any file left in its working directory was made by an answer."""
    said = []
    with tempfile.TemporaryDirectory() as folder, Guard(side, folder, fresh=fresh) as guard:
        for place, row in enumerate(rows):
            progress(f"hostile, {side}: {place + 1} of {len(rows)}")
            said.append(guard.ask(row))
        files = sorted(path.name for path in Path(folder).iterdir())
    return Said(said, files)


def hostile_cell(side: str, rows: list[Row], report: Report, *, fresh: bool) -> str:
    """One side on the hostile pairs: its cell of the table. `fresh`: a new process for every pair."""
    said, files = ask_all(side, rows, fresh=fresh)
    both = list(zip(rows, said, strict=True))
    over = [row.kind for row, each in both if each.over]
    slow = sum(each.seconds > SLOW_S for each in said)
    accepted = [row.kind for row, each in both if each.verdict.state is State.ACCEPTED]
    slowest = max(both, key=lambda pair: pair[1].seconds)
    report.details.append(
        f"hostile, {side}: over {over}, slowest {slowest[0].kind}, accepted {accepted}, files {files}"
    )
    verdicts = {row.kind: [each.verdict.reason, each.seconds] for row, each in both}
    report.data.setdefault("hostile", {})[side] = {"over": over, "files": files, "verdicts": verdicts}
    seconds = slowest[1].seconds
    return f"{len(over)} over, {slow} above {SLOW_S:g} s, slowest {seconds:.2f} s, {len(files)} files made"
