"""Has the candidates judged: from candidates to slates.

A judge that rates sees one answer at a time, one that compares holds a tournament for each prompt. Its requests are
in the ledger before anything depends on them, so a run that was stopped asks none of them again. What a judge failed
at is kept with its state; it is not a score. Two judges that are one are refused: the ledger could not tell them
apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from stillroom.common.formatting import duration
from stillroom.common.hashing import draw_seed
from stillroom.common.preferred import Reading
from stillroom.common.records import Task
from stillroom.errors import Interrupted, RecipeError
from stillroom.judges.calibrate import Calibration, GateSettings, GateVerdict, calibrate, gate
from stillroom.judges.human_labels import LabelledPair, read_labelled
from stillroom.judges.records import JudgeState, PairwiseJudge, PointwiseJudge
from stillroom.judges.registry import JudgeSettings, Made, Place
from stillroom.judges.tournament import tournament
from stillroom.pipeline.config.preferences import PreferenceRecipe
from stillroom.pipeline.run.call import told
from stillroom.pipeline.run.folder import RunContext
from stillroom.pipeline.run.progress import UNCOUNTED
from stillroom.preferences.candidates import Gathered
from stillroom.preferences.records import Candidate, Judged
from stillroom.sampling.counts import Counts
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Prices
from stillroom.sampling.teachers.base import dtype_of

A = TypeVar("A")

# Prompts that are judged at once; how many requests are in flight is for each judge's teacher to say.
AT_ONCE = 256


@dataclass(slots=True)
class Judgements:
    """What the judge made of all candidates. `judge`: its identity. `ends`: best and worst of each task, where it
    compares. `calls`: requests that its judgements rest on, those from the ledger included."""

    judge: str
    judged: list[Judged] = field(default_factory=list)
    ends: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    calls: int = 0

    def states(self) -> dict[str, int]:
        """Judgements by state."""
        found = [each.state for each in self.judged]
        return {state.value: found.count(state) for state in JudgeState if state in found}


class Calibrated(NamedTuple):
    """A judge on labelled pairs, and whether it passes the gate."""

    calibration: Calibration
    gate: GateVerdict

    def as_dict(self) -> dict[str, Any]:
        return {"gate": self.gate._asdict(), "calibration": self.calibration.model_dump(mode="json")}


@asynccontextmanager
async def open_judge(context: RunContext, settings: JudgeSettings, prices: Prices | None) -> AsyncIterator[Made]:
    """The judge that `settings` describe, on the run's ledger and under its limits; closed at the end. `prices`: of
    its tokens."""
    made = settings.make(context.place(prices))
    for note in made.notes:
        context.display.note_once(note)
    try:
        yield made
    finally:
        if (again := context.again) is not None and again.asked:
            context.display.note(f"{again.asked:,} judgements that had failed were asked again")
            again.asked = 0
        for teacher in made.teachers:
            context.folder.note_dtype("judge", dtype_of(teacher))
        await made.close()


def refuse_same_judges(recipe: PreferenceRecipe, ledger: Ledger, base: Path) -> None:
    """Raises RecipeError where a judge of the evaluation is one that the recipe names already: it would repeat what
    the other said, and a student would be measured by the judge that it was trained to please."""
    if recipe.evaluate is None:
        return
    also = ((f"evaluate.also.{n}", judge) for n, judge in enumerate(recipe.evaluate.also))
    judges = (("judge", recipe.judge), ("evaluate.judge", recipe.evaluate.judge), *also)
    place = Place(ledger, base, recipe.seed)
    known: dict[str, str] = {}
    for name, settings in judges:
        made = settings.make(place)
        try:
            first = known.setdefault(made.identity, name)
        finally:
            asyncio.run(made.close())
        if first != name:
            raise RecipeError(
                f"{name} is the same judge as {first} ({made.identity}): give it another model or rubric"
            )


async def calibrated_judge(
    context: RunContext, recipe: PreferenceRecipe, pairs: Sequence[LabelledPair], limits: GateSettings
) -> Calibrated:
    """Measures the judge that builds the recipe's pairs on pairs with human labels."""
    async with open_judge(context, recipe.judge, recipe.judge_prices) as made:
        found = await calibrate(made.judge, pairs, seed=recipe.seed, kind=made.kind)
    return Calibrated(found, gate(found, limits))


