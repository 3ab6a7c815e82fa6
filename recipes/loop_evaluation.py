"""One evaluation of all rounds: `eval.json` of the loop, in the same schema as a run's.

`student_before`, `round_1` … `round_N`, `teacher` and the controls are measured on the same held-out tasks. What is
compared: the last kept round with the first, with the base, with every control and with the first teacher; a round
that was rolled back with the one before it. Every p is corrected for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stillroom.recipes.evaluation_schema import CONTROLS
from stillroom.recipes.forgetting import Forgotten, forgetting_results
from stillroom.recipes.loop_controls import ONE_ROUND, LoopControls
from stillroom.recipes.loop_facts import SEVERAL
from stillroom.recipes.loop_rounds import AFTER, BEFORE, Round, answers_of
from stillroom.recipes.schema import Recipe
from stillroom.sampling.records import ScoredAttempt, Task
from stillroom.students.evaluate.comparing import corrected
from stillroom.students.evaluate.measure import evaluate_answers
from stillroom.students.evaluate.results import Comparison, Evaluation, Result

TEACHER = "teacher"


def evaluate_loop(
    recipe: Recipe, rounds: Sequence[Round], test: Sequence[Task], controls: LoopControls
) -> Evaluation:
    """The evaluation of all rounds. `rounds`: all that were run; the first has a student. Where none
    was kept, the first is compared."""
    by_who = _answers(rounds, controls)
    kept = [name(each) for each in rounds if each.kept]
    last = kept[-1] if kept else name(rounds[0])
    prices = {TEACHER: recipe.prices} if recipe.prices is not None else None
    compared = [*_compared(last, by_who), *_rolled_back(rounds)]
    found = evaluate_answers(
        by_who, seed=recipe.seed, compared=compared, tasks=[task.id for task in test], prices=prices
    )
    results, comparisons, notes = _forgotten(rounds, recipe.seed)
    return Evaluation(
        results=(*found.results, *_several(rounds), *results),
        comparisons=corrected([*found.comparisons, *comparisons]),
        notes=(*found.notes, *controls.notes, *notes),
    )


def name(each: Round) -> str:
    """What the student of a round is called in the evaluation."""
    return f"round_{each.number}"


def _answers(rounds: Sequence[Round], controls: LoopControls) -> dict[str, Mapping[str, ScoredAttempt]]:
    first = rounds[0].link
    assert first is not None
    found: dict[str, Mapping[str, ScoredAttempt]] = {BEFORE: answers_of(first, BEFORE)}
    found |= {name(each): answers_of(each.link, AFTER) for each in rounds if each.link is not None}
    if teacher := answers_of(first, TEACHER):
        found[TEACHER] = teacher
    return found | {who: controls.answers[who] for who in (*CONTROLS, ONE_ROUND) if who in controls.answers}


def _compared(last: str, by_who: Mapping[str, object]) -> list[tuple[str, str]]:
    """Each a claim that a reader would make from the table."""
    others = ["round_1", BEFORE, ONE_ROUND, *CONTROLS, TEACHER]
    pairs = [(last, who) for who in others if who in by_who and who != last]
    return [*pairs, ("format_only", BEFORE)] if "format_only" in by_who else pairs


def _rolled_back(rounds: Sequence[Round]) -> list[tuple[str, str]]:
    """A round that was rolled back, against the one before it."""
    pairs = zip(rounds[1:], rounds, strict=False)
    return [(name(now), name(before)) for now, before in pairs if not now.kept and now.link is not None]


def _several(rounds: Sequence[Round]) -> Iterator[Result]:
    """What each round measured from several answers or trainings, under its name; of the base and the teacher what
    round 1 did."""
    for each in rounds:
        evaluation = each.link.result.evaluation if each.link is not None else None
        for row in evaluation.results if evaluation is not None else ():
            if not row.metric.startswith(SEVERAL):
                continue
            if row.who == AFTER:
                yield row.model_copy(update={"who": name(each)})
            elif each.number == 1:
                yield row


def _forgotten(rounds: Sequence[Round], seed: int) -> tuple[list[Result], list[Comparison], list[str]]:
    """What was not trained: of the base and of every round; the last kept against the base."""
    first = rounds[0].link
    assert first is not None
    found: dict[str, Forgotten] = {}
    if BEFORE in first.run.forgetting:
        found[BEFORE] = first.run.forgetting[BEFORE]
    for each in rounds:
        if each.link is not None and AFTER in each.link.run.forgetting:
            found[name(each)] = each.link.run.forgetting[AFTER]
    kept = [name(each) for each in rounds if each.kept]
    last = kept[-1] if kept else name(rounds[0])
    if BEFORE not in found or last not in found:
        return [], [], ["what was forgotten was not measured: evaluate.forgotten names what to measure"]
    measured = forgetting_results(found, after=last, before=BEFORE, seed=seed)
    return measured.results, measured.comparisons, measured.notes
