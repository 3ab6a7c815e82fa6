"""One evaluation of all rounds: `eval.json` of the loop, in the same schema as a run's.

`student_before`, `round_1` … `round_N`, `teacher` and the controls are measured on the same held-out tasks. What is
compared: the last kept round with the first, with the base, with every control and with the first teacher; a round
that was rolled back with the one before it. Every p is corrected for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stillroom.common.records import ScoredAttempt, Task
from stillroom.evaluation.comparisons import corrected
from stillroom.evaluation.evaluate import evaluate_answers
from stillroom.evaluation.forgetting import forgetting_results
from stillroom.evaluation.results import AFTER, BEFORE, TEACHER, Evaluation, Measured, Result
from stillroom.pipeline.config.evaluation import CONTROLS
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.flows.loop.controls import ONE_ROUND, LoopControls
from stillroom.pipeline.flows.loop.rounds import Round, answers_of
from stillroom.pipeline.flows.traces import FinishedRun
from stillroom.report.loop import SEVERAL

FIRST = "round_1"


def evaluate_loop(
    recipe: Recipe, rounds: Sequence[Round], test: Sequence[Task], controls: LoopControls
) -> Evaluation:
    """The evaluation of all rounds. `rounds`: all that were run; the first has a student. Where none
    was kept, the first is compared."""
    runs = {name(each): each.run for each in rounds if each.run is not None}
    by_who = _answers(runs, controls)
    last = next((name(each) for each in reversed(rounds) if each.kept), FIRST)
    prices = {TEACHER: recipe.prices} if recipe.prices is not None else None
    compared = [*_compared(last, by_who), *_rolled_back(rounds)]
    found = evaluate_answers(
        by_who, seed=recipe.seed, compared=compared, tasks=[task.id for task in test], prices=prices
    )
    retention = _retention(runs, last, recipe.seed)
    return Evaluation(
        results=(*found.results, *_several(runs), *retention.results),
        comparisons=corrected([*found.comparisons, *retention.comparisons]),
        notes=(*found.notes, *controls.notes, *retention.notes),
    )


def name(each: Round) -> str:
    """What the student of a round is called in the evaluation."""
    return f"round_{each.number}"


def _answers(runs: Mapping[str, FinishedRun], controls: LoopControls) -> dict[str, Mapping[str, ScoredAttempt]]:
    first = runs[FIRST]
    found: dict[str, Mapping[str, ScoredAttempt]] = {BEFORE: answers_of(first, BEFORE)}
    found |= {who: answers_of(run, AFTER) for who, run in runs.items()}
    if teacher := answers_of(first, TEACHER):
        found[TEACHER] = teacher
    return found | {who: controls.answers[who] for who in (*CONTROLS, ONE_ROUND) if who in controls.answers}


def _compared(last: str, by_who: Mapping[str, object]) -> list[tuple[str, str]]:
    """Each a claim that a reader would make from the table."""
    others = [FIRST, BEFORE, ONE_ROUND, *CONTROLS, TEACHER]
    pairs = [(last, who) for who in others if who in by_who and who != last]
    return [*pairs, ("control_wrong_answers", BEFORE)] if "control_wrong_answers" in by_who else pairs


def _rolled_back(rounds: Sequence[Round]) -> list[tuple[str, str]]:
    """A round that was rolled back, against the one before it."""
    pairs = zip(rounds[1:], rounds, strict=False)
    return [(name(now), name(before)) for now, before in pairs if not now.kept and now.run is not None]


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
