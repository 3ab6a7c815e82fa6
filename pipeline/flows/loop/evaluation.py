"""The controls of a loop, and one evaluation of all its rounds: `eval.json`, in the same schema as a run's.

Controls are students that show what the loop's gain is made of, on the same budget as its last kept student:

- Those that the recipe names are trained on the control's rows of every round whose rows that student learned from,
  as many of each, and no more in all than that student: unchecked attempts, for instance, of the same samplers at the
  same tasks. With `start: continue`, where the student was trained once a round, they are trained once, and a note
  says so.
- `control_one_round` is trained once on what the first teacher gives on the tasks of all kept rounds. What it lacks
  of the loop's student is what going round is worth. Where all rounds had the same tasks, it would be round 1 once
  more, and is not trained.

They live in `controls/` of the loop's folder. Nothing that was trained or answered is done again.

`student_before`, `round_1` … `round_N`, `teacher` and the controls are measured on the same held-out tasks. What is
compared: the last kept round with the first, with the base, with every control and with the first teacher; a round
that was rolled back with the one before it. Every p is corrected for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stillroom.common.records import ScoredAttempt, Task
from stillroom.errors import NoRoom, NothingLeft, TrainingError
from stillroom.evaluation.comparisons import corrected
from stillroom.evaluation.evaluate import evaluate_answers
from stillroom.evaluation.forgetting import forgetting_results
from stillroom.evaluation.results import AFTER, BEFORE, TEACHER, Evaluation, Measured, Result
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.loop import LoopRecipe, RoundPlan, round_recipe
from stillroom.pipeline.config.recipe import CONTROLS, Baseline, Recipe
from stillroom.pipeline.flows.chain import Chain
from stillroom.pipeline.flows.loop.rounds import Round
from stillroom.pipeline.flows.traces import FinishedRun
from stillroom.pipeline.run.folder import RunContext
from stillroom.pipeline.stages.controls import control_rows
from stillroom.pipeline.stages.evaluate import Evaluator
from stillroom.pipeline.stages.sample import write_answers
from stillroom.pipeline.stages.token_kl import measure_kl
from stillroom.pipeline.stages.train import LABELS, train_on
from stillroom.report.loop import SEVERAL
from stillroom.traces.rows import SftRow
from stillroom.traces.tasks import TaskSet

FIRST = "round_1"

ONE_ROUND = "control_one_round"
PLACE = ONE_ROUND.removeprefix("control_")
"""Its folder, and the end of its run's name."""


# -- controls ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoopControls:
    """`answers`: of each trained control, to the held-out tasks. `notes`: what a reader must know of them."""

    answers: dict[str, dict[str, ScoredAttempt]]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class ControlStage:
    """Trains and asks the controls. `context`: of the last kept round, in the loop's folder. `kept`: the rounds that
    were kept, in order, at least one."""

    loaded: Loaded[LoopRecipe]
    context: RunContext
    chain: Chain
    kept: Sequence[FinishedRun]
    test: tuple[Task, ...]

    def run(self) -> LoopControls:
        """All of them."""
        found, recipe, loop = LoopControls({}, []), self.loaded.recipe, self.loaded.recipe.loop
        named = [who for who in CONTROLS if who in recipe.evaluate.baselines]
        if named and loop.start == "continue" and len(self.kept) > 1:
            # The student was trained once a round, and a control is trained once.
            found.notes.append(
                f"controls are trained once, from the base model, on rows of all {len(self.kept)} rounds; the "
                "student was trained in each of them (start: continue): what it has beyond them is more training, too"
                if loop.traces == "accumulate"
                else "controls stand for the last round alone: they start where its student did (start: continue), "
                "which had learned from checked traces before"
            )
        for who in named:
            self._named(who, found)
        if loop.control_one_round and len(self.kept) > 1:
            self._one_round(found)
        return found

    def _named(self, who: Baseline, found: LoopControls) -> None:
        """One that the recipe names."""
        recipe, last, rows = self.loaded.recipe, self.kept[-1], self._rows(who, found.notes)
        if not rows:
            found.notes.append(f"{who} has no rows to be trained on, and is not there")
            return
        student = last.recipe.student or recipe.student
        if recipe.loop.traces == "accumulate":  # rows of all rounds: from where the first of them began
            student = student.model_copy(update={"model": recipe.student.model})
        model = train_on(self.context, last.recipe, student, who, last.tasks, rows, found.notes)
        if model is not None:
            evaluator = Evaluator(self.context, last.recipe, student, last.recipe.evaluate or recipe.evaluate)
            answers = evaluator.ask(self.test, LABELS[who], model)
            write_answers(self.context.folder, who, answers.outcomes)
            found.answers[who] = answers.first

    def _rows(self, who: Baseline, notes: list[str]) -> list[SftRow]:
        """The control's rows of every round that counts, without any that says the same as another, and no more than
        the student's."""
        accumulated = self.loaded.recipe.loop.traces == "accumulate"
        runs = self.kept if accumulated else self.kept[-1:]  # those whose rows the last kept student learned from
        parts = [control_rows(who, run.distilled, run.tasks, run.recipe, self.loaded.base) for run in runs]
        rows = {repr((row["prompt"], row["completion"])): row for part in parts for row in part.rows}
        told = zip(runs, parts, strict=True)
        notes += [f"round {run.folder.name}: {part.note}" for run, part in told if part.note is not None]
        wanted = len(runs[-1].distilled.training)
        if 0 < len(rows) < wanted:
            notes.append(f"{who} is trained on {len(rows):,} rows, the last student on {wanted:,}: there are no more")
        return list(rows.values())[:wanted]

    def _one_round(self, found: LoopControls) -> None:
        """As round 1, on the tasks of the later rounds, with the rows of round 1 before its own."""
        recipe, first = self.loaded.recipe, self.kept[0]
        known = {task.id for task in first.tasks.train}
        new = [task for run in self.kept[1:] for task in run.tasks.train if task.id not in known]
        tasks = list({task.id: task for task in new}.values())
        if not tasks:
            found.notes.append(f"{ONE_ROUND} is not trained: the later rounds had no tasks that round 1 had not")
            return
        self.context.display.line("control", f"{ONE_ROUND}: one student of the first teacher, on as many tasks")
        plan = RoundPlan(1, skip=len(first.tasks.train), earlier=(str((first.folder / "sft").resolve()),))
        values = round_recipe(recipe, plan).model_dump(mode="json", by_alias=True)
        values["name"] = f"{recipe.name}-{PLACE}"
        values["evaluate"] |= {"baselines": [], "retention": None, "samples": None, "seeds": 1}
        values["tasks"]["limit"] = len(tasks)
        loaded = Loaded(Recipe.model_validate(values), self.loaded.base, self.loaded.path)
        folder = self.context.folder.path / "controls" / PLACE
        try:
            run = self.chain.run(loaded, folder, given=TaskSet(tasks, self.test))
        except (NothingLeft, TrainingError) as error:  # the rounds stand without it
            if isinstance(error, NoRoom):
                raise
            found.notes.append(f"{ONE_ROUND} came to no student, and is not there: {error}")
            return
        found.answers[ONE_ROUND] = run.answers(AFTER)
        draws, rows = run.result.attempts, len(run.distilled.training)
        found.notes.append(
            f"{ONE_ROUND} is trained on {rows:,} rows; beyond round 1 its teacher drew {draws:,} times"
        )