def load_pairs(context: RunContext, path: str | Path, how: Reading, base: Path) -> tuple[LabelledPair, ...]:
    """The labelled pairs of a file or data set; a relative path starts at `base`. How they were read and what was
    left out is shown, and noted in `run.json`."""
    found = read_labelled(path, how, base)
    for note in found.notes:
        context.display.note(note)
    context.folder.note(labelled=found.counts)
    return found.pairs


async def judge_candidates(context: RunContext, recipe: PreferenceRecipe, gathered: Gathered) -> Judgements:
    """Judges every candidate. Raises Interrupted at a limit of the run; what was judged is kept."""
    if (again := context.again) is not None:  # told before it is paid for
        async with open_judge(context, recipe.judge, recipe.judge_prices) as made:
            if made.teachers:
                with again.counting():
                    await judge_all(made, gathered, recipe.seed)
                context.display.note(told(again.failures, "(judging)"))
    async with open_judge(context, recipe.judge, recipe.judge_prices) as made:
        counts = Counts(tasks_total=sum(map(bool, gathered.by_task.values())))
        with context.display.sampling("judging", counts, context.meter):
            found = await judge_all(made, gathered, recipe.seed, counts)
    states = ", ".join(f"{n:,} {state.replace('_', ' ')}" for state, n in found.states().items())
    calls = f"{found.calls:,} requests" if found.calls else "no requests"
    result = f"{len(found.judged):,} candidates ({states or 'none'}); {calls}, {duration(counts.elapsed_s)}"
    context.display.line("judged", result)
    if context.meter.estimated:
        context.display.note_once(UNCOUNTED)
    return found


async def judge_all(made: Made, gathered: Gathered, seed: int, counts: Counts | None = None) -> Judgements:
    """What the judge makes of all candidates. `counts`: where progress is told, prompt by prompt."""
    found = Judgements(made.identity)

    async def one(task: Task) -> None:
        candidates = gathered.by_task[task.id]
        if made.pointwise is not None:
            await _rate(made.pointwise, task, candidates, found)
        elif made.pairwise is not None:
            await _compare(made.pairwise, task, candidates, found, seed)
        if counts is not None:
            counts.satisfied += 1

    await each_of([task for task in gathered.tasks if gathered.by_task[task.id]], one)
    return found


async def _rate(judge: PointwiseJudge, task: Task, candidates: Iterable[Candidate], found: Judgements) -> None:
    async def one(candidate: Candidate) -> None:
        rating = await judge.rate(task, candidate.attempt())
        found.calls += rating.calls
        found.judged.append(Judged(candidate, rating.state, rating.score, rating.detail))

    for result in await asyncio.gather(*map(one, candidates), return_exceptions=True):
        if result is not None:
            raise result


async def _compare(
    judge: PairwiseJudge, task: Task, candidates: tuple[Candidate, ...], found: Judgements, seed: int
) -> None:
    """A tournament. Candidates of which no comparison came to a judgement are failures of the judge; the others are
    judged, without a score."""
    if len(candidates) < 2:
        found.judged += [Judged(candidate, JudgeState.OK) for candidate in candidates]  # nothing to compare with
        return
    held = await tournament(judge, task, [c.attempt() for c in candidates], draw_seed(seed, task.id, 0))
    found.calls += held.calls
    for index, candidate in enumerate(candidates):
        state = JudgeState.OK
        if index in held.out:  # why it was not judged: the failure of its last comparison
            states = [m.preference.state for m in held.comparisons if index in (m.a, m.b)]
            state = states[-1] if states else JudgeState.API_ERROR
        found.judged.append(Judged(candidate, state))
    best, worst = (None if end is None else candidates[end].id for end in (held.best, held.worst))
    found.ends[task.id] = (best, worst)


async def each_of(items: Iterable[A], work: Callable[[A], Awaitable[None]]) -> None:
    """Does the work for all items, many at once.

    At a limit (Interrupted) no more is begun, what was begun is finished and kept, then it is raised. Any other error
    of one cancels the rest and is raised.
    """
    source, stopped = iter(items), list[Interrupted]()

    async def worker() -> None:
        for item in source:
            try:
                await work(item)
            except Interrupted as error:
                stopped.append(error)
            if stopped:
                return

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None  # the others were cancelled, or failed for the same reason
    if stopped:
        raise stopped[0]
