"""What a loop or a chain of stages holds: its runs one by one, and their sums.

    status("runs/self_distill").parts["rounds/1"].totals.attempts

It only reads, as the status of one run does. What a run of a chain would pay for, the status of its folder says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from stillroom.errors import RunFolderError
from stillroom.recipes.folder import read_facts
from stillroom.sampling.ledger import Totals
from stillroom.sampling.printing import Table

if TYPE_CHECKING:
    from stillroom.recipes.status import Status

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


def parts_table(parts: dict[str, Status]) -> Table:
    """A line for each run."""
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    table.add_column("run")
    for column in ("attempts", "accepted", "rows", "tokens"):
        table.add_column(column, justify="right")
    table.add_column("state")
    for name, part in parts.items():
        rows = "–" if part.rows is None else f"{part.rows:,}"
        accepted, attempts = part.verdicts.get("accepted", 0), sum(part.verdicts.values())
        counts = (f"{attempts:,}", f"{accepted:,}", rows, f"{part.totals.completion_tokens:,}")
        table.add_row(name, *counts, "finished" if part.finished else "not finished")
    return table