# -- the evaluation ----------------------------------------------------------------------------------------------


NOTHING = Measured([], [], [])


def shift_of(recipe: LoopRecipe, rounds: Sequence[Round], test: Sequence[Task]) -> Measured:
    """The KL of every round's student to the model before any, on that model's answers to the held-out tasks."""
    runs = {name(each): each.run for each in rounds if each.run is not None}
    before = {task: scored.attempt for task, scored in runs[FIRST].answers(BEFORE).items()}
    parts = [measure_kl(run.context, recipe.student, run.model, test, before, who=who) for who, run in runs.items()]
    return Measured(
        [row for part in parts for row in part.results], [], [note for part in parts for note in part.notes]
    )


def evaluate_loop(
    recipe: Recipe,
    rounds: Sequence[Round],
    test: Sequence[Task],
    controls: LoopControls,
    shift: Measured = NOTHING,
) -> Evaluation:
    """The evaluation of all rounds. `rounds`: all that were run; the first has a student. Where none
    was kept, the first is compared. `shift`: see `shift_of`."""
    runs = {name(each): each.run for each in rounds if each.run is not None}
    last = next((name(each) for each in reversed(rounds) if each.kept), FIRST)

    by_who: dict[str, Mapping[str, ScoredAttempt]] = {BEFORE: runs[FIRST].answers(BEFORE)}
    by_who |= {who: run.answers(AFTER) for who, run in runs.items()}
    if teacher := runs[FIRST].answers(TEACHER):
        by_who[TEACHER] = teacher
    by_who |= {who: controls.answers[who] for who in (*CONTROLS, ONE_ROUND) if who in controls.answers}

    # Each a claim that a reader would make from the table; and a round that was rolled back, against the one before.
    others = [FIRST, BEFORE, ONE_ROUND, *CONTROLS, TEACHER]
    compared = [(last, who) for who in others if who in by_who and who != last]
    if "control_wrong_answers" in by_who:
        compared.append(("control_wrong_answers", BEFORE))
    pairs = zip(rounds[1:], rounds, strict=False)
    compared += [(name(now), name(before)) for now, before in pairs if not now.kept and now.run is not None]

    prices, ids = {TEACHER: recipe.prices} if recipe.prices is not None else None, [task.id for task in test]
    found = evaluate_answers(by_who, seed=recipe.seed, compared=compared, tasks=ids, prices=prices)
    retention = _retention(runs, last, recipe.seed)
    return Evaluation(
        results=(*found.results, *_several(runs), *shift.results, *retention.results),
        comparisons=corrected([*found.comparisons, *retention.comparisons]),
        notes=(*found.notes, *controls.notes, *shift.notes, *retention.notes),
    )


def name(each: Round) -> str:
    """What the student of a round is called in the evaluation."""
    return f"round_{each.number}"


def _several(runs: Mapping[str, FinishedRun]) -> Iterator[Result]:
    """What each round measured from several answers or trainings, under its name; of the base and the teacher what
    round 1 did."""
    for who, run in runs.items():
        for row in run.result.evaluation.results if run.result.evaluation is not None else ():
            if not row.metric.startswith(SEVERAL):
                continue
            if row.who == AFTER:
                yield row.model_copy(update={"who": who})
            elif who == FIRST:
                yield row


def _retention(runs: Mapping[str, FinishedRun], last: str, seed: int) -> Measured:
    """What was not trained: of the base and of every round; `last` against the base."""
    measured = {who: run.evaluated.forgetting for who, run in runs.items() if run.evaluated is not None}
    found = {who: of[AFTER] for who, of in measured.items() if AFTER in of}
    before = measured.get(FIRST, {}).get(BEFORE)
    if before is None or last not in found:
        return Measured([], [], ["what was forgotten was not measured: evaluate.retention names what to measure"])
    return forgetting_results({BEFORE: before, **found}, after=last, before=BEFORE, seed=seed)
