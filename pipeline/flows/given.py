"""Runs a recipe that trains on preferences of a file: read, paired, audited, written, learned from.

Nobody is asked. The same file gives the same rows, byte for byte; `run.json` says under `read` what the file held and
what was left out of it, `rejects/pairs.jsonl` each of it with its reason.

    with opened(folder, loaded, display) as context:
        run_given(context, loaded)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stillroom.common.datasets import HasRows
from stillroom.common.preferred import PreferenceRows, read_preferences
from stillroom.common.preferred.base import layouts
from stillroom.common.printing import Terminal, terminal
from stillroom.errors import RunError
from stillroom.pipeline.config.given import GivenRecipe
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.run.flow import Flow, FlowResult, flows
from stillroom.pipeline.run.folder import RunContext, RunFolder, now, opened, versions
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.labelled import learned_from, rows_of_pairs
from stillroom.pipeline.stages.pairs import finish_pairs, nothing_left, write_left_out
from stillroom.pipeline.stages.train import STUDENT, require, student_to_lint, train
from stillroom.preferences.audit import Audit, audit
from stillroom.preferences.given import GivenPairs, given_pairs, sources_of
from stillroom.preferences.rows import FILES, DpoCardFacts, SourceFacts, split_pairs
from stillroom.students.lint.report import LintReport
from stillroom.traces.tasks import TaskSet

SOURCES = 20
"""Names of writers in the card; the others stand there as one."""


@dataclass(frozen=True, slots=True)
class GivenResult(FlowResult, HasRows):
    """What a run came to. `read`: what the file held, and what was left out of it. `pairs` are for training,
    `test_pairs` held out."""

    folder: Path
    read: dict[str, Any]
    pairs: int
    test_pairs: int
    audit: Audit = field(repr=False)

    def show(self, console: Terminal | None = None) -> None:
        held_out = f" and {self.test_pairs:,} held-out ones" if self.test_pairs else ""
        told = f"{self.pairs:,} pairs{held_out} in {self.folder / 'dpo'}; everything else in {self.folder}"
        (console or terminal()).print(told, soft_wrap=True)

    def _rows(self) -> Path:
        return self.folder / "dpo" / FILES["train"]


@flows.register(name="given")
class Given(Flow[GivenRecipe]):
    """Recipes of preferences that a file holds."""

    def run(self, loaded: Loaded[GivenRecipe], folder: RunFolder, display: Display) -> GivenResult:
        with opened(folder, loaded, display) as context:
            return run_given(context, loaded)

    def lint(self, loaded: Loaded[GivenRecipe], folder: Path) -> LintReport:
        rows = learned_from(loaded.recipe.student, folder)
        return student_to_lint(loaded.recipe.student, loaded, rows).lint(rows, test=())


def run_given(context: RunContext, loaded: Loaded[GivenRecipe]) -> GivenResult:
    """All stages. Raises InputError for what cannot be read, RunError where no pair is left."""
    recipe, folder, display = loaded.recipe, context.folder, context.display
    require(recipe.student, context.base, recipe.seed)
    found = read_preferences(recipe.given.path, "given.path", recipe.given, context.base)
    display.line("read", found.summary())
    for note in found.notes():
        display.note(note)
    system = recipe.student.system if recipe.student is not None else None
    given = given_pairs(found, recipe.pairs, system=system, seed=recipe.seed)
    built = given.built
    split = split_pairs(built.pairs, recipe.pairs.test, seed=recipe.seed)
    held_out = {pair.task.id for pair in split.test}
    tasks = [slate.task for slate in given.slates]
    train_tasks, test_tasks = ([t for t in tasks if (t.id in held_out) is there] for there in (False, True))
    folder.begin(loaded, TaskSet(train_tasks, tuple(test_tasks)), read=found.counts(), finished=None)
    left_out = [*given.left_out, *built.left_out]
    write_left_out(folder, left_out)
    if not split.train:
        raise RunError(nothing_left(built, folder.path))
    audited = audit(
        split.train,
        recipe.audit,
        slates=[slate for slate in given.slates if slate.task.id not in held_out],
        left_out=[left for left in built.left_out if left.what not in held_out],
        test=[pair.prompt for pair in split.test],
    )
    finish_pairs(context, built, split, audited, _card(recipe, found, given, audited))
    if (student := recipe.student) is not None:
        rows = rows_of_pairs(context, recipe, student, split.train)
        lint = partial(student.lint, rows, test=test_tasks)
        train(context, student, rows, folder.path / STUDENT, STUDENT, lint=lint)
    folder.note(finished=now(), rows=len(split.train))
    return GivenResult(folder.path, found.counts(), len(split.train), len(split.test), audited)


def _card(recipe: GivenRecipe, found: PreferenceRows, given: GivenPairs, audited: Audit) -> DpoCardFacts:
    writers = list(sources_of(given))
    sources = [SourceFacts(name, name) for name in writers[:SOURCES]]
    judge = layouts[found.layout].judged_by or "people, or whoever made the file"
    return DpoCardFacts(
        recipe=recipe.name,
        sources=sources,
        licence=recipe.licence,
        tasks=f"{recipe.given.path}, layout {found.layout}, {found.seen:,} rows",
        judge=judge + (f" ({recipe.given.prefer})" if recipe.given.prefer else ""),
        settings=recipe.pairs,
        seed=recipe.seed,
        counts=given.built.counts,
        audit=audited,
        versions={"stillroom": versions()["stillroom"]},
        strategy="as they were judged" if given.labelled else None,
        read=list(_read(found, more_writers=len(writers) - len(sources))),
    )


def _read(found: PreferenceRows, *, more_writers: int) -> Iterator[tuple[str, str]]:
    counts = found.counts()
    left_out = counts.pop("left_out")
    yield from ((name, f"{n:,}") for name, n in counts.items() if isinstance(n, int) and n)
    yield from ((f"rows left out: {name.replace('_', ' ')}", f"{n:,}") for name, n in left_out.items())
    if more_writers:
        yield "writers that are not named above", f"{more_writers:,}"
