"""The controls of a loop: students that show what its gain is made of, on the same budget as its last kept student.

- Those that the recipe names are trained on the control's rows of every round whose rows that student learned from,
  as many of each: unchecked attempts, for instance, of the same samplers at the same tasks.
- `one_round` is trained once on what the first teacher gives on as many tasks as all kept rounds had. What it lacks
  of the loop's student is what going round is worth.

They live in `controls/` of the loop's folder. Nothing that was trained or answered is done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stillroom.recipes.answering import of_student, once
from stillroom.recipes.chain import Chain, Link
from stillroom.recipes.controls import control_rows
from stillroom.recipes.controls_stage import LABELS
from stillroom.recipes.evaluation_schema import CONTROLS, Baseline
from stillroom.recipes.folder import RunFolder
from stillroom.recipes.loading import Loaded
from stillroom.recipes.loop_rounds import AFTER, Round, answers_of
from stillroom.recipes.loop_schema import LoopRecipe
from stillroom.recipes.loop_tasks import of_level
from stillroom.recipes.rounds import RoundPlan, round_recipe
from stillroom.recipes.runner import answers
from stillroom.recipes.students_stage import train
from stillroom.sampling.records import ScoredAttempt, Task
from stillroom.traces.rows import SftRow

ONE_ROUND = "one_round"


@dataclass(frozen=True, slots=True)
class LoopControls:
    """`answers`: of each trained control, to the held-out tasks. `notes`: what a reader must know of them."""

    answers: dict[str, dict[str, ScoredAttempt]]
    notes: list[str]


@dataclass(slots=True)
class ControlStage:
    """Trains and asks the controls. `kept`: the rounds that were kept, in order, at least one."""

    loaded: Loaded[LoopRecipe]
    folder: RunFolder
    chain: Chain
    kept: Sequence[Round]
    test: tuple[Task, ...]

    def run(self) -> LoopControls:
        """All of them."""
        found = LoopControls({}, [])
        evaluate = self.loaded.recipe.evaluate
        assert evaluate is not None
        for who in (who for who in CONTROLS if who in evaluate.baselines):
            self._trained(who, found)
        if self.loaded.recipe.loop.one_round and len(self.kept) > 1:
            link = self._one_round()
            found.answers[ONE_ROUND] = answers_of(link, AFTER)
            draws, rows = link.result.attempts, len(link.distilled.training)
            found.notes.append(
                f"{ONE_ROUND} is trained on {rows:,} rows; beyond round 1 its teacher drew {draws:,} times"
            )
        return found

    def _trained(self, who: Baseline, found: LoopControls) -> None:
        last = self._links()[-1]
        rows = self._rows(who, found.notes)
        if not rows:
            found.notes.append(f"{who} has no rows to be trained on, and is not there")
            return
        run = last.run
        out = self.folder.path / "controls" / who.removeprefix("control_")
        model = train(run, last.tasks, rows, out, LABELS[who])
        found.answers[who] = answers(of_student(run, self.test, LABELS[who], model, once(run)))

    def _rows(self, who: Baseline, notes: list[str]) -> list[SftRow]:
        """The control's rows of every round that counts, without any that says the same as another."""
        parts = [control_rows(who, link.distilled, link.tasks, link.run.recipe) for link in self._links()]
        rows = {repr((row["prompt"], row["completion"])): row for part in parts for row in part.rows}
        wanted = len(self._links()[-1].distilled.training)
        if len(rows) < wanted:
            notes.append(f"{who} is trained on {len(rows):,} rows, the last student on {wanted:,}: there are no more")
        return list(rows.values())

    def _links(self) -> list[Link]:
        """The rounds whose rows the last kept student learned from."""
        links = [each.link for each in self.kept if each.link is not None]
        return links if self.loaded.recipe.loop.traces == "accumulate" else links[-1:]

    def _one_round(self) -> Link:
        """As round 1, on the tasks of the later rounds, with the rows of round 1 beside its own."""
        recipe, first = self.loaded.recipe, self.kept[0]
        assert first.link is not None
        plan = RoundPlan(1, skip=self._taken(1), earlier=(str((first.link.folder / "sft").resolve()),))
        values = round_recipe(recipe, plan).model_dump(mode="json", by_alias=True)
        values["name"] = f"{recipe.name}-{ONE_ROUND}"
        values["evaluate"] |= {"baselines": [], "forgotten": None, "samples": None}
        values["tasks"]["limit"] = self._taken(len(self.kept)) - plan.skip or recipe.tasks.limit
        once_more = type(first.link.run.recipe).model_validate(values)
        given = None
        if recipe.loop.levels:
            given = of_level(once_more.tasks, self.test, self.loaded.base, recipe.seed)
        loaded = Loaded(once_more, self.loaded.base, self.loaded.path)
        return self.chain.run(loaded, self.folder.path / "controls" / ONE_ROUND, given=given)

    def _taken(self, rounds: int) -> int:
        """Tasks that so many rounds take, where each takes fresh ones."""
        fresh = self.loaded.recipe.loop.tasks == "fresh"
        return rounds * (self.loaded.recipe.tasks.limit or 0) if fresh else 0


def in_order(found: dict[str, dict[str, ScoredAttempt]]) -> Iterator[str]:
    """The controls as they are shown: those of the recipe, then `one_round`."""
    yield from (who for who in (*CONTROLS, ONE_ROUND) if who in found)
